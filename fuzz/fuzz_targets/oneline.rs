#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_sign::oneline;

fuzz_target!(|text: &str| {
    if let Ok(packets) = oneline::to_binary(text) {
        let line = oneline::from_binary(&packets);
        assert_eq!(oneline::to_binary(&line).expect("it was just written"), packets);
        let armored = oneline::to_armored(text).expect("it was just read");
        assert_eq!(oneline::from_armored(&armored).expect("it was just written"), line);
    }
    let _ = oneline::from_armored(text);
});
