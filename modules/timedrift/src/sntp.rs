//! The packets of SNTP (RFC 4330).
//!
//! Times are 64 bits: seconds since 1900 and a binary fraction. The seconds
//! overflow in 2036; differences, computed modulo 2^64, do not care.

use std::time::Duration;

use mig_types::Timestamp;

/// Seconds from 1900 to 1970.
const TO_UNIX: i64 = 2_208_988_800;
/// Length of a packet without extensions.
const LENGTH: usize = 48;
/// Version 3, client.
const CLIENT: u8 = 0x1b;
const MODE_SERVER: u8 = 4;
/// The leap indicator of a server that does not know the time itself.
const UNSYNCHRONISED: u8 = 3;

/// Why an answer is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("answer is shorter than {LENGTH} bytes")]
    Short,
    #[error("answer is of mode {0}, not of a server")]
    Mode(u8),
    #[error("server is not synchronised")]
    Unsynchronised,
    #[error("answer belongs to another request")]
    Foreign,
    #[error("answer carries no time")]
    NoTime,
}

/// The server's side of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// When the request arrived.
    pub received: u64,
    /// When the answer left.
    pub transmitted: u64,
}

/// A time as packets carry it.
pub fn from_timestamp(time: Timestamp) -> u64 {
    let fraction = (u64::from(time.datetime().timestamp_subsec_nanos()) << 32) / 1_000_000_000;
    // The era is left out on purpose.
    (time.unix().wrapping_add(TO_UNIX).cast_unsigned() << 32) | fraction.min(u64::from(u32::MAX))
}

/// The question, sent at `sent`, which the answer has to repeat.
pub fn request(sent: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = CLIENT;
    packet[40..].copy_from_slice(&sent.to_be_bytes());
    packet
}

/// Reads an answer to the question sent at `sent`.
///
/// # Errors
///
/// [`ReplyError`] on what cannot be used. Never panics: the bytes come from the
/// network.
pub fn decode(packet: &[u8], sent: u64) -> Result<Reply, ReplyError> {
    let packet: &[u8; LENGTH] = packet.first_chunk().ok_or(ReplyError::Short)?;
    let (mode, leap, stratum) = (packet[0] & 7, packet[0] >> 6, packet[1]);
    if mode != MODE_SERVER {
        return Err(ReplyError::Mode(mode));
    }
    if time(packet, 24) != sent {
        return Err(ReplyError::Foreign);
    }
    // Stratum 0 refuses service, 16 and above have no source.
    if leap == UNSYNCHRONISED || !(1..=15).contains(&stratum) {
        return Err(ReplyError::Unsynchronised);
    }
    let (received, transmitted) = (time(packet, 32), time(packet, 40));
    if transmitted >> 32 == 0 || transmitted & u64::from(u32::MAX) == 0 {
        return Err(ReplyError::NoTime);
    }
    Ok(Reply { received, transmitted })
}

/// The time at a place in a packet.
fn time(packet: &[u8; LENGTH], place: usize) -> u64 {
    packet.iter().skip(place).take(8).fold(0, |all, byte| (all << 8) | u64::from(*byte))
}

impl Reply {
    /// Local time minus the server's in nanoseconds, when the answer to what
    /// was sent at `sent` arrives after `latency`. Up to 68 years either way.
    pub fn drift_nanos(&self, sent: u64, latency: Duration) -> i64 {
        let latency = fixed(latency);
        // A server cannot have worked longer than we waited.
        let worked = self.transmitted.wrapping_sub(self.received);
        let worked = if worked <= latency { worked } else { 0 };
        let server = self.transmitted.wrapping_add((latency - worked) / 2);
        let drift = sent.wrapping_add(latency).wrapping_sub(server).cast_signed();
        let nanos = (i128::from(drift) * 1_000_000_000) >> 32;
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

/// A duration in the unit of packets.
fn fixed(duration: Duration) -> u64 {
    (u64::from(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)) << 32)
        | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> u64 {
        from_timestamp(Timestamp::parse(text).unwrap())
    }

    fn answer(sent: u64, transmitted: u64) -> [u8; LENGTH] {
        let mut packet = request(transmitted);
        (packet[0], packet[1]) = (0x1c, 1);
        packet[24..32].copy_from_slice(&sent.to_be_bytes());
        packet[32..40].copy_from_slice(&transmitted.to_be_bytes());
        packet
    }

    #[test]
    fn refuses_what_is_no_usable_answer() {
        let good = answer(7, 0x0000_0001_0000_0001);
        assert!(decode(&good, 7).is_ok());
        assert_eq!(decode(&good[..47], 7), Err(ReplyError::Short));
        assert_eq!(decode(&[], 7), Err(ReplyError::Short));
        assert_eq!(decode(&good, 8), Err(ReplyError::Foreign));
        for (place, value, error) in [
            (0, 0x1b, ReplyError::Mode(3)),
            (0, 0xdc, ReplyError::Unsynchronised),
            (1, 0, ReplyError::Unsynchronised),
            (1, 16, ReplyError::Unsynchronised),
            (43, 0, ReplyError::NoTime),
            (47, 0, ReplyError::NoTime),
        ] {
            let mut bad = good;
            bad[place] = value;
            assert_eq!(decode(&bad, 7), Err(error), "byte {place} = {value}");
        }
    }

    #[test]
    fn a_slow_path_is_no_drift() {
        let sent = at("2026-01-01T00:00:00Z");
        let way = |millis| fixed(Duration::from_millis(millis));
        // 20 ms there, 10 ms of work, 20 ms back; both clocks are right.
        let reply = Reply { received: sent + way(20), transmitted: sent + way(30) };
        assert!(reply.drift_nanos(sent, Duration::from_millis(50)).abs() < 1_000);
        // A nonsensical arrival does not matter.
        let reply = Reply { received: 0, transmitted: sent + way(20) };
        assert!(reply.drift_nanos(sent, Duration::from_millis(40)).abs() < 1_000);
    }

    #[test]
    fn the_end_of_an_era_is_no_drift() {
        for (local, server, seconds) in [
            ("2036-02-07T06:28:15.5Z", "2036-02-07T06:28:17.5Z", -2),
            ("2036-02-07T06:28:17.5Z", "2036-02-07T06:28:15.5Z", 2),
            ("2040-06-01T00:00:00.25Z", "2040-06-01T00:00:10.25Z", -10),
            ("1970-01-01T00:00:00.5Z", "2026-01-01T00:00:00.5Z", -1_767_225_600),
        ] {
            let reply = Reply { received: at(server), transmitted: at(server) };
            let drift = reply.drift_nanos(at(local), Duration::ZERO);
            assert_eq!(drift, seconds * 1_000_000_000, "{local} {server}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            sent: u64,
            nanos: u64,
        ) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(24..32) {
                place.copy_from_slice(&sent.to_be_bytes());
            }
            if let Ok(reply) = decode(&bytes, sent) {
                let drift = reply.drift_nanos(sent, Duration::from_nanos(nanos));
                prop_assert!(drift.unsigned_abs() <= 1_u64 << 61);
            }
        }
    }
}
