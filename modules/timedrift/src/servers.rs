//! Time servers in the host's own configuration.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use mig_host::Host;

/// Files of ntpd, ntpsec and chrony, which share their notation.
const NTP: [&str; 4] =
    ["/etc/ntp.conf", "/etc/ntpsec/ntp.conf", "/etc/chrony.conf", "/etc/chrony/chrony.conf"];
const TIMESYNCD: &str = "/etc/systemd/timesyncd.conf";
/// Longest file that is read.
const MAX_FILE: u64 = 64 << 10;
/// More servers are not asked: each may take its time.
const MAX_SERVERS: usize = 16;
/// Longest name the DNS has.
const MAX_NAME: usize = 253;

/// The servers in the files this host has, in their order. Missing files are
/// no fault: the host may use another program.
pub fn configured(host: &dyn Host) -> Vec<String> {
    let mut servers: Vec<String> =
        NTP.iter().flat_map(|path| ntp_servers(&read(host, path))).collect();
    servers.extend(timesyncd_servers(&read(host, TIMESYNCD)));
    servers.truncate(MAX_SERVERS);
    servers
}

fn read(host: &dyn Host, path: &str) -> String {
    let mut bytes = Vec::new();
    let path = host.path(Path::new(path));
    // Only what is a file: opening anything else may block.
    let is_file = std::fs::metadata(&path).is_ok_and(|found| found.is_file());
    if is_file && let Ok(file) = File::open(path) {
        // Half a file names servers as well.
        let _ = file.take(MAX_FILE).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads `ntp.conf` or `chrony.conf`.
///
/// **Shape** `server <name> <options>` and `pool <name> <options>`, one a line.
/// Clocks that are attached to the host, which ntpd calls `127.127.x.y`, are no
/// servers.
pub fn ntp_servers(text: &str) -> Vec<String> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_server = matches!(words.next(), Some("server" | "pool"));
        // Options may stand before the name: `server -4 name`.
        let name = words.find(|word| !word.starts_with('-'))?;
        (is_server && is_name(name) && !name.starts_with("127.127.")).then(|| name.to_owned())
    });
    servers.take(MAX_SERVERS).collect()
}

/// Reads `timesyncd.conf`.
///
/// **Shape** `NTP=<name> <name> …` and `FallbackNTP=…`. **Source**
/// `timesyncd.conf(5)`.
pub fn timesyncd_servers(text: &str) -> Vec<String> {
    let values = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(move |(name, _)| name.trim() == key)
            .flat_map(|(_, value)| value.split_whitespace())
    };
    let names = values("NTP").chain(values("FallbackNTP"));
    names.filter(|name| is_name(name)).take(MAX_SERVERS).map(str::to_owned).collect()
}

/// A host name or an address.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_servers_and_pools_and_nothing_else() {
        let text = "# comment\n#server b\nserver a iburst\n  pool c maxsources 4\nserver\n\
                    servers d\nserver 127.127.1.0\nserver bad/name\nserver -4 e\nrestrict f\n";
        assert_eq!(ntp_servers(text), ["a", "c", "e"]);
    }

    #[test]
    fn reads_timesyncd_with_its_fallback_last() {
        let text = "[Time]\n#NTP=x\nFallbackNTP=c\nNTP=a b\nNTP=\nRootDistanceMaxSec=5\n";
        assert_eq!(timesyncd_servers(text), ["a", "b", "c"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(ntp_servers(&"server a\n".repeat(1000)).len(), MAX_SERVERS);
        assert_eq!(ntp_servers(&format!("server {}", "a".repeat(254))), [""; 0]);
    }

    proptest! {
        #[test]
        fn any_text_gives_names(text in "(server |pool |NTP=|[ -~\n]|\\PC){0,60}") {
            for name in ntp_servers(&text).into_iter().chain(timesyncd_servers(&text)) {
                prop_assert!(!name.is_empty() && is_name(&name));
            }
        }
    }
}
