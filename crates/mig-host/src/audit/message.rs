//! Messages of audit netlink, as bytes. Knows no socket.

use super::Status;

pub const GET: u16 = 1000;
pub const SET: u16 = 1001;
pub const ADD_RULE: u16 = 1011;
pub const DEL_RULE: u16 = 1012;
pub const LIST_RULES: u16 = 1013;
/// An acknowledgement, or a refusal.
pub const ERROR: u16 = 2;
pub const DONE: u16 = 3;
/// The first type that is a record and no answer.
pub const FIRST_RECORD: u16 = 1100;
/// The kernel asks whether the daemon is there: no record.
pub const REPLACE: u16 = 1329;

const HEADER: usize = 16;
/// Request with acknowledgement.
const FLAGS: u16 = 1 | 4;

/// Bits that say which part of a status is meant.
pub const ENABLED: u32 = 1;
pub const PID: u32 = 4;
pub const RATE_LIMIT: u32 = 8;
pub const BACKLOG_LIMIT: u32 = 16;

/// One message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    /// That of the question it answers; 0 for records.
    pub sequence: u32,
    pub body: &'a [u8],
}

/// Cuts a datagram into its messages; stops at what does not fit.
///
/// **Source** the kernel. Never panics.
pub fn messages(datagram: &[u8]) -> Vec<Message<'_>> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let (Some(length), Some(kind), Some(sequence)) =
        (word(rest, 0), half(rest, 4), word(rest, 8))
    {
        // Records give a length that leaves the header out, and come alone.
        if kind >= FIRST_RECORD {
            found.push(Message { kind, sequence, body: rest.get(HEADER..).unwrap_or_default() });
            break;
        }
        let length = length as usize;
        let Some(body) = rest.get(HEADER..length) else { break };
        found.push(Message { kind, sequence, body });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A question to the kernel.
///
/// `None` when the body is larger than a message can be.
pub fn request(kind: u16, sequence: u32, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(HEADER.checked_add(body.len())?).ok()?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&FLAGS.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    // Our own address, which the kernel knows.
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// An `audit_status`, 40 bytes, that sets one part.
pub fn setting(what: u32, value: u32) -> Vec<u8> {
    let words = [
        what,
        if what == ENABLED { value } else { 0 },
        0, // what happens on failure
        if what == PID { value } else { 0 },
        if what == RATE_LIMIT { value } else { 0 },
        if what == BACKLOG_LIMIT { value } else { 0 },
        0, // lost
        0, // backlog
        0, // features
        0, // longest wait
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Reads an `audit_status`; older kernels leave out its end.
pub fn status(body: &[u8]) -> Option<Status> {
    Some(Status {
        enabled: word(body, 4)?,
        pid: word(body, 12)?,
        rate_limit: word(body, 16)?,
        backlog_limit: word(body, 20)?,
        lost: word(body, 24)?,
    })
}

/// The code of an [`ERROR`] message, as positive number of the system; 0 is an
/// acknowledgement.
pub fn code(body: &[u8]) -> i32 {
    word(body, 0).map_or(0, |code| code.cast_signed().saturating_neg())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Linux 6.18 sent when its status was asked for: first the
    /// acknowledgement, then the status.
    const ACKNOWLEDGED: &str =
        "240000000200000105000000597e00000000000010000000e80305000100000000000000";
    const STATUS: &str = "3c000000e80300000500000000000000\
                          00000000000000000100000000000000000000004000000007000000000000007f000000983a0000\
                          00000000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|digits| pair(digits).unwrap()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_kernels_answers_are_read() {
        let datagram = bytes(ACKNOWLEDGED);
        let answer = messages(&datagram)[0];
        assert_eq!((answer.kind, answer.sequence, code(answer.body)), (ERROR, 5, 0));
        let datagram = bytes(STATUS);
        let answer = messages(&datagram)[0];
        assert_eq!((answer.kind, answer.sequence), (GET, 5));
        let expected = Status { backlog_limit: 64, lost: 7, ..Status::default() };
        assert_eq!(status(answer.body), Some(expected));
        assert_eq!(code(&(-13_i32).to_ne_bytes()), 13);
        assert_eq!(code(&i32::MIN.to_ne_bytes()), i32::MAX);
        assert_eq!(code(b"abc"), 0);
    }

    #[test]
    fn a_record_is_the_whole_datagram_whatever_its_length_says() {
        let text = b"audit(1.1:1): a=b";
        let mut datagram = request(1300, 0, text).unwrap();
        datagram[..4].copy_from_slice(&u32::try_from(text.len()).unwrap().to_ne_bytes());
        let found = messages(&datagram);
        assert_eq!(found, [Message { kind: 1300, sequence: 0, body: text }]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn questions_are_what_the_kernel_expects() {
        assert_eq!(request(GET, 1, &[]), Some(bytes("10000000e80305000100000000000000")));
        let set = setting(RATE_LIMIT, 500);
        assert_eq!(set.len(), 40);
        assert_eq!(set[..20], bytes("08000000000000000000000000000000f4010000"));
        for (what, at) in [(ENABLED, 4), (PID, 12), (BACKLOG_LIMIT, 20)] {
            let set = setting(what, 9);
            assert_eq!((set[at], set.iter().filter(|byte| **byte != 0).count()), (9, 2));
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 990..1400_u16) {
            for message in messages(&bytes) {
                let _ = (status(message.body), code(message.body));
            }
            let asked = request(kind, 7, &bytes).unwrap();
            let found = messages(&asked);
            prop_assert_eq!(&found, &[Message { kind, sequence: 7, body: &bytes }]);
            prop_assert_eq!(status(&bytes).is_some(), bytes.len() >= 28);
        }
    }
}
