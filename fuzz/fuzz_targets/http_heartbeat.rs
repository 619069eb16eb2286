//! Heartbeats over HTTP, as any host sends them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_types::Timestamp;

fuzz_target!(|data: &[u8]| {
    let _ = mig_api::heartbeat::decode(data, Timestamp::ZERO);
});
