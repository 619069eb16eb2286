//! The application on the card: what it stores, and what it answers to whom.

use std::collections::BTreeMap;

use super::key::{Key, RSA_2048};
use super::tlv;

/// Of every `OpenPGP` card.
const APPLICATION: [u8; 6] = [0xd2, 0x76, 0x00, 0x01, 0x24, 0x01];
/// Version 3.4, a maker for tests, a serial number.
const SERIAL: [u8; 10] = [0x03, 0x04, 0xff, 0xff, 0x4d, 0x49, 0x47, 0x01, 0x00, 0x00];

/// In the card's historical bytes: chains of commands, and lengths beyond a byte.
const CAPABILITIES: u8 = 0x80 | 0x40;
const HISTORICAL: [u8; 10] = [0x00, 0x31, 0xc5, 0x73, 0xc0, 0x01, CAPABILITIES, 0x05, 0x90, 0x00];
/// Imports keys, lets the signature PIN be asked for once only, changes
/// attributes; no certificates and no challenges.
const EXTENDED: [u8; 10] = [0x20 | 0x10 | 0x04, 0, 0, 0, 0, 0, 0, 255, 0, 0];

/// Longest command and answer, in bytes.
const LONGEST: u16 = 2048;
/// Longest PIN.
const LONGEST_PIN: u8 = 32;

/// How the card says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal(u16);

impl Refusal {
    const WRONG_LENGTH: Self = Self(0x6700);
    const NOT_ALLOWED: Self = Self(0x6982);
    const BLOCKED: Self = Self(0x6983);
    const NO_CONDITION: Self = Self(0x6985);
    const BAD_DATA: Self = Self(0x6a80);
    const NO_FILE: Self = Self(0x6a82);
    const NO_OBJECT: Self = Self(0x6a88);
    const NO_COMMAND: Self = Self(0x6d00);

    const fn wrong_pin(tries: u8) -> Self {
        Self(0x63c0 | tries as u16)
    }
}

/// Which PIN, by its number in commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Signs = 0x81,
    Owns = 0x82,
    Administers = 0x83,
}

#[derive(Debug)]
struct Pin {
    digits: Vec<u8>,
    tries: u8,
}

impl Pin {
    const TRIES: u8 = 3;

    fn new(digits: &str) -> Self {
        Self { digits: digits.as_bytes().to_vec(), tries: Self::TRIES }
    }

    fn verify(&mut self, digits: &[u8]) -> Result<(), Refusal> {
        if self.tries == 0 {
            return Err(Refusal::BLOCKED);
        }
        if digits != self.digits {
            self.tries -= 1;
            return Err(Refusal::wrong_pin(self.tries));
        }
        self.tries = Self::TRIES;
        Ok(())
    }
}

/// A card with the `OpenPGP` application and, as from the shop, no keys.
pub struct Card {
    user: Pin,
    admin: Pin,
    keys: BTreeMap<u8, Key>,
    objects: BTreeMap<u16, Vec<u8>>,
    signatures: u32,
    /// From here on: until the power goes.
    is_selected: bool,
    verified: Vec<Who>,
    chain: Vec<u8>,
    rest: Vec<u8>,
}

impl Default for Card {
    fn default() -> Self {
        let attributes = [0xc1, 0xc2, 0xc3].map(|tag| (tag, RSA_2048.to_vec()));
        Self {
            user: Pin::new(Self::PIN),
            admin: Pin::new(Self::ADMIN_PIN),
            keys: BTreeMap::new(),
            // One signature for each time the PIN is entered.
            objects: attributes.into_iter().chain([(0xc4, vec![0])]).collect(),
            signatures: 0,
            is_selected: false,
            verified: Vec::new(),
            chain: Vec::new(),
            rest: Vec::new(),
        }
    }
}

impl Card {
    /// The PINs of a card from the shop.
    pub const PIN: &str = "123456";
    pub const ADMIN_PIN: &str = "12345678";

    /// As `gpg` names it.
    pub fn serial(&self) -> String {
        let number = [&APPLICATION[..], &SERIAL].concat();
        let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
        let digits = number.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        digits.collect::<String>().to_uppercase()
    }

    /// How often a wrong PIN may be entered before the card is blocked.
    pub fn tries(&self) -> u8 {
        self.user.tries
    }

    /// Signatures made with the key that is on the card now.
    pub fn signatures(&self) -> u32 {
        self.signatures
    }

