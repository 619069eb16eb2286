//! Tables of mappings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::memory::maps::parse;

fuzz_target!(|data: &[u8]| {
    for mapping in parse(data).unwrap_or_default() {
        assert!(mapping.start < mapping.end);
    }
});
