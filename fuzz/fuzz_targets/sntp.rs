//! Answers of time servers, and the files that name the servers.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mig_module_timedrift::{servers, sntp};

fuzz_target!(|data: &[u8]| {
    let sent = data
        .get(24..32)
        .map_or(0, |bytes| bytes.iter().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte)));
    if let Ok(reply) = sntp::decode(data, sent) {
        let _ = reply.drift_nanos(sent, Duration::from_nanos(sent));
    }
    let text = String::from_utf8_lossy(data);
    let _ = servers::ntp_servers(&text);
    let _ = servers::timesyncd_servers(&text);
});
