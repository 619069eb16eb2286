//! From sections and variables to the program's own structs.

use std::collections::HashMap;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::document::{Document, Section, Variable};
use super::error::{ConfigError, Position};

/// What to do with sections and keys that no field takes.
pub(super) enum Unknown<'a> {
    Refuse,
    Collect(&'a mut Vec<String>),
}

impl Unknown<'_> {
    fn meet(&mut self, position: Position, key: &str, what: &str) -> Result<(), ConfigError> {
        let message = format!("unknown {what} {key}");
        match self {
            Self::Refuse => Err(ConfigError::at(position, message)),
            Self::Collect(warnings) => {
                warnings.push(ConfigError::at(position, message).to_string());
                Ok(())
            }
        }
    }
}

/// Things with the same name, in the order in which the names first appear.
struct Groups<T> {
    groups: Vec<(String, Vec<T>)>,
}

impl<T> Groups<T> {
    fn new(items: impl Iterator<Item = (String, T)>) -> Self {
        let mut groups: Vec<(String, Vec<T>)> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        for (name, item) in items {
            let at = *index.entry(name.clone()).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, group)) => group.push(item),
                None => groups.push((name, vec![item])),
            }
        }
        Self { groups }
    }
}

/// The struct's own spelling of a name: case is ignored, and a `-` meets the
/// `_` that Rust names use.
fn field_for(fields: &'static [&'static str], name: &str) -> Option<&'static str> {
    let same = |a: u8, b: u8| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    let fits = |field: &&&str| {
        field.len() == name.len() && field.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
    };
    fields.iter().find(fits).copied()
}

/// A whole file: one map entry per section.
pub(super) struct FileDeserializer<'d, 'u> {
    pub(super) document: &'d Document,
    pub(super) unknown: Unknown<'u>,
}

impl<'de> Deserializer<'de> for FileDeserializer<'_, '_> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ConfigError> {
        let sections = self.sections(|name| Some(name.to_lowercase()))?;
        visitor.visit_map(FileMap::new(sections, self.unknown))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let sections = self.sections(|name| field_for(fields, name).map(str::to_owned))?;
        visitor.visit_map(FileMap::new(sections, self.unknown))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}

impl<'d> FileDeserializer<'d, '_> {
    /// Merges the sections that `field` knows and reports the others.
    fn sections(
        &mut self,
        field: impl Fn(&str) -> Option<String>,
    ) -> Result<Groups<&'d Section>, ConfigError> {
        let mut known = Vec::new();
        for section in &self.document.sections {
            match (field(&section.name), &section.subsection) {
                (Some(name), None) => known.push((name, section)),
                (_, Some(sub)) => {
                    let shown = format!("[{} {sub:?}]", section.name);
                    self.unknown.meet(section.position, &shown, "section")?;
                }
                (None, None) => {
                    let shown = format!("[{}]", section.name);
                    self.unknown.meet(section.position, &shown, "section")?;
                }
            }
        }
        Ok(Groups::new(known.into_iter()))
    }
}

