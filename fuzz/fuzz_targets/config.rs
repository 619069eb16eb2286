#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // Whatever its shape, a document is read or refused with a position.
    if let Err(error) = mig_runtime::config::parse_strict::<Value>(&text, "fuzz.cfg") {
        let _ = error.to_string();
    }
});
