//! Windows: the tables of its IP helper.

use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    FreeMibTable, GetExtendedTcpTable, GetExtendedUdpTable, GetIfTable2, GetIpNetTable2,
    GetUnicastIpAddressTable, MIB_IF_ROW2, MIB_IPNET_ROW2, MIB_UNICASTIPADDRESS_ROW,
    TCP_TABLE_OWNER_PID_ALL, UDP_TABLE_OWNER_PID,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_INET};

use super::tables;
use super::{Interface, InterfaceAddress, Namespace, Neighbour, Protocol, RowError};
use super::{Sockets, Wanted};
use crate::host::{HostError, LocalHost};

/// Largest table of sockets read, in bytes: more than two million of them.
const MAX_TABLE: u32 = 128 << 20;
/// A table grows between two calls: how often it is asked for anew.
const ATTEMPTS: usize = 8;
/// The bit of a row that is a filter on top of an interface, with its address.
const FILTER: u8 = 2;

pub(crate) fn interfaces(_: &LocalHost) -> Result<Vec<Interface>, HostError> {
    let failed = |source| HostError::new("the interfaces", source);
    let addresses = unicast_addresses().map_err(failed)?;
    let rows = interface_rows().map_err(failed)?;
    let rows = rows.iter().filter(|row| row.InterfaceAndOperStatusFlags._bitfield & FILTER == 0);
    Ok(rows
        .map(|row| Interface {
            name: text(&row.Alias),
            mac: mac(&row.PhysicalAddress, row.PhysicalAddressLength),
            addresses: addresses
                .iter()
                .filter(|address| address.InterfaceIndex == row.InterfaceIndex)
                .filter_map(|address| {
                    let ip = ip(&address.Address)?;
                    Some(InterfaceAddress { ip, prefix: address.OnLinkPrefixLength })
                })
                .collect(),
        })
        .collect())
}

pub(crate) fn neighbours(
    _: &LocalHost,
    _: &Namespace,
) -> Result<Vec<Result<Neighbour, RowError>>, HostError> {
    let rows = neighbour_rows().map_err(|source| HostError::new("the neighbours", source))?;
    let found = rows.iter().filter_map(|row| {
        let mac = mac(&row.PhysicalAddress, row.PhysicalAddressLength);
        let mac = if mac.is_empty() { "00:00:00:00:00:00".to_owned() } else { mac };
        Some(Ok(Neighbour { ip: ip(&row.Address)?, mac }))
    });
    Ok(found.collect())
}

pub(crate) fn sockets(_: &LocalHost, _: &Namespace, _: &[Wanted]) -> Sockets {
    let mut found = Sockets::default();
    for protocol in Protocol::ALL {
        match socket_table(protocol) {
            Ok(table) => found.rows.extend(tables::sockets(&table, protocol).into_iter().map(Ok)),
            Err(source) => found.failures.push(HostError::new(protocol.as_str(), source)),
        }
    }
    found.examined = found.rows.len() as u64;
    found
}

/// The system's table of one protocol, as it writes it.
fn socket_table(protocol: Protocol) -> io::Result<Vec<u8>> {
    let family = u32::from(if protocol.is_ipv6() { AF_INET6 } else { AF_INET });
    let mut table: Vec<u8> = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut size = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let buffer = table.as_mut_ptr().cast::<c_void>();
        // SAFETY: the system writes at most `size` bytes, and that many are there.
        #[expect(unsafe_code, reason = "the standard library has no such tables")]
        let code = unsafe {
            if matches!(protocol, Protocol::Tcp | Protocol::Tcp6) {
                let class = TCP_TABLE_OWNER_PID_ALL;
                GetExtendedTcpTable(buffer, &raw mut size, 0, family, class, 0)
            } else {
                GetExtendedUdpTable(buffer, &raw mut size, 0, family, UDP_TABLE_OWNER_PID, 0)
            }
        };
        match code {
            NO_ERROR => return Ok(table),
            ERROR_INSUFFICIENT_BUFFER if size <= MAX_TABLE => {
                // Room for those that come meanwhile.
                table.resize(size as usize + 4096, 0);
            }
            ERROR_INSUFFICIENT_BUFFER => return Err(io::ErrorKind::FileTooLarge.into()),
            code => return Err(error(code)),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn interface_rows() -> io::Result<Vec<MIB_IF_ROW2>> {
    let mut table = std::ptr::null_mut();
    // SAFETY: after success the table has as many rows as it says, and they are copied
    // before it is given back.
    #[expect(unsafe_code, reason = "the standard library has no such table")]
    unsafe {
        ok(GetIfTable2(&raw mut table))?;
        let rows = (&raw const (*table).Table).cast::<MIB_IF_ROW2>();
        let rows = std::slice::from_raw_parts(rows, (*table).NumEntries as usize).to_vec();
        FreeMibTable(table.cast());
        Ok(rows)
    }
}

fn unicast_addresses() -> io::Result<Vec<MIB_UNICASTIPADDRESS_ROW>> {
    let mut table = std::ptr::null_mut();
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the standard library has no such table")]
    unsafe {
        ok(GetUnicastIpAddressTable(AF_UNSPEC, &raw mut table))?;
        let rows = (&raw const (*table).Table).cast::<MIB_UNICASTIPADDRESS_ROW>();
        let rows = std::slice::from_raw_parts(rows, (*table).NumEntries as usize).to_vec();
        FreeMibTable(table.cast());
        Ok(rows)
    }
}

fn neighbour_rows() -> io::Result<Vec<MIB_IPNET_ROW2>> {
    let mut table = std::ptr::null_mut();
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the standard library has no such table")]
    unsafe {
        ok(GetIpNetTable2(AF_UNSPEC, &raw mut table))?;
        let rows = (&raw const (*table).Table).cast::<MIB_IPNET_ROW2>();
        let rows = std::slice::from_raw_parts(rows, (*table).NumEntries as usize).to_vec();
        FreeMibTable(table.cast());
        Ok(rows)
    }
}

fn ip(address: &SOCKADDR_INET) -> Option<IpAddr> {
    // SAFETY: the family says which of the two it is, and any bytes are an address.
    #[expect(unsafe_code, reason = "the system's type is a union")]
    unsafe {
        match address.si_family {
            AF_INET => {
                let octets = address.Ipv4.sin_addr.S_un.S_addr.to_ne_bytes();
                Some(Ipv4Addr::from(octets).into())
            }
            AF_INET6 => Some(Ipv6Addr::from(address.Ipv6.sin6_addr.u.Byte).into()),
            _ => None,
        }
    }
}

fn mac(octets: &[u8; 32], length: u32) -> String {
    let octets = octets.get(..length as usize).unwrap_or_default();
    if octets.iter().all(|octet| *octet == 0) {
        return String::new();
    }
    let octets: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

fn text(wide: &[u16]) -> String {
    let wide = wide.split(|unit| *unit == 0).next().unwrap_or_default();
    String::from_utf16_lossy(wide)
}

fn ok(code: u32) -> io::Result<()> {
    if code == NO_ERROR { Ok(()) } else { Err(error(code)) }
}

fn error(code: u32) -> io::Error {
    i32::try_from(code).map_or_else(|_| io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
}
