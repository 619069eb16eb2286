#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_types::heartbeat::HttpHeartbeat;
use mig_types::{Acl, Investigator, Manifest, wire};

fuzz_target!(|data: &[u8]| {
    if let Ok(heartbeat) = wire::from_slice::<HttpHeartbeat>(data) {
        let _ = heartbeat.into_agent();
    }
    let _ = wire::from_slice::<Acl>(data);
    let _ = wire::from_slice::<Investigator>(data);
    if let Ok(manifest) = wire::from_slice::<Manifest>(data) {
        let _ = mig_sign::canonical::manifest_document(&manifest);
    }
});
