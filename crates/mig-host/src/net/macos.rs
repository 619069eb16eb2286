//! macOS: addresses from the system, sockets and neighbours from its own programs.
//!
//! The system has no documented call for the sockets of others; its programs have
//! documented output.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use super::printed;
use super::sockaddr::{Address, address, prefix};
use super::{Interface, InterfaceAddress, Namespace, Neighbour, RowError, Sockets, Wanted};
use crate::host::{HostError, LocalHost};
use crate::process::output;

/// A program that looks at tables of the kernel is done at once.
const TIME: Duration = Duration::from_secs(20);
/// Largest output read: some half a million sockets.
const MAX_OUTPUT: usize = 64 << 20;

pub(crate) fn interfaces(_: &LocalHost) -> Result<Vec<Interface>, HostError> {
    list().map_err(|source| HostError::new("the interfaces", source))
}

pub(crate) fn neighbours(
    _: &LocalHost,
    _: &Namespace,
) -> Result<Vec<Result<Neighbour, RowError>>, HostError> {
    let mut found = printed::arp(&said("/usr/sbin/arp", &["-an"])?);
    found.extend(printed::ndp(&said("/usr/sbin/ndp", &["-an"])?));
    Ok(found)
}

pub(crate) fn sockets(_: &LocalHost, _: &Namespace, _: &[Wanted]) -> Sockets {
    let mut found = Sockets::default();
    let mut table = |family, ipv6| match said("/usr/sbin/netstat", &["-naW", "-f", family]) {
        Ok(text) => printed::sockets(&text, ipv6),
        Err(error) => {
            found.failures.push(error);
            Vec::new()
        }
    };
    let (four, six) = (table("inet", false), table("inet6", true));
    found.rows = printed::merged(four, six);
    found.examined = found.rows.len() as u64;
    found
}

/// What a program of the system prints.
#[expect(clippy::disallowed_methods, reason = "the system's own way to tell")]
fn said(program: &str, args: &[&str]) -> Result<String, HostError> {
    let deadline = Instant::now() + TIME;
    output(Command::new(program).args(args), deadline, MAX_OUTPUT)
        .map(|said| String::from_utf8_lossy(&said).into_owned())
        .map_err(|source| HostError::new(format!("what {program} says"), source))
}

/// The list of addresses of this machine, given back when it is dropped.
struct Addresses(*mut libc::ifaddrs);

impl Addresses {
    fn get() -> io::Result<Self> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the system writes where its list begins.
        #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
        let refused = unsafe { libc::getifaddrs(&raw mut list) };
        if refused == 0 { Ok(Self(list)) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        // SAFETY: the list is the system's, and nobody looks at it any more.
        #[expect(unsafe_code, reason = "as above")]
        unsafe {
            libc::freeifaddrs(self.0);
        }
    }
}

fn list() -> io::Result<Vec<Interface>> {
    let addresses = Addresses::get()?;
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    let mut next = addresses.0;
    while !next.is_null() {
        // SAFETY: an entry of the list, which is there until `addresses` is dropped;
        // names end with a zero.
        #[expect(unsafe_code, reason = "as above")]
        let (entry, name) = unsafe { (&*next, CStr::from_ptr((*next).ifa_name)) };
        next = entry.ifa_next;
        let name = name.to_string_lossy().into_owned();
        let interface =
            found.entry(name.clone()).or_insert_with(|| Interface { name, ..Interface::default() });
        match address(bytes(entry.ifa_addr)) {
            Some(Address::Ip(ip)) => {
                let prefix = prefix(bytes(entry.ifa_netmask), ip);
                interface.addresses.push(InterfaceAddress { ip, prefix });
            }
            Some(Address::Mac(mac)) => interface.mac = mac,
            None => {}
        }
    }
    Ok(found.into_values().collect())
}

/// An address as the system wrote it.
fn bytes<'a>(at: *const libc::sockaddr) -> &'a [u8] {
    if at.is_null() {
        return &[];
    }
    // SAFETY: its first octet says how many there are, and all of them are in the list,
    // which outlives what the caller does with them.
    #[expect(unsafe_code, reason = "the system's addresses are as long as they say")]
    unsafe {
        std::slice::from_raw_parts(at.cast::<u8>(), usize::from(*at.cast::<u8>()))
    }
}
