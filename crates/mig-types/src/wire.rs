//! JSON the way the Go peers read and write it.
//!
//! [`from_slice`] reads any document as `encoding/json` would: keys of
//! structures match in any case, unknown keys are ignored, `null` leaves the
//! default, invalid UTF-8 and lone surrogates become U+FFFD. [`to_vec`] writes
//! what Go writes: no blanks, and `<`, `>`, `&`, U+2028 and U+2029 escaped.

use std::borrow::Cow;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny,
    IntoDeserializer, MapAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Deepest nesting accepted, far beyond any real document.
pub const MAX_DEPTH: usize = 120;

/// A document that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read JSON")]
pub struct WireError {
    #[from]
    source: serde_json::Error,
}

/// Reads a document as Go would.
///
/// # Errors
///
/// [`WireError`] when it is not JSON, nests deeper than [`MAX_DEPTH`], holds a
/// number beyond a double, or does not fit `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    from_value(value_from_slice(bytes)?)
}

/// Reads any JSON value as Go would decode it into `interface{}`.
pub fn value_from_slice(bytes: &[u8]) -> Result<Value, WireError> {
    Ok(serde_json::from_slice(&repair(bytes))?)
}

/// Reads some members of an object as [`value_from_slice`] reads them all; the
/// others are passed over, which is most of the work when they are large.
/// `names` are matched in any case.
///
/// # Errors
///
/// [`WireError`] when it is no JSON object.
pub fn members_from_slice(bytes: &[u8], names: &[&str]) -> Result<Value, WireError> {
    let bytes = repair(bytes);
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let members = Members { names }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Value::Object(members))
}

/// Keeps the members of an object that have one of these names.
struct Members<'a> {
    names: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<Cow<'de, str>>()? {
            if self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name)) {
                members.insert(name.into_owned(), access.next_value()?);
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}

/// Reads an already parsed document as Go would.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, WireError> {
    Ok(T::deserialize(GoValue(value))?)
}

/// Writes a document as Go would, without a final newline.
///
/// # Errors
///
/// When `value` has a key that is not a string, or refuses to be written.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WireError> {
    Ok(escape_html(serde_json::to_vec(value)?))
}

/// [`to_vec`] as text.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, WireError> {
    // serde_json writes UTF-8 and the escaping adds ASCII.
    let text = String::from_utf8(to_vec(value)?);
    Ok(text.unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()))
}

/// Escapes what Go escapes and serde does not. Only string contents can hold
/// these characters, so no parsing is needed.
fn escape_html(json: Vec<u8>) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
    if !json.iter().any(special) {
        return json;
    }
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut rest = json.as_slice();
    while let Some(at) = rest.iter().position(special) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = match from {
            [b'<', after @ ..] => {
                out.extend_from_slice(b"\\u003c");
                after
            }
            [b'>', after @ ..] => {
                out.extend_from_slice(b"\\u003e");
                after
            }
            [b'&', after @ ..] => {
                out.extend_from_slice(b"\\u0026");
                after
            }
            [0xe2, 0x80, last @ (0xa8 | 0xa9), after @ ..] => {
                out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                after
            }
            [other, after @ ..] => {
                out.push(*other);
                after
            }
            [] => from,
        };
    }
    out.extend_from_slice(rest);
    out
}

/// Replaces each invalid byte and each lone surrogate escape by U+FFFD, as Go's
/// decoder does; serde refuses both.
fn repair(bytes: &[u8]) -> Cow<'_, [u8]> {
    let utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => Cow::Borrowed(bytes),
        Err(_) => Cow::Owned(lossy_bytewise(bytes).into_bytes()),
    };
    match repair_surrogates(&utf8) {
        Some(repaired) => Cow::Owned(repaired),
        None => utf8,
    }
}

/// Decodes UTF-8, turning every offending byte into one U+FFFD.
///
/// Go replaces byte by byte; [`String::from_utf8_lossy`] may merge several.
pub fn lossy_bytewise(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 8);
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return out;
            }
            Err(error) => {
                let (valid, bad) = rest.split_at(error.valid_up_to());
                out.push_str(&String::from_utf8_lossy(valid));
                out.push('\u{fffd}');
                rest = bad.get(1..).unwrap_or_default();
            }
        }
    }
}