    /// What the reader is told when the card gets power.
    pub(super) fn answer_to_reset() -> Vec<u8> {
        // T=1, lengths up to 254 in a block.
        let mut answer = vec![0xda, 0x18, 0xff, 0x81, 0xb1, 0xfe, 0x75, 0x1f, 0x03];
        answer.extend(HISTORICAL);
        let check = answer.iter().fold(0, |sum, byte| sum ^ byte);
        [&[0x3b], &answer[..], &[check]].concat()
    }

    /// Forgets what it does not keep without power.
    pub(super) fn reset(&mut self) {
        self.is_selected = false;
        self.verified.clear();
        self.chain.clear();
        self.rest.clear();
    }

    /// Obeys a command; the answer ends with two bytes of status.
    pub(super) fn transmit(&mut self, command: &[u8]) -> Vec<u8> {
        let done = Command::parse(command).and_then(|command| {
            let answer = self.dispatch(&command)?;
            Ok((answer, command.expected))
        });
        let (mut answer, expected) = match done {
            Ok(done) => done,
            Err(Refusal(status)) => return status.to_be_bytes().to_vec(),
        };
        self.rest = answer.split_off(expected.min(answer.len()));
        let status = match self.rest.len() {
            0 => [0x90, 0],
            // The host fetches it, a part at a time.
            more => [0x61, u8::try_from(more).unwrap_or(0)],
        };
        answer.extend(status);
        answer
    }

    fn dispatch(&mut self, command: &Command<'_>) -> Result<Vec<u8>, Refusal> {
        if self.chain.len() + command.data.len() > usize::from(LONGEST) {
            self.chain.clear();
            return Err(Refusal::WRONG_LENGTH);
        }
        self.chain.extend(command.data);
        if command.is_continued {
            return Ok(Vec::new());
        }
        let data = std::mem::take(&mut self.chain);
        let rest = std::mem::take(&mut self.rest);
        match (command.instruction, command.parameters) {
            (0xa4, 0x0400 | 0x040c) => return self.select(&data),
            _ if !self.is_selected => return Err(Refusal::NO_FILE),
            (0xc0, 0) => return Ok(rest),
            (0xca, tag) => return self.get(tag),
            (0x20, parameters) => self.verify(parameters, &data)?,
            (0x2c, 0x0281) => self.unblock(&data)?,
            (0xda, tag) => self.put(tag, data)?,
            (0xdb, 0x3fff) => self.import(&data)?,
            (0x47, parameters) => return self.generate(parameters, &data),
            (0x2a, 0x9e9a) => return self.sign(&data),
            (0xa4, _) => return Err(Refusal::NO_FILE),
            _ => return Err(Refusal::NO_COMMAND),
        }
        Ok(Vec::new())
    }

    fn select(&mut self, name: &[u8]) -> Result<Vec<u8>, Refusal> {
        if name.is_empty() || !APPLICATION.starts_with(name) {
            return Err(Refusal::NO_FILE);
        }
        self.is_selected = true;
        self.verified.clear();
        Ok(Vec::new())
    }

    /// GET DATA.
    fn get(&self, tag: u16) -> Result<Vec<u8>, Refusal> {
        // Templates come without their own tag and length.
        match tag {
            0x004f | 0x5f52 | 0x7f66 | 0x00c0 | 0x00c4..=0x00c6 | 0x00cd | 0x0093 => {
                Ok(self.simple(tag))
            }
            0x0065 => Ok(self.template(&[0x5b, 0x5f2d, 0x5f35])),
            0x006e => {
                let tags = [0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xcd];
                let inner = tlv::object(0x73, &self.template(&tags));
                Ok([self.template(&[0x4f, 0x5f52, 0x7f66]), inner].concat())
            }
            0x007a => Ok(self.template(&[0x93])),
            // What the owner has not written yet is there, and empty.
            _ => longest(tag).map(|_| self.simple(tag)).ok_or(Refusal::NO_OBJECT),
        }
    }

    fn template(&self, tags: &[u16]) -> Vec<u8> {
        tags.iter().flat_map(|tag| tlv::object(*tag, &self.simple(*tag))).collect()
    }

