#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::net::{Protocol, diag, netlink, proc};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for protocol in Protocol::ALL {
        let _ = proc::sockets(&text, protocol);
    }
    let _ = proc::open_sockets(&text);
    let _ = proc::neighbours(&text);
    let _ = proc::ipv6_addresses(&text);
    let _ = proc::ipv4_addresses(&text);
    let _ = proc::connected_networks(&text);
    for message in netlink::messages(data) {
        let _ = diag::socket(message);
    }
    let _ = netlink::link(data);
    let _ = netlink::address(data);
    let _ = netlink::neighbour(data);
});
