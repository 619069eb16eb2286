//! The card a key is on, and what its reader says of it.

/// Where the card of the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardState {
    /// In a reader. `tries`: how many wrong PINs it takes before it is blocked,
    /// if it tells.
    Present { tries: Option<u8> },
    /// Another card is in the reader.
    Other { serial: String },
    /// In no reader that `gpg` can use.
    Absent,
    /// `gpg` has no program for cards.
    Unsupported,
}

/// A key's card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its number, as `gpg --card-status` names it: `D276000124…`.
    pub serial: String,
    pub state: CardState,
}

impl CardState {
    /// From what `gpg --with-colons --card-status` wrote and said; `serial` is
    /// the card wanted.
    pub(super) fn read(listing: &str, talk: &str, serial: &str) -> Self {
        let number = listing.lines().filter(|line| line.starts_with("Reader:")).find_map(|line| {
            // Behind the name of the reader, which may hold colons.
            let mut words = line.split(':').skip_while(|word| *word != "AID");
            words.nth(1).filter(|number| !number.is_empty())
        });
        match number {
            Some(number) if number.eq_ignore_ascii_case(serial) => {
                let line = listing.lines().find_map(|line| line.strip_prefix("pinretry:"));
                Self::Present { tries: line.and_then(|line| line.split(':').next()?.parse().ok()) }
            }
            Some(number) => Self::Other { serial: number.to_owned() },
            None if talk.lines().any(|line| line == "[GNUPG:] CARDCTRL 6") => Self::Unsupported,
            None => Self::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIAL: &str = "D276000124010304FFFF4D4947010000";

    #[test]
    fn the_reader_tells_which_card_is_in_it() {
        let present = format!("Reader:A: B 00:AID:{SERIAL}:openpgp-card:\npinretry:2:0:3:\n");
        let silent = format!("Reader:A:AID:{}:openpgp-card:\n", SERIAL.to_lowercase());
        let other =
            "Reader:A:AID:D2760001240103040006000000010000:openpgp-card:\npinretry:3:0:3:\n";
        for (listing, talk, state) in [
            ("", "", CardState::Absent),
            ("AID:::\n", "[GNUPG:] CARDCTRL 4\ngpg: no\n", CardState::Absent),
            ("AID:::\n", "[GNUPG:] CARDCTRL 6\n", CardState::Unsupported),
            ("Reader:A:AID::x:\n", "", CardState::Absent),
            (&present, "", CardState::Present { tries: Some(2) }),
            (&silent, "", CardState::Present { tries: None }),
            (other, "", CardState::Other { serial: "D2760001240103040006000000010000".into() }),
        ] {
            assert_eq!(CardState::read(listing, talk, SERIAL), state, "{listing}");
        }
    }
}
