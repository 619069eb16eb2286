//! Lines to a syslog server, in the format of RFC 3164.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::line::Severity;
use super::{LogConfig, LogError};
use crate::clock::{Clock as _, SystemClock};

/// Lines that may wait for a slow server; more are dropped and counted.
const QUEUE: usize = 1024;
/// Longest message. Beyond it servers cut or refuse.
const MAX_BYTES: usize = 8 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a server that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Time for the last lines when the program ends.
const FLUSH: Duration = Duration::from_secs(2);

/// Facilities by name; the index is the number. 12 to 15 have no common name.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const DEFAULT_FACILITY: &str = "local3";

/// Hands messages to a thread of its own: a server that hangs must not stop
/// the program.
#[derive(Debug)]
pub(super) struct Syslog {
    facility: u8,
    header: String,
    queue: Option<SyncSender<String>>,
    done: Receiver<()>,
    thread: Option<JoinHandle<()>>,
    dropped: u64,
}

impl Syslog {
    pub(super) fn start(program: &str, config: &LogConfig) -> Result<Self, LogError> {
        let protocol = match config.protocol.to_ascii_lowercase().as_str() {
            "udp" => Protocol::Udp,
            "tcp" => Protocol::Tcp,
            _ => {
                let value = config.protocol.clone();
                return Err(LogError::Unknown { key: "protocol", value });
            }
        };
        let facility = facility(&config.facility)?;
        let header = format!("{} {program}[{}]: ", host_name(), std::process::id());
        let (queue, messages) = sync_channel(QUEUE);
        let (finished, done) = sync_channel(1);
        let mut server =
            Server { protocol, host: config.host.clone(), port: config.port, link: None };
        let thread = std::thread::Builder::new()
            .name("syslog".to_owned())
            .spawn(move || {
                server.serve(&messages);
                // Nobody listens any more when the program did not wait.
                let _ = finished.try_send(());
            })
            .map_err(|source| LogError::Thread { source })?;
        Ok(Self { facility, header, queue: Some(queue), done, thread: Some(thread), dropped: 0 })
    }

    pub(super) fn send(&mut self, severity: Severity, line: &str) {
        if self.dropped > 0 {
            let count = self.dropped;
            let note = format!("- - - [warning] {count} log lines were dropped: server too slow");
            if !self.enqueue(Severity::Warning, &note) {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        if !self.enqueue(severity, line) {
            self.dropped += 1;
        }
    }

    fn enqueue(&self, severity: Severity, line: &str) -> bool {
        let priority = self.facility * 8 + severity as u8;
        let now = SystemClock.now().datetime().with_timezone(&chrono::Local);
        let time = now.format("%b %e %H:%M:%S");
        let mut message = format!("<{priority}>{time} {}{line}", self.header);
        message.truncate(message.floor_char_boundary(MAX_BYTES));
        let Some(queue) = &self.queue else { return false };
        !matches!(queue.try_send(message), Err(TrySendError::Full(_)))
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.queue = None;
        // A thread that hangs in the network is left behind.
        if self.done.recv_timeout(FLUSH) != Err(RecvTimeoutError::Timeout)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn facility(name: &str) -> Result<u8, LogError> {
    let wanted = if name.is_empty() { DEFAULT_FACILITY } else { name };
    FACILITIES
        .iter()
        .position(|known| !known.is_empty() && known.eq_ignore_ascii_case(wanted))
        .and_then(|index| u8::try_from(index).ok())
        .ok_or_else(|| LogError::Unknown { key: "facility", value: name.to_owned() })
}

#[cfg(unix)]
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    // RFC 3164 wants the bare name, without its domain.
    name.split(['.', ' ']).next().filter(|name| !name.is_empty()).unwrap_or("-").to_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "-".to_owned())
}

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Udp,
    Tcp,
}

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

struct Server {
    protocol: Protocol,
    host: String,
    port: u16,
    link: Option<Link>,
}

impl Server {
    /// Sends until the other end of the queue is gone.
    fn serve(&mut self, messages: &Receiver<String>) {
        let mut retry_at: Option<Instant> = None;
        let mut told = false;
        while let Ok(message) = messages.recv() {
            if retry_at.is_some_and(|at| Instant::now() < at) {
                continue;
            }
            // A TCP link that the server closed shows it at the second write
            // only; one more try covers the first.
            let sent = self.send(&message).or_else(|_| self.send(&message));
            retry_at = sent.is_err().then(|| Instant::now() + RETRY);
            if let Err(error) = &sent
                && !told
            {
                let (host, port) = (&self.host, self.port);
                let _ = writeln!(io::stderr(), "cannot log to syslog {host}:{port}: {error}");
            }
            told = sent.is_err();
        }
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect()?,
        };
        match &mut link {
            Link::Udp(socket) => {
                socket.send(message.as_bytes())?;
            }
            Link::Tcp(stream) => stream.write_all(format!("{message}\n").as_bytes())?,
        }
        self.link = Some(link);
        Ok(())
    }

    fn connect(&self) -> io::Result<Link> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match self.connect_to(address) {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(&self, address: SocketAddr) -> io::Result<Link> {
        match self.protocol {
            Protocol::Udp => {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                Ok(Link::Udp(socket))
            }
            Protocol::Tcp => {
                let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Ok(Link::Tcp(stream))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    fn config(protocol: &str, port: u16, facility: &str) -> LogConfig {
        LogConfig {
            mode: "syslog".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            protocol: protocol.to_owned(),
            facility: facility.to_owned(),
            ..LogConfig::default()
        }
    }

    /// Checks `<159>Sep  1 12:00:00 host mig-test[1]: text`.
    fn assert_shape(message: &str, priority: &str, text: &str) {
        let rest = message.strip_prefix(priority).unwrap_or_else(|| panic!("{message}"));
        assert_eq!((&rest[3..4], &rest[6..7], &rest[15..16]), (" ", " ", " "), "{message}");
        let tail = format!(" mig-test[{}]: {text}", std::process::id());
        assert!(rest.ends_with(&tail), "{message}");
    }

    #[test]
    fn udp_sends_one_datagram_per_line_as_local3() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let port = server.local_addr().unwrap().port();
        let mut syslog = Syslog::start("mig-test", &config("udp", port, "")).unwrap();
        syslog.send(Severity::Debug, "- - - [debug] one");
        syslog.send(Severity::Error, &"x".repeat(2 * MAX_BYTES));
        let mut buffer = vec![0; 65_536];
        let length = server.recv(&mut buffer).unwrap();
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert_shape(&message, "<159>", "- - - [debug] one");
        assert_eq!(server.recv(&mut buffer).unwrap(), MAX_BYTES);
    }

    #[test]
    fn tcp_sends_lines_and_flushes_at_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut syslog = Syslog::start("mig-test", &config("TCP", port, "daemon")).unwrap();
        syslog.send(Severity::Info, "one");
        syslog.send(Severity::Info, "two");
        drop(syslog);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let lines: Vec<_> = BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 2);
        assert_shape(&lines[0], "<30>", "one");
        assert_shape(&lines[1], "<30>", "two");
    }

    #[test]
    fn a_server_that_is_not_there_stops_nobody() {
        // Bound and closed again: nothing listens on this port.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut syslog = Syslog::start("mig-test", &config("tcp", port, "")).unwrap();
        let start = Instant::now();
        for _ in 0..3 * QUEUE {
            syslog.send(Severity::Info, "lost");
        }
        drop(syslog);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