    fn simple(&self, tag: u16) -> Vec<u8> {
        let stored = |tag| self.objects.get(&tag).cloned();
        // Of the keys for signing, decrypting and logging in.
        let three = |tags: [u16; 3], length| -> Vec<u8> {
            tags.into_iter().flat_map(|tag| stored(tag).unwrap_or(vec![0; length])).collect()
        };
        match tag {
            0x4f => [&APPLICATION[..], &SERIAL].concat(),
            0x5f52 => HISTORICAL.to_vec(),
            0x7f66 => tlv::object(2, &LONGEST.to_be_bytes()).repeat(2),
            0xc0 => EXTENDED.to_vec(),
            0xc4 => {
                let lengths = [LONGEST_PIN; 3];
                let tries = [self.user.tries, 0, self.admin.tries];
                [stored(0xc4).unwrap_or_default(), lengths.to_vec(), tries.to_vec()].concat()
            }
            0xc5 => three([0xc7, 0xc8, 0xc9], 20),
            0xc6 => three([0xca, 0xcb, 0xcc], 20),
            0xcd => three([0xce, 0xcf, 0xd0], 4),
            0x93 => self.signatures.to_be_bytes().into_iter().skip(1).collect(),
            _ => stored(tag).unwrap_or_default(),
        }
    }

    /// PUT DATA.
    fn put(&mut self, tag: u16, data: Vec<u8>) -> Result<(), Refusal> {
        let longest = longest(tag).ok_or(Refusal::NO_OBJECT)?;
        self.require(Who::Administers)?;
        if data.len() > longest {
            return Err(Refusal::WRONG_LENGTH);
        }
        self.objects.insert(tag, data);
        Ok(())
    }

    /// VERIFY; without a PIN it tells whether one is needed.
    fn verify(&mut self, parameters: u16, digits: &[u8]) -> Result<(), Refusal> {
        let who = match parameters {
            0x81 => Who::Signs,
            0x82 => Who::Owns,
            0x83 => Who::Administers,
            _ => return Err(Refusal::NO_OBJECT),
        };
        let is_verified = self.verified.contains(&who);
        let pin = if who == Who::Administers { &mut self.admin } else { &mut self.user };
        if digits.is_empty() {
            return if is_verified { Ok(()) } else { Err(Refusal::wrong_pin(pin.tries)) };
        }
        self.verified.retain(|other| *other != who);
        pin.verify(digits)?;
        self.verified.push(who);
        Ok(())
    }

    /// RESET RETRY COUNTER by the administrator, who gives a new PIN.
    fn unblock(&mut self, digits: &[u8]) -> Result<(), Refusal> {
        self.require(Who::Administers)?;
        if !(6..=usize::from(LONGEST_PIN)).contains(&digits.len()) {
            return Err(Refusal::WRONG_LENGTH);
        }
        self.user = Pin { digits: digits.to_vec(), tries: Pin::TRIES };
        Ok(())
    }

    fn require(&self, who: Who) -> Result<(), Refusal> {
        if self.verified.contains(&who) { Ok(()) } else { Err(Refusal::NOT_ALLOWED) }
    }

    /// PUT DATA with a key.
    fn import(&mut self, mut data: &[u8]) -> Result<(), Refusal> {
        self.require(Who::Administers)?;
        let (tag, mut list) = tlv::next(&mut data).ok_or(Refusal::BAD_DATA)?;
        let (slot, _) = tlv::next(&mut list).ok_or(Refusal::BAD_DATA)?;
        let template = tlv::next(&mut list).ok_or(Refusal::BAD_DATA)?;
        let parts = tlv::next(&mut list).ok_or(Refusal::BAD_DATA)?;
        let ((0x4d, 0x7f48), 0x5f48) = ((tag, template.0), parts.0) else {
            return Err(Refusal::BAD_DATA);
        };
        let key = Key::import(self.attributes(slot)?, template.1, parts.1);
        self.store(slot, key.ok_or(Refusal::BAD_DATA)?)
    }

    /// GENERATE ASYMMETRIC KEY PAIR, or only read its public half.
    fn generate(&mut self, parameters: u16, mut data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (slot, _) = tlv::next(&mut data).ok_or(Refusal::BAD_DATA)?;
        match parameters {
            0x8000 => {
                self.require(Who::Administers)?;
                let key = Key::generate(self.attributes(slot)?).ok_or(Refusal::BAD_DATA)?;
                self.store(slot, key)?;
            }
            0x8100 => {}
            _ => return Err(Refusal::NO_OBJECT),
        }
        let key = u8::try_from(slot).ok().and_then(|slot| self.keys.get(&slot));
        key.map(Key::public).ok_or(Refusal::NO_OBJECT)
    }

