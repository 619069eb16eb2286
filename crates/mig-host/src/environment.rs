//! What an agent reports about its machine. Discovery never fails: what cannot
//! be found out stays empty.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::host::{Host, LocalHost};

/// Largest file read here.
const MAX_FILE: u64 = 64 * 1024;

/// The discovered facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The host's name, with its domain when that is known.
    pub hostname: String,
    /// Distribution, release and code name: `Debian 12 bookworm`.
    pub ident: String,
    /// `systemd`, `upstart`, `sysvinit`, `launchd` or `windows`.
    pub init: String,
    /// Interface addresses in CIDR notation, sorted, without the loopback's own.
    pub addresses: Vec<String>,
    /// Go's name of the operating system: `linux`, `darwin`, `windows`.
    pub os: &'static str,
    /// Go's name of the architecture: `amd64`, `386`, `arm64`.
    pub arch: &'static str,
}

/// Looks at a host. Runs no program.
pub fn discover(host: &LocalHost) -> Discovered {
    Discovered {
        hostname: hostname(host),
        ident: ident(host),
        init: init(host),
        addresses: addresses(host),
        os: go_os(),
        arch: go_arch(),
    }
}

/// Go's name of the operating system this was built for.
pub const fn go_os() -> &'static str {
    if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS }
}

/// Go's name of the architecture this was built for.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        "mips" if cfg!(target_endian = "little") => "mipsle",
        "mips64" if cfg!(target_endian = "little") => "mips64le",
        other => other,
    }
}

/// The kernel's name of the host; with a domain if `/etc/hosts` gives one for it.
fn hostname(host: &LocalHost) -> String {
    let kernel = kernel_name(host);
    if kernel.is_empty() || kernel.contains('.') {
        return kernel;
    }
    let hosts = read(host, "/etc/hosts").unwrap_or_default();
    full_name(&hosts, &kernel).unwrap_or(kernel)
}

pub(crate) fn kernel_name(host: &LocalHost) -> String {
    #[cfg(unix)]
    if host.is_live() {
        let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
        if !name.is_empty() {
            return name;
        }
    }
    let variable = || std::env::var("COMPUTERNAME").ok().filter(|_| cfg!(windows));
    let from = |path| read(host, path).map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
    from("/proc/sys/kernel/hostname")
        .or_else(|| from("/etc/hostname"))
        .or_else(variable)
        .unwrap_or_default()
}

/// What `hostname --fqdn` finds without a name server: the first name of the
/// line of `/etc/hosts` that has the host's name, if it extends that name.
fn full_name(hosts: &str, kernel: &str) -> Option<String> {
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let names: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
        if names.contains(&kernel) {
            let first = names.first()?;
            let label = first.split('.').next()?;
            return (label == kernel).then(|| (*first).to_owned());
        }
    }
    None
}

fn ident(host: &LocalHost) -> String {
    if cfg!(windows) {
        return "Windows".to_owned();
    }
    let from_lsb = read(host, "/etc/lsb-release").and_then(|text| lsb_ident(&text));
    let from_os = || {
        let text = read(host, "/etc/os-release").or_else(|| read(host, "/usr/lib/os-release"))?;
        os_ident(&text)
    };
    let from_issue = || {
        let issue = read(host, "/etc/issue")?;
        let first = issue.lines().next()?.split('\\').next()?.trim();
        (first.len() > 3).then(|| first.to_owned())
    };
    let found = from_lsb.or_else(from_os).or_else(from_issue).unwrap_or_default();
    found.chars().filter(|c| !c.is_control()).take(256).collect()
}

fn lsb_ident(text: &str) -> Option<String> {
    let id = value(text, "DISTRIB_ID")?;
    let release = value(text, "DISTRIB_RELEASE").unwrap_or_default();
    let codename = value(text, "DISTRIB_CODENAME").unwrap_or_default();
    Some(join(&[&id, &release, &codename]))
}

