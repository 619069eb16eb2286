//! Lines of public keys and of `authorized_keys`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::blob;

/// How key types begin.
const TYPES: [&[u8]; 3] = [b"ssh-", b"ecdsa-sha2-", b"sk-"];

/// Options of `authorized_keys`, in lower case. **Source** `sshd(8)`.
const OPTIONS: [&[u8]; 24] = [
    b"agent-forwarding",
    b"cert-authority",
    b"command",
    b"environment",
    b"expiry-time",
    b"from",
    b"no-agent-forwarding",
    b"no-port-forwarding",
    b"no-pty",
    b"no-touch-required",
    b"no-user-rc",
    b"no-x11-forwarding",
    b"permitlisten",
    b"permitopen",
    b"port-forwarding",
    b"principals",
    b"pty",
    b"restrict",
    b"tunnel",
    b"user-rc",
    b"valid-after",
    b"valid-before",
    b"verify-required",
    b"x11-forwarding",
];

/// Whether a file can hold keys at all: a line of it begins like a private key,
/// or like a public one with or without options before it.
pub(super) fn is_candidate(content: &[u8]) -> bool {
    // Every public key begins with three zeros in base64.
    if memmem::find(content, b"PRIVATE KEY").is_none() && memmem::find(content, b"AAAA").is_none() {
        return false;
    }
    content.split(|byte| *byte == b'\n').any(|line| {
        let is_type = |text: &[u8]| TYPES.iter().any(|start| text.starts_with(start));
        line.starts_with(b"-----BEGIN ")
            || is_type(line)
            || options(line).is_some_and(|(options, rest)| are_options(options) && is_type(rest))
    })
}

/// The first word of a line, in which quoted blanks count as letters, and what
/// follows the blanks after it.
fn options(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let end = line.iter().position(|byte| {
        match byte {
            b' ' | b'\t' if !is_quoted => return true,
            b'"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = *byte == b'\\' && !is_escaped;
        false
    })?;
    let (options, rest) = line.split_at_checked(end)?;
    let rest = rest.trim_ascii_start();
    (!rest.is_empty()).then_some((options, rest))
}

/// Whether a word begins with the name of an option.
fn are_options(word: &[u8]) -> bool {
    let name = word.split(|byte| matches!(byte, b'=' | b',')).next().unwrap_or_default();
    OPTIONS.contains(&name.to_ascii_lowercase().as_slice())
}

/// Lines that should hold keys: not empty, and no comments.
pub(super) fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// The public key on a line, in its binary form.
///
/// **Shape** `[<options> ]<type> <base64>[ <comment>]`; what the type says is
/// not compared with the key. **Source** `sshd(8)`, the
/// format of `authorized_keys`.
pub(super) fn key(line: &[u8]) -> Option<Vec<u8>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let after_word = |text: &[u8]| {
        let end = text.iter().position(blank)?;
        decode(text.get(end..)?.trim_ascii_start())
    };
    after_word(line).or_else(|| {
        let (_, rest) = options(line)?;
        after_word(rest)
    })
}

/// The key in the first word.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let word = text.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
    if !word.starts_with(b"AAAA") {
        return None;
    }
    let key = STANDARD.decode(word).ok()?;
    blob::is_key(&key).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> String {
        STANDARD.encode(blob::write(&[b"ssh-ed25519", &[7; 32]]))
    }

    #[test]
    fn refuses_lines_without_keys() {
        let key_text = encoded();
        for line in [
            String::new(),
            "ssh-ed25519".into(),
            "ssh-ed25519 ".into(),
            "ssh-ed25519 AAAA".into(),
            key_text.clone(),
            format!("a b c {key_text}"),
            format!("command=\"x ssh-ed25519 {key_text}"),
            format!("ssh-ed25519 {}", &key_text[..20]),
            format!("ssh-ed25519 x{key_text}"),
        ] {
            assert_eq!(key(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn reads_lines_with_and_without_options() {
        let key_text = encoded();
        for line in [
            format!("ssh-ed25519 {key_text}"),
            format!("ssh-ed25519 \t {key_text} me@example.net and more"),
            format!("other-word {key_text}"),
            format!("no-pty ssh-ed25519 {key_text}"),
            format!("command=\"echo \\\"a b\\\"\",no-pty ssh-ed25519 {key_text} c"),
            format!("from=\"10.0.0.0/8\"\tssh-ed25519 {key_text}"),
        ] {
            assert!(key(line.as_bytes()).is_some(), "{line}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_line_makes_a_candidate() {
        let key_text = encoded();
        for (text, is) in [
            (format!("ssh-ed25519 {key_text}"), true),
            (format!("# keys\nssh-rsa {key_text}\n"), true),
            (format!("restrict,command=\"a b\" ssh-ed25519 {key_text}"), true),
            ("-----BEGIN PRIVATE KEY-----".to_owned(), true),
            (format!("my key is ssh-ed25519 {key_text}"), false),
            (format!("host.example.net ssh-ed25519 {key_text}"), false),
            (format!(" ssh-ed25519 {key_text}"), false),
            ("the -----BEGIN RSA PRIVATE KEY----- line".to_owned(), false),
            ("ssh-rsa is a type of keys".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_candidate(text.as_bytes()), is, "{text}");
        }
    }
}
