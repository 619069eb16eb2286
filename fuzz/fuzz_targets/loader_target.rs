//! Conditions about loaders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_types::LoaderTarget;

fuzz_target!(|data: &[u8]| {
    let _ = String::from_utf8_lossy(data).parse::<LoaderTarget>();
});
