//! A command line in one string, taken apart as a shell would.

/// Why a string is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    #[error("a single quote is not closed")]
    Single,
    #[error("a double quote is not closed")]
    Double,
}

/// Splits at blanks. Single quotes keep everything as it is; in double quotes `\"`
/// and `\\` stand for the second character; what touches is one word, and quotes
/// with nothing between them are an empty one. Outside of quotes a backslash is a
/// backslash: most words are regular expressions. Nothing is expanded.
///
/// # Errors
///
/// [`QuoteError`] when a quote is not closed.
///
/// ```
/// # use mig_module_yara::words;
/// assert_eq!(words(r"-path '/a b' -name='c d' \.so$").unwrap(), ["-path", "/a b", "-name=c d", r"\.so$"]);
/// ```
pub fn words(text: &str) -> Result<Vec<String>, QuoteError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(QuoteError::Single)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(QuoteError::Double)? {
                        '"' => break,
                        '\\' => match rest.next().ok_or(QuoteError::Double)? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_open_quote_is_refused() {
        assert_eq!(words("-name 'a"), Err(QuoteError::Single));
        for text in ["-name \"a", "\"", "\"a\\\""] {
            assert_eq!(words(text), Err(QuoteError::Double), "{text:?}");
        }
    }

    #[test]
    fn every_quoted_word_ends_where_its_quote_does() {
        for (text, expected) in [
            ("", &[][..]),
            (" \t\n", &[]),
            ("-path /etc -content \"test file\"", &["-path", "/etc", "-content", "test file"]),
            ("-path '/a b' -name 'c d'", &["-path", "/a b", "-name", "c d"]),
            ("-name=\"a b\"", &["-name=a b"]),
            ("-name '' -x", &["-name", "", "-x"]),
            (r"-name ^a\.b\s$", &["-name", r"^a\.b\s$"]),
            (r#"-content "say \"hi\" \\ \d""#, &["-content", r#"say "hi" \ \d"#]),
            (r"'a\'b", &[r"a\b"]),
            ("a'b'\"c\"d", &["abcd"]),
            (r"\'a b'", &[r"\a b"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn words_survive_being_quoted(all in proptest::collection::vec("[ -~\\n\u{e9}]{0,12}", 0..6)) {
            let single = |word: &String| format!("'{}'", word.replace('\'', r#"'"'"'"#));
            let double =
                |word: &String| format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\""));
            for quote in [&single as &dyn Fn(&String) -> String, &double] {
                let text = all.iter().map(quote).collect::<Vec<_>>().join(" ");
                prop_assert_eq!(words(&text).unwrap(), all.clone());
            }
        }

        #[test]
        fn nothing_is_made_up(text in ".{0,60}") {
            if let Ok(words) = words(&text) {
                let length: usize = words.iter().map(String::len).sum();
                prop_assert!(length <= text.len());
            }
        }
    }
}