    fn attributes(&self, slot: u16) -> Result<&[u8], Refusal> {
        let tag = match slot {
            0xb6 => 0xc1,
            0xb8 => 0xc2,
            0xa4 => 0xc3,
            _ => return Err(Refusal::BAD_DATA),
        };
        self.objects.get(&tag).map(Vec::as_slice).ok_or(Refusal::BAD_DATA)
    }

    fn store(&mut self, slot: u16, key: Key) -> Result<(), Refusal> {
        let slot = u8::try_from(slot).map_err(|_| Refusal::BAD_DATA)?;
        self.keys.insert(slot, key);
        if slot == SIGNING {
            self.signatures = 0;
        }
        Ok(())
    }

    /// PERFORM SECURITY OPERATION: COMPUTE DIGITAL SIGNATURE.
    fn sign(&mut self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let key = self.keys.get(&SIGNING).ok_or(Refusal::NO_OBJECT)?;
        self.require(Who::Signs)?;
        let signature = key.sign(data).ok_or(Refusal::NO_CONDITION)?;
        self.signatures += 1;
        if self.objects.get(&0xc4).is_none_or(|often| often == &[0]) {
            self.verified.retain(|who| *who != Who::Signs);
        }
        Ok(signature)
    }
}

/// How long an object may be that the owner writes.
fn longest(tag: u16) -> Option<usize> {
    Some(match tag {
        // Name, login, language, sex, address of the public key.
        0x5b => 39,
        0x5e | 0x5f50 => 254,
        0x5f2d => 8,
        // The other one: whether a PIN is good for more than one signature.
        0x5f35 | 0xc4 => 1,
        // Attributes, fingerprints of keys and of who certified them, times.
        0xc1..=0xc3 => 12,
        0xc7..=0xcc => 20,
        0xce..=0xd0 => 4,
        _ => return None,
    })
}

/// The signing key, in commands.
const SIGNING: u8 = 0xb6;

/// A command as it comes from the reader.
struct Command<'a> {
    instruction: u8,
    parameters: u16,
    data: &'a [u8],
    /// How long the answer may be.
    expected: usize,
    /// The rest of its data comes in another one.
    is_continued: bool,
}

impl<'a> Command<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let (&[class, instruction, one, two], body) =
            bytes.split_first_chunk().ok_or(Refusal::WRONG_LENGTH)?;
        if class & !0x10 != 0 {
            return Err(Refusal(0x6e00));
        }
        let (data, expected) = split(body).ok_or(Refusal::WRONG_LENGTH)?;
        Ok(Self {
            instruction,
            parameters: u16::from_be_bytes([one, two]),
            data,
            expected,
            is_continued: class & 0x10 != 0,
        })
    }
}

