//! What benches measure with.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Clock ticks of `/proc` in a second, the same on every Linux.
const TICKS: u64 = 100;
/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_mins(2);

/// Processor time a process has taken, in milliseconds, with that of children
/// it has waited for.
pub fn cpu_ms(pid: u32) -> anyhow::Result<u64> {
    let fields = stat(pid)?;
    let ticks: u64 = [11, 12, 13, 14]
        .into_iter()
        .filter_map(|index| fields.get(index).and_then(|field| field.parse::<u64>().ok()))
        .sum();
    Ok(ticks * 1000 / TICKS)
}

/// [`cpu_ms`] of a process and of its living children, such as a PostgreSQL
/// server.
pub fn cpu_ms_with_children(pid: u32) -> anyhow::Result<u64> {
    let mut total = cpu_ms(pid)?;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Gone meanwhile: its parent has its time.
        let parent = stat(child).ok().and_then(|fields| fields.get(1).cloned());
        if parent.is_some_and(|parent| parent == pid.to_string()) {
            total += cpu_ms(child).unwrap_or(0);
        }
    }
    Ok(total)
}

/// The fields of `/proc/<pid>/stat` after the name, which may hold anything.
fn stat(pid: u32) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("stat without a name")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// Memory of a process that is resident now, in KiB.
pub fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The time that a share of all takes at most; `times` are sorted.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent).div_ceil(100).max(1) - 1;
    times.get(at).copied().unwrap_or_default()
}

/// One connection over which requests follow each other.
pub struct Http {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
    header: String,
}

impl Http {
    /// `header` goes with every request: empty, or ending with CR LF.
    pub fn connect(host: SocketAddr, header: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream: BufReader::new(stream), host, header: header.to_owned() })
    }

    /// Status and body of a GET.
    pub fn get(&mut self, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{}\r\n", self.host, self.header);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the connection was closed");
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=40).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(20));
        assert_eq!(percentile(&times, 95), Duration::from_millis(38));
        assert_eq!(percentile(&times, 100), Duration::from_millis(40));
        assert_eq!(percentile(&[], 95), Duration::ZERO);
    }
}
