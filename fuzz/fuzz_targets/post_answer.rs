//! What a collector of alerts answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module_dispatch::http::status;

fuzz_target!(|data: &[u8]| {
    if let Some(status) = status(data) {
        assert!(!(100..200).contains(&status));
    }
});
