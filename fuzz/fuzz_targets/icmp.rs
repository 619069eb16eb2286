//! Packets that an echo request may meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::net::echo::{Request, without_ipv4_header};

fuzz_target!(|data: &[u8]| {
    for to in ["192.0.2.1", "2001:db8::1"] {
        let to = to.parse().expect("an address");
        let request = Request { to, identifier: 1, sequence: 1 };
        for any_identifier in [false, true] {
            let _ = request.judge(to, data, any_identifier);
            let _ = request.judge(to, without_ipv4_header(data), any_identifier);
        }
    }
});
