//! The conversation with the kernel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recvfrom, send,
    socket_with, sockopt,
};

use super::message::{
    ADD_RULE, BACKLOG_LIMIT, DEL_RULE, DONE, ENABLED, ERROR, FIRST_RECORD, GET, LIST_RULES, PID,
    RATE_LIMIT, REPLACE, SET, code, messages, request, setting, status,
};
use super::{Record, Status};

/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most rules that are read back.
const MAX_RULES: usize = 100_000;
/// Records kept while an answer is waited for.
const MAX_KEPT: usize = 20_000;
/// Most records handed over at a time.
const MAX_RECORDS: usize = 1_000;
/// What the kernel may queue for us.
const SOCKET_BYTES: usize = 8 << 20;
/// Longer than any message; those of the kernel have at most 8970 bytes.
const BUFFER: usize = 32 << 10;

/// Ends a wait of [`Link::records`], from any thread. It stays awake.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// # Errors
    ///
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    pub fn wake(&self) {
        // Fails when it is awake more often than can be counted.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// A conversation with the kernel's auditing.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
    kept: VecDeque<Record>,
    /// Records that came while too many waited.
    dropped: u64,
    /// What happened after the records that were handed over last.
    failed: Option<io::Error>,
}

/// What came in one datagram.
enum Heard {
    /// An acknowledgement, or a refusal, of the question with this number.
    Verdict(u32, i32),
    /// The end of a list.
    Done(u32),
    Answer(u32, u16, Vec<u8>),
    Record(Record),
}

impl Heard {
    fn into_record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Verdict(..) | Self::Done(_) | Self::Answer(..) => None,
        }
    }
}

