//! What is wanted, as a program of the kernel's own: it leaves out the rest, which is
//! then neither copied nor read.
//!
//! **Source** `sock_diag(7)`, `linux/inet_diag.h`. An instruction has a code, how far
//! to go on when it holds and how far when it does not; whoever arrives exactly at the
//! end has passed, whoever goes beyond it has not.

use std::net::IpAddr;

use super::{ANY, INET, INET6};
use crate::net::Wanted;

/// The attribute that carries the program.
const PROGRAM: u16 = 1;
/// Most conditions the kernel is troubled with; it tells of everything beyond them.
const MAX_CONDITIONS: usize = 256;
/// Bytes of an instruction without what it compares.
const INSTRUCTION: u16 = 4;
const JUMP: u8 = 1;
const LOCAL: u8 = 7;
const REMOTE: u8 = 8;
const ANY_PORT: i32 = -1;

/// The program as a netlink attribute; empty where everything is to be told of.
pub(super) fn attribute(wanted: &[Wanted]) -> Vec<u8> {
    let program = program(wanted);
    let Ok(length) = u16::try_from(4 + program.len()) else { return Vec::new() };
    if program.is_empty() {
        return program;
    }
    let mut attribute = Vec::with_capacity(4 + program.len());
    attribute.extend_from_slice(&length.to_ne_bytes());
    attribute.extend_from_slice(&PROGRAM.to_ne_bytes());
    attribute.extend(program);
    attribute
}

/// One condition after the other, each but the last followed by a jump to the end
/// that is left out when it does not hold.
fn program(wanted: &[Wanted]) -> Vec<u8> {
    if wanted.len() > MAX_CONDITIONS {
        return Vec::new();
    }
    // Written from the end: a jump has to know what comes after it.
    let mut after = Vec::new();
    for (index, wanted) in wanted.iter().rev().enumerate() {
        let (code, compared) = compared(*wanted);
        let size = INSTRUCTION + u16::from(compared.len);
        let mut all = Vec::with_capacity(after.len() + 40);
        // Both lead beyond the next four bytes: those of the jump, or the end.
        instruction(&mut all, code, size, size + INSTRUCTION);
        all.extend_from_slice(compared.bytes());
        if index > 0 {
            let rest = u16::try_from(after.len()).unwrap_or(u16::MAX);
            instruction(&mut all, JUMP, INSTRUCTION, rest.saturating_add(INSTRUCTION));
        }
        all.append(&mut after);
        after = all;
    }
    after
}

fn instruction(program: &mut Vec<u8>, code: u8, yes: u16, no: u16) {
    // Never more than the 24 bytes of an IPv6 condition and 4.
    program.extend_from_slice(&[code, u8::try_from(yes).unwrap_or(u8::MAX)]);
    program.extend_from_slice(&no.to_ne_bytes());
}

/// Family, length of the prefix, two bytes of nothing, port, address.
struct Compared {
    octets: [u8; 24],
    len: u8,
}

impl Compared {
    fn bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }
}

fn compared(wanted: Wanted) -> (u8, Compared) {
    let mut octets = [0; 24];
    let (code, family, prefix, port, len) = match wanted {
        Wanted::LocalPort(port) => (LOCAL, ANY, 0, i32::from(port), 8),
        Wanted::Remote(IpAddr::V4(ip), prefix) => {
            octets[8..12].copy_from_slice(&ip.octets());
            (REMOTE, INET, prefix.min(32), ANY_PORT, 12)
        }
        Wanted::Remote(IpAddr::V6(ip), prefix) => {
            octets[8..].copy_from_slice(&ip.octets());
            (REMOTE, INET6, prefix.min(128), ANY_PORT, 24)
        }
    };
    octets[..2].copy_from_slice(&[family, prefix]);
    octets[4..8].copy_from_slice(&port.to_ne_bytes());
    (code, Compared { octets, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_condition() -> impl Strategy<Value = Wanted> {
        prop_oneof![
            any::<u16>().prop_map(Wanted::LocalPort),
            (any::<IpAddr>(), any::<u8>()).prop_map(|(ip, prefix)| Wanted::Remote(ip, prefix)),
        ]
    }

    fn step(program: &[u8], at: usize) -> (u8, usize, usize) {
        let no = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
        (program[at], at + usize::from(program[at + 1]), at + usize::from(no))
    }

    proptest! {
        /// Whatever the first condition that holds, the end is reached; when none
        /// does, what lies four bytes beyond it.
        #[test]
        fn one_that_holds_is_enough(
            wanted in proptest::collection::vec(any_condition(), 1..300),
            holds in 0usize..300,
        ) {
            let program = program(&wanted);
            if wanted.len() > MAX_CONDITIONS {
                prop_assert!(attribute(&wanted).is_empty());
                return Ok(());
            }
            prop_assert_eq!(attribute(&wanted).len(), program.len() + 4);
            let (mut at, mut met) = (0, 0);
            while at < program.len() {
                let (code, yes, no) = step(&program, at);
                at = if code == JUMP {
                    no
                } else {
                    met += 1;
                    if met - 1 == holds { yes } else { no }
                };
            }
            let end = program.len() + if holds < wanted.len() { 0 } else { 4 };
            prop_assert_eq!(at, end);
            prop_assert_eq!(met, wanted.len().min(holds + 1));
        }
    }
}
