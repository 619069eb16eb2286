//! What `-vv` shows of requests and answers: bounded, and without what opens a
//! door.

use std::fmt::Write as _;
use std::sync::Arc;

use tracing::debug;

/// Most bytes shown of one body.
const MOST: usize = 16 * 1024;

/// Longest secret that is looked for as it is.
const LONGEST: usize = 4096;

/// Members whose values nobody should read over a shoulder, in lower case.
const SECRETS: [&str; 6] = ["apikey", "loaderkey", "key", "passphrase", "password", "x-migapikey"];

/// In the place of a secret.
const MASK: &str = "***";

/// Tells of bodies, if somebody wants to hear it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Teller {
    /// None tells nothing. Texts that are never shown, wherever they stand.
    secrets: Option<Arc<Vec<String>>>,
}

impl Teller {
    /// One that tells, and never those texts.
    pub(crate) fn new(secrets: Vec<String>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
        Self { secrets: Some(Arc::new(secrets)) }
    }

    /// A header of a request by which it says who sent it.
    pub(crate) fn credential(&self, name: &str, token: Option<&str>) {
        if self.secrets.is_some() {
            debug!("> {name}: {}", token.map_or(MASK.to_owned(), reduced));
        }
    }

    pub(crate) fn form(&self, fields: &[(&str, &str)]) {
        let Some(secrets) = &self.secrets else { return };
        for (name, value) in fields {
            let is_secret = SECRETS.contains(&name.to_lowercase().as_str());
            let value =
                if is_secret { MASK.to_owned() } else { shown(value.as_bytes(), 0, secrets) };
            debug!("> {name}={value}");
        }
    }

    /// A body that is there as a whole.
    pub(crate) fn answer(&self, body: &[u8]) {
        let mut telling = self.begin();
        telling.push(body);
    }

    /// A body that comes in pieces; told once there is enough, or no more.
    pub(crate) fn begin(&self) -> Telling {
        Telling { teller: self.clone(), held: Vec::new(), length: 0 }
    }
}

/// The beginning of a body.
pub(crate) struct Telling {
    teller: Teller,
    held: Vec<u8>,
    length: usize,
}

impl Telling {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if self.teller.secrets.is_some() {
            let room = (MOST + LONGEST).saturating_sub(self.held.len()).min(piece.len());
            self.held.extend_from_slice(piece.get(..room).unwrap_or_default());
            self.length += piece.len();
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(secrets) = &self.teller.secrets
            && self.length > 0
        {
            debug!("< {}", shown(&self.held, self.length - self.held.len(), secrets));
        }
    }
}

/// Version, time and number of a token, without its signature.
fn reduced(token: &str) -> String {
    let parts: Vec<&str> = token.splitn(4, ';').take(3).collect();
    format!("{};{MASK}", parts.join(";"))
}

/// The beginning of a body, of which `missing` more bytes are not here.
fn shown(body: &[u8], missing: usize, secrets: &[String]) -> String {
    let window = body.get(..body.len().min(MOST + LONGEST)).unwrap_or(body);
    let is_cut = missing > 0 || window.len() < body.len();
    let mut text = String::from_utf8_lossy(window).into_owned();
    for secret in secrets {
        text = text.replace(secret, MASK);
    }
    // A secret that the end of the window cuts is not recognised: it goes.
    let keep =
        if is_cut { text.len().saturating_sub(LONGEST).min(MOST) } else { text.len().min(MOST) };
    let keep = (0..=keep).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let more = text.len() - keep + (body.len() - window.len()) + missing;
    text.truncate(keep);
    let mut text = masked(&text);
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "… ({more} bytes more)");
    }
    text
}

/// JSON, whole or only its beginning, without the values of [`SECRETS`]; other
/// texts as they are.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut key, mut names_secret) = (text, String::new(), false);
    while let Some((before, inside)) = rest.split_once('"') {
        out.push_str(before);
        let end = end_of_string(inside);
        let content = inside.get(..end).unwrap_or(inside);
        let after = inside.get(end..).unwrap_or_default();
        rest = after.strip_prefix('"').unwrap_or_default();
        let lower = content.to_lowercase();
        let is_key = rest.trim_start().starts_with(':');
        let is_secret =
            !is_key && (SECRETS.contains(&key.as_str()) || (key == "value" && names_secret));
        out.push('"');
        out.push_str(if is_secret { MASK } else { content });
        out.push_str(after.get(..1).unwrap_or_default());
        if is_key {
            key = lower;
        } else {
            if key == "name" {
                // As Collection+JSON writes it: {"name":"apikey","value":"…"}.
                names_secret = SECRETS.contains(&lower.as_str());
            }
            key.clear();
        }
    }
    out.push_str(rest);
    out
}

/// Where the string ends that begins here: its quote, or the end of the text.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_of_secrets_are_never_shown() {
        for (text, expected) in [
            (r#"{"apikey":"hunter2","id":7}"#, r#"{"apikey":"***","id":7}"#),
            (r#"{"APIKey" : "hun\"ter2" }"#, r#"{"APIKey" : "***" }"#),
            (r#"{"name":"apikey","value":"hunter2"}"#, r#"{"name":"apikey","value":"***"}"#),
            (
                r#"{"name":"agent","value":"web1"},{"name":"loaderkey","value":"hunter2"}"#,
                r#"{"name":"agent","value":"web1"},{"name":"loaderkey","value":"***"}"#,
            ),
            (r#"{"loaderkey":"hunt"#, r#"{"loaderkey":"***"#),
            (r#"{"a":"key","b":"c"}"#, r#"{"a":"key","b":"c"}"#),
            ("404 page not found", "404 page not found"),
            ("", ""),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
        let token = "1;2026-06-01T12:00:00Z;42;c2lnbmF0dXJl;more";
        assert_eq!(reduced(token), "1;2026-06-01T12:00:00Z;42;***");
        assert_eq!(reduced("x"), "x;***");
    }

    #[test]
    fn a_long_body_is_told_by_its_beginning() {
        let long = vec![b'x'; 10 * MOST];
        let text = shown(&long, 5, &[]);
        assert!(text.len() < MOST + 64 && text.ends_with(" bytes more)"), "{}", text.len());
        let more = 10 * MOST + 5 - MOST;
        assert!(text.ends_with(&format!("… ({more} bytes more)")), "{}", &text[text.len() - 40..]);
        assert_eq!(shown(b"short", 0, &[]), "short");
        let umlauts = "ä".repeat(MOST);
        assert!(shown(umlauts.as_bytes(), 0, &[]).starts_with("ää"));
    }

    proptest! {
        #[test]
        fn a_secret_is_not_shown_wherever_it_stands(
            before in 0_usize..(MOST + 2 * LONGEST),
            times in 1_usize..5,
            after in 0_usize..(2 * LONGEST),
        ) {
            let secret = "QRSTUVWXYZ".repeat(3);
            let body = "-".repeat(before) + &secret.repeat(times) + &"-".repeat(after);
            let text = shown(body.as_bytes(), 0, std::slice::from_ref(&secret));
            prop_assert!(!text.contains(['Q', 'R', 'S', 'T', 'U']), "{text}");
        }

        #[test]
        fn any_bytes_are_survived(body in any::<Vec<u8>>(), missing in 0_usize..9) {
            let text = shown(&body, missing, &["x".to_owned()]);
            prop_assert!(!text.contains('x'));
            masked(&String::from_utf8_lossy(&body));
        }
    }
}