impl Link {
    /// # Errors
    ///
    /// The system's, notably when the kernel has no auditing.
    pub fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::AUDIT),
        )?;
        // As large as the system allows; a small one only loses more in a storm.
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES);
        }
        Ok(Self::over(socket))
    }

    /// A conversation with whoever is at the other end of a socket that keeps
    /// messages apart.
    pub fn over(socket: OwnedFd) -> Self {
        let buffer = vec![0; BUFFER];
        Self { socket, buffer, sequence: 0, kept: VecDeque::new(), dropped: 0, failed: None }
    }

    /// # Errors
    ///
    /// The kernel's: without the capability, or outside of the first user
    /// namespace, it refuses.
    pub fn status(&mut self) -> io::Result<Status> {
        let mut found = None;
        self.ask(GET, &[], |body| found = found.or_else(|| status(body)))?;
        found.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Switches auditing on (1) or off (0).
    ///
    /// # Errors
    ///
    /// The kernel's, as of every question here.
    pub fn enable(&mut self, how: u32) -> io::Result<()> {
        self.set(ENABLED, how)
    }

    /// Most records a second; the kernel drops the others.
    pub fn limit_rate(&mut self, per_second: u32) -> io::Result<()> {
        self.set(RATE_LIMIT, per_second)
    }

    /// Most records that wait inside the kernel.
    pub fn limit_backlog(&mut self, records: u32) -> io::Result<()> {
        self.set(BACKLOG_LIMIT, records)
    }

    /// Makes this process the audit daemon.
    ///
    /// # Errors
    ///
    /// "File exists" while there is another one that lives.
    pub fn register(&mut self) -> io::Result<()> {
        self.set(PID, std::process::id())
    }

    /// The opposite of [`Link::register`].
    pub fn resign(&mut self) -> io::Result<()> {
        self.set(PID, 0)
    }

    /// Adds a rule, an `audit_rule_data`.
    pub fn add_rule(&mut self, rule: &[u8]) -> io::Result<()> {
        self.ask(ADD_RULE, rule, |_| {})
    }

    /// Removes every rule; what they were.
    pub fn remove_rules(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut rules: Vec<Vec<u8>> = Vec::new();
        self.ask(LIST_RULES, &[], |body| {
            if rules.len() < MAX_RULES {
                rules.push(body.to_vec());
            }
        })?;
        for rule in &rules {
            match self.ask(DEL_RULE, rule, |_| {}) {
                // The kernel drops rules by itself when what they watch is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(rules)
    }

    /// The next records; waits no longer than `longest`, not at all when some are
    /// there already, and until `waker` is awake.
    ///
    /// # Errors
    ///
    /// The system's. "No buffer space" means that the kernel had more to say
    /// than there was room for: records are missing.
    pub fn records(&mut self, longest: Duration, waker: &Waker) -> io::Result<Vec<Record>> {
        let mut records: Vec<Record> = self.kept.drain(..).collect();
        if let Some(error) = self.failed.take_if(|_| records.is_empty()) {
            return Err(error);
        }
        let mut longest = if records.is_empty() { longest } else { Duration::ZERO };
        while records.len() < MAX_RECORDS && self.wait(longest, Some(waker))? {
            match self.receive() {
                Ok(heard) => records.extend(heard.into_iter().filter_map(Heard::into_record)),
                Err(error) if records.is_empty() => return Err(error),
                // Said next time: nothing that came before it is lost.
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            longest = Duration::ZERO;
        }
        Ok(records)
    }

    /// Records that were dropped here since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn set(&mut self, what: u32, value: u32) -> io::Result<()> {
        self.ask(SET, &setting(what, value), |_| {})
    }

    /// Asks, hands every part of the answer over, and returns once the kernel
    /// has acknowledged. Records that come meanwhile are kept.
    fn ask(&mut self, kind: u16, body: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let question = request(kind, sequence, body).ok_or(io::ErrorKind::InvalidInput)?;
        send(&self.socket, &question, SendFlags::empty())?;
        let deadline = Instant::now() + PATIENCE;
        // The kernel writes answers from a thread of its own: they can come after
        // the acknowledgement. A list ends with "done".
        let mut is_acknowledged = false;
        let mut is_answered = ![GET, LIST_RULES].contains(&kind);
        while !(is_acknowledged && is_answered) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            if !self.wait(left, None)? {
                continue;
            }
            let heard = match self.receive() {
                // What was lost is found by its count, and the answer may be there.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    continue;
                }
                heard => heard?,
            };
            for heard in heard {
                match heard {
                    Heard::Verdict(about, code) if about == sequence => {
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(code));
                        }
                        is_acknowledged = true;
                    }
                    Heard::Done(about) if about == sequence => is_answered = true,
                    Heard::Answer(about, answer, body) if about == sequence && answer == kind => {
                        each(&body);
                        is_answered |= kind == GET;
                    }
                    Heard::Record(record) if self.kept.len() < MAX_KEPT => {
                        self.kept.push_back(record);
                    }
                    Heard::Record(_) => self.dropped += 1,
                    // About a question that was given up.
                    Heard::Verdict(..) | Heard::Done(_) | Heard::Answer(..) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether there is something to receive.
    fn wait(&self, longest: Duration, waker: Option<&Waker>) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut watched = vec![PollFd::new(&self.socket, PollFlags::IN)];
        if let Some(waker) = waker {
            watched.push(PollFd::from_borrowed_fd(waker.0.as_fd(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) => Ok(watched.first().is_some_and(|socket| !socket.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// One datagram of the kernel; of nobody else.
    fn receive(&mut self) -> io::Result<Vec<Heard>> {
        let flags = RecvFlags::DONTWAIT;
        let received = recvfrom(&self.socket, self.buffer.as_mut_slice(), flags);
        let (length, _, address) = match received {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        // Another process with enough rights can write to this socket.
        let sender = address.and_then(|address| SocketAddrNetlink::try_from(address).ok());
        if sender.is_some_and(|sender| sender.pid() != 0) {
            return Ok(Vec::new());
        }
        let datagram = self.buffer.get(..length).unwrap_or_default();
        let heard = messages(datagram).into_iter().filter_map(|message| {
            let (sequence, body) = (message.sequence, message.body);
            Some(match message.kind {
                ERROR => Heard::Verdict(sequence, code(body)),
                DONE => Heard::Done(sequence),
                REPLACE => return None,
                kind if kind >= FIRST_RECORD => Heard::Record(Record { kind, text: body.to_vec() }),
                kind => Heard::Answer(sequence, kind, body.to_vec()),
            })
        });
        Ok(heard.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::thread::JoinHandle;

    use super::*;

    /// A kernel that answers each question with the datagrams of one entry.
    fn kernel(answers: Vec<Vec<Vec<u8>>>) -> (Link, JoinHandle<Vec<Vec<u8>>>) {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let kernel = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for datagrams in answers {
                let mut question = vec![0; 4096];
                let (length, _) =
                    rustix::net::recv(&theirs, question.as_mut_slice(), RecvFlags::empty())
                        .unwrap();
                question.truncate(length);
                asked.push(question);
                for datagram in datagrams {
                    send(&theirs, &datagram, SendFlags::empty()).unwrap();
                }
            }
            asked
        });
        (Link::over(ours), kernel)
    }

    fn verdict(sequence: u32, code: i32) -> Vec<u8> {
        request(ERROR, sequence, &(-code).to_ne_bytes()).unwrap()
    }

    #[test]
    fn records_that_come_between_are_kept_for_later() {
        let record = |text: &str| request(1300, 0, text.as_bytes()).unwrap();
        let mut body = vec![0; 40];
        body[12] = 9;
        let (mut link, kernel) = kernel(vec![
            vec![
                record("one"),
                // Of a question nobody waits for any more, and a probe.
                verdict(77, 1),
                request(REPLACE, 0, &[0; 4]).unwrap(),
                verdict(1, 0),
                record("two"),
                request(GET, 1, &body).unwrap(),
            ],
            vec![verdict(2, 17)],
        ]);
        assert_eq!(link.status().unwrap(), Status { pid: 9, ..Status::default() });
        let refused = link.register().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let waker = Waker::new().unwrap();
        let found = link.records(Duration::ZERO, &waker).unwrap();
        let texts: Vec<&[u8]> = found.iter().map(|record| &*record.text).collect();
        assert_eq!(texts, [b"one", b"two"]);
        // The other end is gone by now, or soon.
        assert!(link.records(Duration::from_mins(10), &waker).is_err());
        let asked = kernel.join().unwrap();
        assert_eq!(asked[1], request(SET, 2, &setting(PID, std::process::id())).unwrap());
    }

    #[test]
    fn rules_are_removed_as_they_were_read() {
        let rule = |sequence, body: &[u8]| request(LIST_RULES, sequence, body).unwrap();
        let done = request(DONE, 1, &[0; 4]).unwrap();
        let (mut link, kernel) = kernel(vec![
            vec![rule(1, b"first"), rule(1, b"second"), done, verdict(1, 0)],
            vec![verdict(2, 0)],
            // Gone meanwhile.
            vec![verdict(3, 2)],
            vec![verdict(4, 1)],
        ]);
        assert_eq!(link.remove_rules().unwrap(), [b"first".to_vec(), b"second".to_vec()]);
        let refused = link.add_rule(b"mine").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let asked = kernel.join().unwrap();
        assert_eq!(asked[1], request(DEL_RULE, 2, b"first").unwrap());
        assert_eq!(asked[3], request(ADD_RULE, 4, b"mine").unwrap());
    }

    #[test]
    fn a_wait_ends_when_it_is_woken_and_when_the_other_end_is_gone() {
        let (mut link, kernel) = kernel(Vec::new());
        let waker = Waker::new().unwrap();
        waker.wake();
        assert_eq!(link.records(Duration::from_mins(10), &waker).unwrap(), []);
        kernel.join().unwrap();
        assert!(link.records(Duration::from_mins(10), &waker).is_err());
    }

    #[test]
    fn this_kernel_answers_or_says_why_not() {
        // Only asks: nothing is changed on this machine.
        match Link::open().and_then(|mut link| link.status()) {
            Ok(status) => assert_ne!(status.pid, std::process::id()),
            Err(error) => {
                println!("skipped: auditing cannot be asked: {error}");
                assert!(error.raw_os_error().is_some(), "{error:?}");
            }
        }
    }
}