/// Data, and the length that the answer may have: each length is one byte, or,
/// after a zero, two.
fn split(body: &[u8]) -> Option<(&[u8], usize)> {
    let length = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
    let short = |byte: u8| if byte == 0 { 256 } else { usize::from(byte) };
    let long = |high, low| Some(length(high, low)).filter(|length| *length > 0).unwrap_or(0x1_0000);
    match *body {
        [] => Some((&[], 256)),
        [expected] => Some((&[], short(expected))),
        [0, high, low] => Some((&[], long(high, low))),
        [0, high, low, ref rest @ ..] => {
            let (data, expected) = rest.split_at_checked(length(high, low))?;
            match *expected {
                [] => Some((data, 256)),
                [high, low] => Some((data, long(high, low))),
                _ => None,
            }
        }
        [count, ref rest @ ..] => {
            let (data, expected) = rest.split_at_checked(usize::from(count))?;
            match *expected {
                [] => Some((data, 256)),
                [expected] => Some((data, short(expected))),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::ED25519;
    use super::*;

    fn ok(card: &mut Card, command: &[u8]) -> Vec<u8> {
        let mut answer = card.transmit(command);
        assert!(answer.ends_with(&[0x90, 0]), "{command:x?}: {answer:x?}");
        answer.truncate(answer.len() - 2);
        answer
    }

    fn pin(number: u8, digits: &str) -> Vec<u8> {
        let length = u8::try_from(digits.len()).unwrap();
        [&[0, 0x20, 0, number, length], digits.as_bytes()].concat()
    }

    fn selected() -> Card {
        let mut card = Card::default();
        ok(&mut card, &[&[0, 0xa4, 4, 0, 6], &APPLICATION[..]].concat());
        card
    }

    #[test]
    fn nonsense_is_refused() {
        let mut card = Card::default();
        for (command, status) in [
            (&[][..], [0x67, 0]),
            (&[0, 0xca, 0], [0x67, 0]),
            (&[0, 0xca, 0, 0x6e, 5, 1], [0x67, 0]),
            (&[0x80, 0xca, 0, 0x6e], [0x6e, 0]),
            (&[0, 0xca, 0, 0x6e, 0], [0x6a, 0x82]),
            (&[0, 0xa4, 4, 0, 1, 0xa0], [0x6a, 0x82]),
        ] {
            assert_eq!(card.transmit(command), status, "{command:x?}");
        }
        let mut card = selected();
        for (command, status) in [
            (&[0, 0x84, 0, 0, 8][..], [0x6d, 0]),
            (&[0, 0xca, 0, 0x01], [0x6a, 0x88]),
            (&[0, 0xda, 0, 0x5b, 1, b'x'], [0x69, 0x82]),
            (&[0, 0xdb, 0x3f, 0xff, 1, 0], [0x69, 0x82]),
            (&[0, 0x47, 0x80, 0, 2, 0xb6, 0], [0x69, 0x82]),
            (&[0, 0x47, 0x81, 0, 2, 0xb6, 0], [0x6a, 0x88]),
            (&[0, 0x2a, 0x9e, 0x9a, 1, 0], [0x6a, 0x88]),
            (&[0, 0x2c, 2, 0x81, 6, 1, 2, 3, 4, 5, 6], [0x69, 0x82]),
        ] {
            assert_eq!(card.transmit(command), status, "{command:x?}");
        }
    }

    #[test]
    fn three_wrong_pins_block_it_until_the_administrator_comes() {
        let mut card = selected();
        for left in [2, 1, 0] {
            assert_eq!(card.transmit(&pin(0x81, "654321")), [0x63, 0xc0 | left]);
            assert_eq!(card.tries(), left);
        }
        assert_eq!(card.transmit(&pin(0x81, Card::PIN)), [0x69, 0x83]);
        ok(&mut card, &pin(0x83, Card::ADMIN_PIN));
        ok(&mut card, &[&[0, 0x2c, 2, 0x81, 6], b"111111".as_slice()].concat());
        ok(&mut card, &pin(0x81, "111111"));
    }

    #[test]
    fn one_pin_is_good_for_one_signature_unless_the_owner_wants_otherwise() {
        let mut card = selected();
        ok(&mut card, &pin(0x83, Card::ADMIN_PIN));
        ok(&mut card, &[&[0, 0xda, 0, 0xc1, 10], &ED25519[..]].concat());
        ok(&mut card, &[0, 0x47, 0x80, 0, 2, 0xb6, 0, 0]);
        let sign = [&[0, 0x2a, 0x9e, 0x9a, 32], &[7; 32][..], &[0]].concat();
        assert_eq!(card.transmit(&sign), [0x69, 0x82]);
        ok(&mut card, &pin(0x81, Card::PIN));
        assert_eq!(ok(&mut card, &sign).len(), 64);
        assert_eq!(card.transmit(&sign), [0x69, 0x82]);
        ok(&mut card, &[0, 0xda, 0, 0xc4, 1, 1]);
        ok(&mut card, &pin(0x81, Card::PIN));
        ok(&mut card, &sign);
        ok(&mut card, &sign);
        assert_eq!(ok(&mut card, &[0, 0xca, 0, 0x93, 0]), [0, 0, 3]);
        card.reset();
        assert_eq!(card.transmit(&sign), [0x6a, 0x82]);
    }

    #[test]
    fn what_is_too_long_goes_in_parts() {
        let mut card = selected();
        // All about the application, ten bytes at first.
        let mut answer = card.transmit(&[0, 0xca, 0, 0x6e, 10]);
        assert_eq!((answer.len(), answer[10]), (12, 0x61));
        answer.truncate(10);
        answer.extend(ok(&mut card, &[0, 0xc0, 0, 0, 0]));
        assert_eq!(answer, ok(&mut card, &[0, 0xca, 0, 0x6e, 0, 0, 0]));
        // A chain of two commands.
        ok(&mut card, &pin(0x83, Card::ADMIN_PIN));
        ok(&mut card, &[0x10, 0xda, 0, 0x5b, 3, b'A', b'd', b'a']);
        ok(&mut card, &[0, 0xda, 0, 0x5b, 2, b' ', b'L']);
        assert_eq!(ok(&mut card, &[0, 0xca, 0, 0x5b, 0]), b"Ada L");
    }
}
