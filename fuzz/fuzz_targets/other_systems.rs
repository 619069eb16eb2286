//! What macOS and Windows tell of sockets, memory and files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::memory::{Mapping, regions};
use mig_host::net::{Protocol, printed, sockaddr, tables};
use mig_host::process::descriptor;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for ipv6 in [false, true] {
        for row in printed::sockets(&text, ipv6).into_iter().flatten() {
            assert!(ipv6 || row.is_dual || row.socket.local.is_ipv4());
        }
    }
    let _ = (printed::arp(&text), printed::ndp(&text));
    for protocol in Protocol::ALL {
        for socket in tables::sockets(data, protocol) {
            assert_eq!(socket.local.is_ipv6(), protocol.is_ipv6());
        }
    }
    let _ = sockaddr::address(data);
    for ip in ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()) {
        let _ = sockaddr::prefix(data, ip);
    }
    let _ = (descriptor::sid(data), descriptor::doubt(data, b"own"));
    memory(data);
});

/// Regions as a kernel may tell of them, two numbers each.
fn memory(data: &[u8]) {
    let mut numbers = data.chunks_exact(8).map(|octets| {
        // Mostly small, so that regions meet each other and pages.
        let number = u64::from_le_bytes(octets.try_into().unwrap());
        if number & 1 == 0 { number } else { number >> 48 }
    });
    let mut next = || {
        let (start, end) = (numbers.next()?, numbers.next()?);
        Some(Mapping { start, end, ..Mapping::default() })
    };
    let mut found = regions::ascending(|_| Ok(next())).unwrap();
    assert!(found.is_sorted_by(|a, b| a.end <= b.start));
    let mut files = regions::ascending(|_| Ok(next())).unwrap();
    files.iter_mut().for_each(|file| "/file".clone_into(&mut file.path));
    regions::name(&mut found, &files);
    for region in &found {
        assert!(region.start < region.end);
        let length = usize::try_from(region.end - region.start).unwrap_or(usize::MAX);
        let mut left = length;
        while let Some(less) = regions::shorter(region.start, left) {
            assert!(less > 0 && less < left);
            left = less;
        }
    }
}
