//! Files that may hold SSH keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module_sshkey::keys::classify;

fuzz_target!(|data: &[u8]| {
    for name in ["authorized_keys", "id_rsa"] {
        let keys = classify(name, data);
        for prints in keys.found.iter().filter_map(|key| key.fingerprints.as_ref()) {
            assert_eq!(prints.md5.len(), 47);
            assert!(prints.sha256.starts_with("SHA256:"));
        }
    }
});
