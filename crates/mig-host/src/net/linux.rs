//! Linux: the kernel itself for the live machine, `/proc` for anything else.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Interface, InterfaceAddress, Namespace, Neighbour, Protocol, RowError};
use super::{Socket, Sockets, Wanted, diag, proc};
use crate::host::{Host as _, HostError, LocalHost};

/// Largest table read: some two million sockets.
const MAX_TABLE: u64 = 512 << 20;

pub(crate) fn interfaces(host: &LocalHost) -> Result<Vec<Interface>, HostError> {
    if host.is_live()
        && let Ok(found) = super::netlink::interfaces()
    {
        return Ok(found);
    }
    from_files(host)
}

/// Interfaces as far as files tell. IPv4 prefix lengths come from the directly
/// connected networks; an address without one stands alone.
fn from_files(host: &LocalHost) -> Result<Vec<Interface>, HostError> {
    let directory = host.path(Path::new("/sys/class/net"));
    let mut found = BTreeMap::new();
    if let Ok(entries) = std::fs::read_dir(&directory) {
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut mac = read(&entry.path().join("address")).unwrap_or_default();
            mac.truncate(mac.trim_end().len());
            if mac == "00:00:00:00:00:00" {
                mac.clear();
            }
            found.insert(name.clone(), Interface { name, mac, addresses: Vec::new() });
        }
    }
    let named = |name: &str| Interface { name: name.to_owned(), ..Interface::default() };
    let net = |table: &str| read(&host.path(&Path::new("/proc/net").join(table)));
    let networks = proc::connected_networks(&net("route").unwrap_or_default());
    let trie = net("fib_trie").map_err(|source| HostError::new("/proc/net/fib_trie", source))?;
    for ip in proc::ipv4_addresses(&trie) {
        let contains = |(_, network, prefix): &&proc::Connected| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
            u32::from(ip) & mask == u32::from(*network)
        };
        let best = networks.iter().filter(contains).max_by_key(|(_, _, prefix)| *prefix);
        let (name, prefix) = match best {
            Some((name, _, prefix)) => (name.as_str(), *prefix),
            None if ip.is_loopback() => ("lo", 8),
            None => ("", 32),
        };
        let interface = found.entry(name.to_owned()).or_insert_with(|| named(name));
        interface.addresses.push(InterfaceAddress { ip: ip.into(), prefix });
    }
    for (name, address) in proc::ipv6_addresses(&net("if_inet6").unwrap_or_default()) {
        found.entry(name.clone()).or_insert_with(|| named(&name)).addresses.push(address);
    }
    Ok(found.into_values().collect())
}

pub(crate) fn namespaces(host: &LocalHost, all: bool) -> Result<Vec<Namespace>, HostError> {
    if !all {
        let tables = vec![host.path(Path::new("/proc/net"))];
        return Ok(vec![Namespace { label: "default".to_owned(), tables }]);
    }
    let proc = host.path(Path::new("/proc"));
    let entries = std::fs::read_dir(&proc).map_err(|source| HostError::new("/proc", source))?;
    let mut groups: BTreeMap<String, Vec<(u32, PathBuf)>> = BTreeMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Other users' processes cannot be read, and processes end: not an error.
        let Ok(label) = std::fs::read_link(entry.path().join("ns/net")) else { continue };
        let label = label.to_string_lossy().into_owned();
        groups.entry(label).or_default().push((pid, entry.path().join("net")));
    }
    let group = |(label, mut members): (String, Vec<(u32, PathBuf)>)| {
        members.sort();
        Namespace { label, tables: members.into_iter().map(|(_, path)| path).collect() }
    };
    Ok(groups.into_iter().map(group).collect())
}

pub(crate) fn neighbours(
    host: &LocalHost,
    namespace: &Namespace,
) -> Result<Vec<Result<Neighbour, RowError>>, HostError> {
    // The kernel's table has both families, but only of the own namespace.
    if host.is_live()
        && namespace.label == "default"
        && let Ok(found) = super::netlink::neighbours()
    {
        return Ok(found.into_iter().map(Ok).collect());
    }
    let table =
        table(namespace, "arp").map_err(|source| HostError::new("/proc/net/arp", source))?;
    Ok(proc::neighbours(&table))
}

