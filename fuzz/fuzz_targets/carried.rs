#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mig_agent::embed::{Carried, read_block};

fuzz_target!(|data: &[u8]| {
    let _ = read_block(data, Path::new("agent"));
    if let Ok(carried) = Carried::parse(data) {
        let _ = (carried.settings(), carried.trust());
        assert_eq!(Carried::parse(&carried.to_block().unwrap()).unwrap(), carried);
    }
});