fn repair_surrogates(json: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(offset) = json.get(at..).and_then(memchr_backslash) {
        let start = at + offset;
        let escape = json.get(start + 1).copied();
        if escape != Some(b'u') {
            push_range(&mut out, json, at, start + 2);
            at = start + 2;
            continue;
        }
        let width = match unit(json, start) {
            Some(0xd800..=0xdbff) if matches!(unit(json, start + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                // The first lone surrogate starts the copy.
                let copy = out.get_or_insert_with(|| json.get(..at).unwrap_or_default().to_vec());
                copy.extend_from_slice(json.get(at..start).unwrap_or_default());
                copy.extend_from_slice(b"\\ufffd");
                at = start + 6;
                continue;
            }
            _ => 6,
        };
        push_range(&mut out, json, at, start + width);
        at = start + width;
    }
    if let Some(copy) = &mut out {
        copy.extend_from_slice(json.get(at..).unwrap_or_default());
    }
    out
}

fn push_range(out: &mut Option<Vec<u8>>, json: &[u8], from: usize, to: usize) {
    if let Some(copy) = out {
        copy.extend_from_slice(json.get(from..to.min(json.len())).unwrap_or_default());
    }
}

fn memchr_backslash(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\\')
}

/// The UTF-16 unit of a `\uXXXX` escape that starts at `at`.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let [b'\\', b'u', hex @ ..] = json.get(at..at + 6)? else { return None };
    if !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// The integer a double stands for exactly, if it is one from 0 to 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "guarded by range and by fract()"
)]
pub fn integer_of(value: f64) -> Option<u64> {
    let whole = value.is_finite() && value.fract() == 0.0;
    (whole && (0.0..=9_007_199_254_740_992.0).contains(&value)).then_some(value as u64)
}

/// Reads an unsigned integer from any JSON number form.
///
/// # Errors
///
/// When it is no number, negative, or has a fraction.
pub fn unsigned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    number
        .as_u64()
        .or_else(|| number.as_f64().and_then(integer_of))
        .ok_or_else(|| D::Error::custom(format_args!("{number} is not a whole number")))
}

/// Writes an empty list as `null`, like a nil slice.
pub fn null_if_empty<T: Serialize, S: serde::Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

/// A parsed value that deserializes with Go's rules for structures.
struct GoValue(Value);

impl GoValue {
    /// Keys renamed to the structure's, exact spelling first, `null` dropped.
    fn fields(map: Map<String, Value>, fields: &'static [&'static str]) -> Vec<(String, Value)> {
        let mut chosen: Vec<(String, Value, bool)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            if value.is_null() {
                continue;
            }
            let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(&key)) else {
                continue;
            };
            let exact = **field == key;
            match chosen.iter_mut().find(|(name, ..)| name == field) {
                Some(slot) if exact || !slot.2 => *slot = ((*field).to_owned(), value, exact),
                Some(_) => {}
                None => chosen.push(((*field).to_owned(), value, exact)),
            }
        }
        chosen.into_iter().map(|(name, value, _)| (name, value)).collect()
    }
}