struct FileMap<'d, 'u> {
    groups: std::vec::IntoIter<(String, Vec<&'d Section>)>,
    current: Option<(String, Vec<&'d Section>)>,
    unknown: Unknown<'u>,
}

impl<'d, 'u> FileMap<'d, 'u> {
    fn new(groups: Groups<&'d Section>, unknown: Unknown<'u>) -> Self {
        Self { groups: groups.groups.into_iter(), current: None, unknown }
    }
}

impl<'de> MapAccess<'de> for FileMap<'_, '_> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        self.current = self.groups.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        seed.deserialize(name_deserializer(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ConfigError> {
        let (name, sections) = self.current.take().ok_or_else(out_of_order)?;
        let position = sections.first().map(|section| section.position);
        let deserializer =
            SectionDeserializer { name: &name, sections: &sections, unknown: &mut self.unknown };
        seed.deserialize(deserializer).map_err(|error| error.or_position(position))
    }
}

fn name_deserializer(name: &str) -> StrDeserializer<'_, ConfigError> {
    name.into_deserializer()
}

fn out_of_order() -> ConfigError {
    ConfigError::custom("a value was asked for before its key")
}

/// All sections of one name: one map entry per variable name.
struct SectionDeserializer<'s, 'd, 'u, 'w> {
    name: &'s str,
    sections: &'s [&'d Section],
    unknown: &'u mut Unknown<'w>,
}

impl<'de> Deserializer<'de> for SectionDeserializer<'_, '_, '_, '_> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.visit(|name| Some(name.to_lowercase()), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        self.visit(|name| field_for(fields, name).map(str::to_owned), visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl SectionDeserializer<'_, '_, '_, '_> {
    fn visit<'de, V: Visitor<'de>>(
        self,
        field: impl Fn(&str) -> Option<String>,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let mut known = Vec::new();
        for variable in self.sections.iter().flat_map(|section| &section.variables) {
            if let Some(name) = field(&variable.name) {
                known.push((name, variable));
            } else {
                let key = format!("{}.{}", self.name, variable.name);
                self.unknown.meet(variable.position, &key, "key")?;
            }
        }
        let map = SectionMap {
            name: self.name,
            groups: Groups::new(known.into_iter()).groups.into_iter(),
            current: None,
        };
        // What carries no position here is about a field that is not there.
        visitor.visit_map(map).map_err(|error| match error.position() {
            None => error.map_key(|key| format!("{}.{key}", self.name)),
            Some(_) => error,
        })
    }
}

struct SectionMap<'s, 'd> {
    name: &'s str,
    groups: std::vec::IntoIter<(String, Vec<&'d Variable>)>,
    current: Option<(String, Vec<&'d Variable>)>,
}

impl<'de> MapAccess<'de> for SectionMap<'_, '_> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        self.current = self.groups.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        seed.deserialize(name_deserializer(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ConfigError> {
        let (name, variables) = self.current.take().ok_or_else(out_of_order)?;
        let position = variables.last().map(|variable| variable.position);
        seed.deserialize(ValueDeserializer { variables: &variables })
            .map_err(|error| error.or_position(position).or_key(|| format!("{}.{name}", self.name)))
    }
}

/// All values of one key, at least one.
#[derive(Clone, Copy)]
struct ValueDeserializer<'v, 'd> {
    variables: &'v [&'d Variable],
}

impl<'d> ValueDeserializer<'_, 'd> {
    /// The value in force: the last one. An earlier bare name is a fault all
    /// the same.
    fn text(&self) -> Result<&'d str, ConfigError> {
        let mut last = None;
        for variable in self.variables {
            match &variable.value {
                Some(value) => last = Some(value.as_str()),
                None => return Err(ConfigError::at(variable.position, "needs a value")),
            }
        }
        last.ok_or_else(|| ConfigError::new("needs a value"))
    }

    fn scalar<T>(
        &self,
        what: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        self.text()?;
        let mut last = None;
        for variable in self.variables {
            let value = variable.value.as_deref().unwrap_or_default();
            let Some(parsed) = parse(value) else {
                let shown: String = value.chars().take(64).collect();
                let message = format!("{shown:?} is not {what}");
                return Err(ConfigError::at(variable.position, message));
            };
            last = Some(parsed);
        }
        last.ok_or_else(|| ConfigError::new("needs a value"))
    }
}

/// `true yes on 1` and `false no off 0` in any case; a bare name is true.
fn boolean(text: &str) -> Option<bool> {
    const WORDS: [(&str, bool); 8] = [
        ("true", true),
        ("yes", true),
        ("on", true),
        ("1", true),
        ("false", false),
        ("no", false),
        ("off", false),
        ("0", false),
    ];
    WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
}

/// Decimal, or hexadecimal behind `0x`; one sign.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (16, digits),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            let what = concat!("an integer that fits ", stringify!($type));
            let value = self.scalar(what, |text| <$type>::try_from(integer(text)?).ok())?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> Deserializer<'de> for ValueDeserializer<'_, '_> {
    type Error = ConfigError;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let mut last = true;
        for variable in self.variables {
            last = match &variable.value {
                None => true,
                Some(_) => ValueDeserializer { variables: &[variable] }
                    .scalar("a boolean: true, yes, on, 1, false, no, off or 0", boolean)?,
            };
        }
        visitor.visit_bool(last)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        visitor.visit_f64(self.scalar("a number", number)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        // A bare name empties the list.
        let reset = self.variables.iter().rposition(|variable| variable.value.is_none());
        let start = reset.map_or(0, |index| index + 1);
        visitor.visit_seq(Items(self.variables.get(start..).unwrap_or_default().iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let text = self.text()?;
        let known = variants.iter().find(|variant| variant.eq_ignore_ascii_case(text));
        visitor.visit_enum(name_deserializer(known.copied().unwrap_or(text)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        Err(ConfigError::invalid_type(Unexpected::Other("a variable"), &visitor))
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct struct
        identifier ignored_any
    }
}

/// The values of a list.
struct Items<'v, 'd>(std::slice::Iter<'v, &'d Variable>);

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = ConfigError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ConfigError> {
        let Some(variable) = self.0.next() else { return Ok(None) };
        let deserializer = ValueDeserializer { variables: std::slice::from_ref(variable) };
        let element = seed.deserialize(deserializer);
        element.map(Some).map_err(|error| error.or_position(Some(variable.position)))
    }
}
