//! What `gpg --with-colons --list-secret-keys` says of keys.

use mig_types::Fingerprint;

/// What gpg knows about the key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) primary: Fingerprint,
    /// The value of `--local-user`.
    pub(super) user: String,
    /// Number of the card that its secret part is on.
    pub(super) card: Option<String>,
}

/// The primary key and which of its parts signs, from `--with-colons` output.
pub(super) fn read_listing(listing: &str) -> Option<Key> {
    let mut lines = listing.lines().skip_while(|line| !line.starts_with("sec"));
    let secret: Vec<&str> = lines.next()?.split(':').collect();
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("sec")).collect();
    let fingerprint = lines.iter().find(|line| line.starts_with("fpr:"))?.split(':').nth(9)?;
    let primary: Fingerprint = fingerprint.parse().ok()?;
    let token = |fields: &[&str]| fields.get(14).map(|token| (*token).to_owned());
    // `#` says that its secret part is elsewhere.
    let here = token(&secret).is_none_or(|token| token != "#");
    // gpg prefers a signing subkey, which agents may not know: their copies of
    // the public key are as old as their installation.
    let by_primary = may_sign(&secret) && here;
    let user = if by_primary { format!("{primary}!") } else { primary.to_string() };
    let signing = if by_primary {
        token(&secret)
    } else {
        newest_subkey(&lines).and_then(|fields| token(&fields))
    };
    // A card's serial number; `+` is a key on disk.
    let card = signing.filter(|token| !matches!(token.as_str(), "" | "#" | "+"));
    Some(Key { primary, user, card })
}

/// Whether this very key may sign: lower-case letters are its own.
fn may_sign(fields: &[&str]) -> bool {
    fields.get(11).is_some_and(|capabilities| capabilities.contains('s'))
}

/// The subkey that gpg chooses to sign with.
fn newest_subkey<'a>(lines: &[&'a str]) -> Option<Vec<&'a str>> {
    let keys = lines.iter().filter(|line| line.starts_with("ssb:"));
    let usable = |fields: &Vec<&str>| {
        let is_over = fields.get(1).is_some_and(|word| matches!(*word, "r" | "e" | "d" | "i"));
        may_sign(fields) && !is_over && fields.get(14) != Some(&"#")
    };
    let made = |fields: &Vec<&str>| fields.get(5)?.parse::<u64>().ok();
    keys.map(|line| line.split(':').collect()).filter(usable).max_by_key(made)
}

/// Keys of a `--with-colons` listing that are neither revoked nor expired.
pub(super) fn read_keys(listing: &str) -> Vec<(String, String)> {
    let mut keys: Vec<(String, String)> = Vec::new();
    let mut wanted = false;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        match field(0) {
            "sec" => {
                wanted = !matches!(field(1), "r" | "e" | "d" | "i");
                if wanted {
                    keys.push((String::new(), String::new()));
                }
            }
            "ssb" => wanted = false,
            kind @ ("fpr" | "uid") if wanted => {
                let Some((fingerprint, user)) = keys.last_mut() else { continue };
                let place = if kind == "fpr" { fingerprint } else { user };
                // The first one is the primary key's, or the main one.
                if place.is_empty() {
                    field(9).clone_into(place);
                }
            }
            _ => {}
        }
    }
    keys.retain(|(fingerprint, _)| !fingerprint.is_empty());
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "2466BA175C45F967CD20A06B09C0241F854718C7";

    fn listing(capabilities: &str, token: &str) -> String {
        format!(
            "tru::1:1:0:3:1:5\nsec:u:2048:1:09C0241F854718C7:1:::u:::{capabilities}:::{token}:::23::0:\n\
             fpr:::::::::{FINGERPRINT}:\ngrp:::::::::X:\nuid:u::::1::Y::t <t@example.net>:::::::::0:\n\
             ssb:u:2048:1:AAAA:1::::::s:::+:::23:\nfpr:::::::::0000000000000000000000000000000000000000:\n"
        )
    }

    #[test]
    fn the_primary_key_signs_when_it_can() {
        for (capabilities, token, user) in [
            ("scESC", "+", format!("{FINGERPRINT}!")),
            ("scESC", "D2760001240100000006", format!("{FINGERPRINT}!")),
            ("scESC", "#", FINGERPRINT.to_owned()),
            ("cSC", "+", FINGERPRINT.to_owned()),
        ] {
            let key = read_listing(&listing(capabilities, token)).unwrap();
            assert_eq!(key.primary.as_str(), FINGERPRINT);
            assert_eq!(key.user, user, "{capabilities} {token}");
        }
        for text in ["", "sec", "sec:u\nfpr:x", "fpr:::::::::x:"] {
            assert!(read_listing(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn the_card_is_that_of_the_part_which_signs() {
        let sub = |validity: &str, made: u64, capabilities: &str, token: &str| {
            format!("ssb:{validity}:2048:1:AAAA:{made}::::::{capabilities}:::{token}:::23:\n")
        };
        let (on_disk, on_card) = (sub("u", 2, "s", "+"), sub("u", 3, "s", "D1"));
        let over = sub("e", 9, "s", "D2");
        let decrypts = sub("u", 9, "e", "D3");
        for (capabilities, token, more, card) in [
            ("scESC", "D0", &on_disk, Some("D0")),
            ("scESC", "+", &on_card, None),
            // The primary key stays in the safe.
            ("scESC", "#", &on_card, Some("D1")),
            ("cSC", "+", &format!("{on_card}{on_disk}"), Some("D1")),
            ("cSC", "D0", &format!("{on_disk}{over}{decrypts}"), None),
            ("scESC", "#", &format!("{on_card}sec:u\n{}", sub("u", 9, "s", "D4")), Some("D1")),
        ] {
            let text = format!("{}{more}", listing(capabilities, token));
            let key = read_listing(&text).unwrap();
            assert_eq!(key.card.as_deref(), card, "{text}");
        }
    }

    #[test]
    fn keys_that_are_over_are_not_listed() {
        let other = "sec:e:2048:1:09C0241F854718C8:1:::u:::sc:::+:::23::0:\nfpr:::::::::AB:\n\
                     uid:e::::1::Y::old <o@example.net>:::::::::0:\n";
        let text = format!("{}{other}", listing("scESC", "+"));
        let expected = [(FINGERPRINT.to_owned(), "t <t@example.net>".to_owned())];
        assert_eq!(read_keys(&text), expected);
        assert!(read_keys("sec\nuid:u").is_empty());
    }
}
