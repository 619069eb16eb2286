#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_sign::keyring::{inspect, reencode};
use mig_sign::oneline;

fuzz_target!(|data: &[u8]| {
    let _ = inspect(&String::from_utf8_lossy(data));
    // Packets, so that the fuzzer need not discover base64.
    let Ok(armored) = oneline::to_armored(&oneline::from_binary(data)) else { return };
    let armored = armored.replace("SIGNATURE", "PUBLIC KEY BLOCK");
    if let Ok(info) = inspect(&armored) {
        let again = reencode(&armored).expect("a key that was read can be written");
        let known = inspect(&again).expect("a key that was written can be read");
        assert_eq!(known.fingerprint, info.fingerprint);
        assert_eq!(known.revoked, info.revoked);
    }
});
