#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module::regex::GoRegex;

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (pattern, text) = data.split_at(split);
    if let Ok(regex) = GoRegex::new(&String::from_utf8_lossy(pattern)) {
        let _ = regex.is_match(text);
    }
});
