//! A rule as the kernel takes it, an `audit_rule_data`.
//!
//! **Source** `linux/audit.h`.

/// Most fields the library of the audit daemon allows; the kernel has room for
/// one more.
pub(crate) const MAX_FIELDS: usize = 63;
/// Longest key, in bytes.
pub(crate) const MAX_KEY: usize = 256;

const FIELDS: usize = 64;
const MASK_WORDS: usize = 64;

/// Comparisons.
pub(crate) mod op {
    pub(crate) const BIT_MASK: u32 = 0x0800_0000;
    pub(crate) const LESS: u32 = 0x1000_0000;
    pub(crate) const GREATER: u32 = 0x2000_0000;
    pub(crate) const NOT_EQUAL: u32 = 0x3000_0000;
    pub(crate) const EQUAL: u32 = 0x4000_0000;
    pub(crate) const BIT_TEST: u32 = BIT_MASK | EQUAL;
    pub(crate) const LESS_OR_EQUAL: u32 = LESS | EQUAL;
    pub(crate) const GREATER_OR_EQUAL: u32 = GREATER | EQUAL;
}

/// The list a rule is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    User,
    Task,
    Exit,
    Exclude,
}

/// What happens when a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Never,
    Always,
}

/// A rule. Fields are in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) list: List,
    pub(crate) action: Action,
    mask: [u32; MASK_WORDS],
    /// Number, value and comparison.
    fields: Vec<(u32, u32, u32)>,
    /// The texts of fields, one after the other; the value of such a field is the
    /// length of its text.
    texts: Vec<u8>,
}

impl Rule {
    pub(crate) fn new(list: List, action: Action) -> Self {
        Self { list, action, mask: [0; MASK_WORDS], fields: Vec::new(), texts: Vec::new() }
    }

    /// Adds a system call; `false` when the number is too large.
    pub(crate) fn add_call(&mut self, number: u32) -> bool {
        let word = usize::try_from(number / 32).ok().and_then(|word| self.mask.get_mut(word));
        word.is_some_and(|word| {
            *word |= 1 << (number % 32);
            true
        })
    }

    pub(crate) fn add_every_call(&mut self) {
        self.mask = [u32::MAX; MASK_WORDS];
    }

    /// Adds a field; `false` when there are too many.
    pub(crate) fn add_field(&mut self, number: u32, value: u32, comparison: u32) -> bool {
        if self.fields.len() == MAX_FIELDS {
            return false;
        }
        self.fields.push((number, value, comparison));
        true
    }

    /// Adds a field whose value is a text; `false` when there are too many.
    pub(crate) fn add_text(&mut self, number: u32, text: &str, comparison: u32) -> bool {
        let length = u32::try_from(text.len()).ok();
        let is_added = length.is_some_and(|length| self.add_field(number, length, comparison));
        if is_added {
            self.texts.extend_from_slice(text.as_bytes());
        }
        is_added
    }

    /// Whether it names a field.
    pub(crate) fn has(&self, numbers: &[u32]) -> bool {
        self.fields.iter().any(|(number, ..)| numbers.contains(number))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let list = match self.list {
            List::User => 0,
            List::Task => 1,
            List::Exit => 4,
            List::Exclude => 5,
        };
        let action = match self.action {
            Action::Never => 0,
            Action::Always => 2,
        };
        let count = u32::try_from(self.fields.len()).unwrap_or(0);
        let mut words = vec![list, action, count];
        words.extend_from_slice(&self.mask);
        for part in
            [(|field| field.0) as fn(&(u32, u32, u32)) -> u32, |field| field.1, |field| field.2]
        {
            let end = words.len() + FIELDS;
            words.extend(self.fields.iter().map(part));
            words.resize(end, 0);
        }
        words.push(u32::try_from(self.texts.len()).unwrap_or(0));
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(&self.texts);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_calls_and_fields() {
        let mut rule = Rule::new(List::Exit, Action::Always);
        assert!(rule.add_call(0) && rule.add_call(2047));
        assert!(!rule.add_call(2048) && !rule.add_call(u32::MAX));
        for number in 0..MAX_FIELDS {
            assert!(rule.add_field(0, u32::try_from(number).unwrap(), op::EQUAL));
        }
        assert!(!rule.add_field(0, 0, op::EQUAL) && !rule.add_text(210, "key", op::EQUAL));
        assert_eq!(rule.to_bytes().len(), 1040);
    }
}