/// The words `lsb_release` would print, as far as os-release has them.
fn os_ident(text: &str) -> Option<String> {
    let name = value(text, "NAME").map(|name| {
        let plain = name.trim_end_matches(" GNU/Linux").trim_end_matches(" Linux");
        plain.to_owned()
    });
    let version = value(text, "VERSION_ID");
    match (name, version) {
        (Some(name), Some(version)) => {
            let codename = value(text, "VERSION_CODENAME").unwrap_or_default();
            Some(join(&[&name, &version, &codename]))
        }
        (name, _) => value(text, "PRETTY_NAME").or(name),
    }
}

fn join(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A value of a file of shell assignments, without its quotes.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let line = line.trim().trim_matches('"').trim_matches('\'').trim();
    (!line.is_empty()).then(|| line.to_owned())
}

fn init(host: &LocalHost) -> String {
    if cfg!(windows) {
        return "windows".to_owned();
    }
    if cfg!(target_os = "macos") {
        return "launchd".to_owned();
    }
    let command = read(host, "/proc/1/cmdline").unwrap_or_default();
    let link = std::fs::read_link(host.path(Path::new("/sbin/init"))).ok();
    let systemd_link = link.is_some_and(|to| to.to_string_lossy().contains("systemd"));
    init_of(&command, systemd_link).to_owned()
}

fn init_of(command: &str, systemd_link: bool) -> &'static str {
    if command.contains("init [") {
        "sysvinit"
    } else if command.contains("systemd") || (command.contains("init") && systemd_link) {
        "systemd"
    } else if command.contains("init") {
        "upstart"
    } else {
        "sysvinit"
    }
}

fn addresses(host: &LocalHost) -> Vec<String> {
    let interfaces = host.interfaces().unwrap_or_default();
    let all = interfaces.iter().flat_map(|interface| &interface.addresses);
    // Sorted: the kernel's order changes without anything having changed.
    let mut found: Vec<_> = all.copied().collect();
    found.sort_unstable();
    found.dedup();
    let texts = found.iter().map(ToString::to_string);
    texts.filter(|text| text != "127.0.0.1/8" && text != "::1/128").collect()
}

fn read(host: &LocalHost, path: &str) -> Option<String> {
    let file = File::open(host.path(Path::new(path))).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_is_not_fatal() {
        let dir = tempfile::tempdir().unwrap();
        let found = discover(&LocalHost::new(dir.path()));
        assert_eq!((found.hostname.as_str(), found.ident.as_str()), ("", ""));
        assert_eq!(found.addresses, Vec::<String>::new());
        assert_eq!(found.init, "sysvinit");
    }

    #[test]
    fn this_machine_has_a_name_and_a_system() {
        let found = discover(&LocalHost::default());
        assert!(!found.hostname.is_empty());
        assert!(!found.ident.is_empty());
        assert_eq!(found.os, "linux");
        assert!(!found.addresses.contains(&"127.0.0.1/8".to_owned()));
    }

    #[test]
    fn identifies_distributions() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
                      VERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(os_ident(debian).unwrap(), "Debian 12 bookworm");
        assert_eq!(os_ident("NAME=\"CentOS Linux\"\nVERSION_ID=\"7\"").unwrap(), "CentOS 7");
        assert_eq!(os_ident("NAME=Arch\nPRETTY_NAME='Arch Linux'").unwrap(), "Arch Linux");
        assert_eq!(os_ident("ID=x\n"), None);
        let ubuntu = "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_CODENAME=jammy\n";
        assert_eq!(lsb_ident(ubuntu).unwrap(), "Ubuntu 22.04 jammy");
    }

    #[test]
    fn tells_init_systems_apart() {
        for (command, link, init) in [
            ("init [2]", false, "sysvinit"),
            ("/lib/systemd/systemd\0--system", false, "systemd"),
            ("/sbin/init\0splash", true, "systemd"),
            ("/sbin/init", false, "upstart"),
            ("sleep\x001d", true, "sysvinit"),
        ] {
            assert_eq!(init_of(command, link), init, "{command:?}");
        }
    }

    #[test]
    fn a_full_name_must_extend_the_short_one() {
        let hosts =
            "127.0.0.1 localhost\n127.0.1.1 web1.example.net web1 # x\n10.0.0.9 other web2\n";
        assert_eq!(full_name(hosts, "web1").unwrap(), "web1.example.net");
        assert_eq!(full_name(hosts, "web2"), None);
        assert_eq!(full_name(hosts, "web3"), None);
    }
}