impl IntoDeserializer<'_, serde_json::Error> for GoValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for GoValue {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(list) => {
                let mut seq = SeqDeserializer::new(list.into_iter().map(GoValue));
                let value = visitor.visit_seq(&mut seq)?;
                seq.end()?;
                Ok(value)
            }
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| (key, GoValue(value)));
                let mut map = MapDeserializer::new(entries);
                let value = visitor.visit_map(&mut map)?;
                map.end()?;
                Ok(value)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let map = match self.0 {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            // Serde would fill a structure from a list by position; Go refuses.
            Value::Array(_) => {
                return Err(Self::Error::custom("expected an object, found a list"));
            }
            other => return other.deserialize_any(visitor),
        };
        let entries =
            Self::fields(map, fields).into_iter().map(|(key, value)| (key, GoValue(value)));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        // serde_json's own newtypes (numbers, raw values) keep their protocol.
        if name.starts_with("$serde_json") {
            return self.0.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let list = if self.0.is_null() { Value::Array(Vec::new()) } else { self.0 };
        GoValue(list).deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let map = if self.0.is_null() { Value::Object(Map::new()) } else { self.0 };
        GoValue(map).deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::String(variant) => visitor.visit_enum(UnitVariant(variant)),
            other => Err(Self::Error::custom(format_args!("expected a text, found {other}"))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// An enumeration value written as its name, the only form on the wire.
struct UnitVariant(String);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = serde_json::Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), Self::Error> {
        let name: serde::de::value::StringDeserializer<Self::Error> =
            self.0.clone().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = serde_json::Error;

    fn unit_variant(self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, Self::Error> {
        Err(Self::Error::custom("only plain names travel as enumeration values"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only plain names travel as enumeration values"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only plain names travel as enumeration values"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default)]
    struct Inner {
        a: i64,
    }

    #[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default)]
    struct Outer {
        name: String,
        list: Vec<Inner>,
        inner: Inner,
        free: Value,
    }

    #[test]
    fn matches_keys_in_any_case_at_every_level() {
        let read: Outer =
            from_slice(br#"{"NAME":"x","List":[{"A":1},null],"inneR":{"A":2},"z":0}"#).unwrap();
        assert_eq!(read.name, "x");
        assert_eq!(read.list, [Inner { a: 1 }, Inner { a: 0 }]);
        assert_eq!(read.inner, Inner { a: 2 });
    }

    #[test]
    fn members_are_read_as_in_the_whole_document() {
        let text =
            br#"{"x":{"name":[1e3]},"NAME":"a\ud800","list":[{"A":1},null],"name":"b","z":9}"#;
        let names = ["name", "list", "inner", "free"];
        let some = members_from_slice(text, &names).unwrap();
        assert_eq!(some.as_object().unwrap().len(), 3);
        let read: Outer = from_value(some).unwrap();
        assert_eq!(read, from_slice(text).unwrap());
        for bad in [&b"[1]"[..], b"7", b"null", b"", b"{", b"{\"a\":1}x", b"{\"a\":}"] {
            assert!(members_from_slice(bad, &names).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn an_exact_key_wins_over_another_spelling() {
        for text in [r#"{"Name":"no","name":"yes"}"#, r#"{"name":"yes","NAME":"no"}"#] {
            assert_eq!(from_slice::<Outer>(text.as_bytes()).unwrap().name, "yes");
        }
    }

    #[test]
    fn null_leaves_the_default() {
        let read: Outer = from_slice(br#"{"name":null,"list":null,"inner":null}"#).unwrap();
        assert_eq!(read, Outer::default());
    }

    #[test]
    fn a_list_is_no_structure() {
        for text in ["[]", r#"["x"]"#, r#"{"inner":[1]}"#, r#"{"list":[[1]]}"#, "7", r#""x""#] {
            assert!(from_slice::<Outer>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn free_form_parts_keep_their_keys() {
        let read: Outer = from_slice(br#"{"free":{"Key":{"NAME":null}}}"#).unwrap();
        assert_eq!(read.free, serde_json::json!({"Key": {"NAME": null}}));
    }

    #[test]
    fn repairs_what_go_repairs() {
        for (bytes, text) in [
            (&b"\"a\xff\xfeb\""[..], "a\u{fffd}\u{fffd}b"),
            (br#""\ud800x""#, "\u{fffd}x"),
            (br#""x\udc00""#, "x\u{fffd}"),
            (br#""\ud83d\ude00""#, "\u{1f600}"),
            (br#""\\ud800""#, "\\ud800"),
            (br#""\ud800\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\"\ud800""#, "\"\u{fffd}"),
        ] {
            assert_eq!(value_from_slice(bytes).unwrap(), Value::from(text));
        }
    }

    #[test]
    fn refuses_deep_nesting_and_overflow_without_panic() {
        assert!(value_from_slice("[".repeat(100_000).as_bytes()).is_err());
        assert!(value_from_slice(b"1e400").is_err());
        assert!(value_from_slice(b"").is_err());
        assert!(value_from_slice(br#""\u12"#).is_err());
    }

    #[test]
    fn escapes_like_go() {
        let text = to_string(&serde_json::json!({"<k>": "a&b\u{2028}\u{2029}\u{20ac}"})).unwrap();
        assert_eq!(text, "{\"\\u003ck\\u003e\":\"a\\u0026b\\u2028\\u2029\u{20ac}\"}");
    }
}
