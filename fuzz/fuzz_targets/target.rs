#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_types::Target;

fuzz_target!(|text: &str| {
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.text(), text);
        let _ = target.condition();
    }
});