pub(crate) fn sockets(host: &LocalHost, namespace: &Namespace, wanted: &[Wanted]) -> Sockets {
    let mut found = Sockets::default();
    // Only of the own namespace, and UDP only where the kernel has it.
    let asks = host.is_live() && namespace.label == "default";
    match if asks { diag::tcp(wanted).ok() } else { None } {
        Some(sockets) => found.take(sockets.into_iter().map(Ok)),
        None => [Protocol::Tcp, Protocol::Tcp6]
            .into_iter()
            .for_each(|protocol| found.read(namespace, protocol)),
    }
    for protocol in [Protocol::Udp, Protocol::Udp6] {
        match if asks { diag::sockets(protocol, wanted).ok() } else { None } {
            Some(sockets) => found.take(sockets.into_iter().map(Ok)),
            None => found.read(namespace, protocol),
        }
    }
    if asks && !wanted.is_empty() {
        // What the kernel compared and did not tell of was looked at too.
        let counted = ["sockstat", "sockstat6"]
            .map(|name| proc::open_sockets(&table(namespace, name).unwrap_or_default()));
        found.examined = found.examined.max(counted.iter().sum());
    }
    found
}

impl Sockets {
    fn take(&mut self, rows: impl ExactSizeIterator<Item = Result<Socket, RowError>>) {
        self.examined += rows.len() as u64;
        self.rows.extend(rows);
    }

    fn read(&mut self, namespace: &Namespace, protocol: Protocol) {
        match table(namespace, protocol.as_str()) {
            Ok(table) => self.take(proc::sockets(&table, protocol).into_iter()),
            Err(error) if protocol.is_ipv6() && error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let table = format!("/proc/net/{}", protocol.as_str());
                self.failures.push(HostError::new(table, source));
            }
        }
    }
}

/// Reads a table through the first process of the namespace that still lives.
fn table(namespace: &Namespace, name: &str) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for directory in &namespace.tables {
        match read(&directory.join(name)) {
            Ok(text) => return Ok(text),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    crate::fs::open_file(path)?.take(MAX_TABLE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_tree_gives_interfaces_with_prefixes() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "sys/class/net/eth0/address", "52:54:00:12:34:56\n");
        write(dir.path(), "sys/class/net/lo/address", "00:00:00:00:00:00\n");
        write(
            dir.path(),
            "proc/net/route",
            "Iface\neth0 0002000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
        );
        let trie = "|-- 10.0.2.15\n/32 host LOCAL\n|-- 127.0.0.1\n/32 host LOCAL\n\
                    |-- 192.0.2.1\n/32 host LOCAL\n";
        write(dir.path(), "proc/net/fib_trie", trie);
        let six = "00000000000000000000000000000001 01 80 10 80 lo\n";
        write(dir.path(), "proc/net/if_inet6", six);
        let found = interfaces(&LocalHost::new(dir.path())).unwrap();
        let text: Vec<String> = found
            .iter()
            .map(|i| {
                let addresses: Vec<String> = i.addresses.iter().map(ToString::to_string).collect();
                format!("{} {} {}", i.name, i.mac, addresses.join(","))
            })
            .collect();
        assert_eq!(
            text,
            ["  192.0.2.1/32", "eth0 52:54:00:12:34:56 10.0.2.15/24", "lo  127.0.0.1/8,::1/128"]
        );
    }

    /// Whoever did the comparing, what was compared is counted.
    #[test]
    fn sockets_that_were_not_told_of_are_counted() {
        let host = LocalHost::default();
        let open: Vec<_> =
            (0..5).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = open[0].local_addr().unwrap().port();
        let own = namespaces(&host, false).unwrap().remove(0);
        let found = sockets(&host, &own, &[Wanted::LocalPort(port)]);
        assert!(found.rows.iter().flatten().any(|socket| socket.local_port == port));
        assert!(found.examined >= 5, "{}", found.examined);
    }

    #[test]
    fn the_next_process_answers_for_one_that_ended() {
        let dir = tempfile::tempdir().unwrap();
        for pid in ["10", "11"] {
            std::fs::create_dir_all(dir.path().join("proc").join(pid).join("ns")).unwrap();
            let link = dir.path().join("proc").join(pid).join("ns/net");
            std::os::unix::fs::symlink("net:[42]", link).unwrap();
        }
        write(dir.path(), "proc/11/net/tcp", "header\n0: 0100007F:0016 00000000:0000 0A\n");
        let host = LocalHost::new(dir.path());
        let found = namespaces(&host, true).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].label, "net:[42]");
        let found = sockets(&host, &found[0], &[Wanted::LocalPort(1)]);
        // Of TCP; without IPv6 its table is empty, but UDP's should be there.
        assert_eq!((found.rows.len(), found.examined), (1, 1));
        let failures: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].contains("/proc/net/udp"), "{failures:?}");
    }
}
