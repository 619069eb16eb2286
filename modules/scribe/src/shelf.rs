//! The compiled expressions of a document: each once, all of them bounded.

use std::collections::HashMap;
use std::sync::Arc;

use mig_module::regex::GoRegex;

use crate::bounds::{EXPRESSIONS_BYTES, MAX_TEXT};

/// Sizes an expression is tried at; most are small.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 256 << 10, 4 << 20, 48 << 20];

/// Compiled expressions by their text.
#[derive(Debug)]
pub(crate) struct Shelf {
    known: HashMap<String, Result<Arc<GoRegex>, String>>,
    room: usize,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { known: HashMap::new(), room: EXPRESSIONS_BYTES }
    }
}

impl Shelf {
    /// The expression, compiled at most once.
    ///
    /// # Errors
    ///
    /// A sentence: it is none, or too large beside the others.
    pub(crate) fn get(&mut self, text: &str) -> Result<Arc<GoRegex>, String> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let compiled = self.compile(text);
        self.known.insert(text.to_owned(), compiled.clone());
        compiled
    }

    fn compile(&mut self, text: &str) -> Result<Arc<GoRegex>, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("an expression is longer than {MAX_TEXT} bytes"));
        }
        let mut refused = "the expressions of the document are too large".to_owned();
        for size in SIZES {
            if size > self.room {
                break;
            }
            match GoRegex::with_groups(text, size) {
                Ok(regex) => {
                    self.room -= size;
                    return Ok(Arc::new(regex));
                }
                Err(error) => {
                    refused = error.to_string();
                    if !matches!(error, mig_module::regex::RegexError::Unrepresentable { .. }) {
                        break;
                    }
                }
            }
        }
        Err(refused)
    }
}

/// The expression behind a leading `!`, which inverts; alone it is one itself.
pub(crate) fn without_bang(text: &str) -> &str {
    text.strip_prefix('!').filter(|rest| !rest.is_empty()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_expressions_use_the_room_up() {
        let mut shelf = Shelf { room: 5 << 20, ..Shelf::default() };
        let large = |letter: char| format!(r"{letter}[\pL]{{60}}");
        assert!(shelf.get(&large('a')).is_ok());
        assert!(shelf.room < 5 << 20);
        let left = shelf.room;
        assert!(shelf.get(&large('a')).is_ok() && shelf.room == left, "compiled once");
        while shelf.room >= SIZES[0] {
            let letter = char::from_u32(0x4e00 + u32::try_from(shelf.known.len()).unwrap());
            if shelf.get(&letter.unwrap().to_string()).is_err() {
                break;
            }
        }
        assert!(shelf.get("one more").unwrap_err().contains("too large"));
        assert!(shelf.get(&large('a')).is_ok());
    }

    #[test]
    fn what_is_no_expression_is_refused_each_time() {
        let mut shelf = Shelf::default();
        for _ in 0..2 {
            assert!(shelf.get("(").unwrap_err().contains("invalid regular expression"));
        }
        assert!(shelf.get(&"a".repeat(MAX_TEXT + 1)).is_err());
        assert_eq!((without_bang("!a"), without_bang("!"), without_bang("a!")), ("a", "!", "a!"));
    }
}
