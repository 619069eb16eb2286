//! Headers of programs on a hostile host: where execution begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module_yara::entrypoint;

fuzz_target!(|data: &[u8]| {
    if let Some(offset) = entrypoint::of(data) {
        assert!(offset < data.len() as u64);
    }
});
