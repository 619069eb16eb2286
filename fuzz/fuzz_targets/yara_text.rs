//! What an investigator writes for `yara`: rule text as far as it is read without an
//! engine, and the search in one string.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module_yara::tokens::{Token, tokens};
use mig_module_yara::{entrypoint, words};

fuzz_target!(|text: &str| {
    let mut last = 0;
    for token in tokens(text) {
        let (Token::Word(range) | Token::Text(range)) = token;
        assert!(range.start >= last && range.end > range.start);
        assert!(text.get(range.clone()).is_some());
        last = range.end;
    }
    if let Some(replaced) = entrypoint::substitute(text) {
        // Positions in messages stay those of the text.
        assert_eq!(replaced.len(), text.len());
    }
    if let Ok(words) = words(text) {
        let quoted: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', r#"'"'"'"#))).collect();
        assert_eq!(mig_module_yara::words(&quoted.join(" ")), Ok(words));
    }
});
