//! Private keys: only as much of them as gives the public half.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::blob::{self, Fields, write};
use super::der::{self, Reader};

/// A private key in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Private {
    pub(super) encrypted: bool,
    /// The public half in its binary form, where it can be told without
    /// computing it.
    pub(super) public: Option<Vec<u8>>,
}

const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const DSA: &[u8] = b"\x2a\x86\x48\xce\x38\x04\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const ED25519: &[u8] = b"\x2b\x65\x70";

/// Curves by their object identifier.
const CURVES: [(&[u8], &[u8]); 3] = [
    (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"nistp256"),
    (b"\x2b\x81\x04\x00\x22", b"nistp384"),
    (b"\x2b\x81\x04\x00\x23", b"nistp521"),
];

/// The key in the first block of a file, if that is a private key.
pub(super) fn first(content: &[u8]) -> Option<Private> {
    let block = Block::first(content)?;
    if block.is_encrypted && block.label.ends_with(b"PRIVATE KEY") {
        return Some(Private { encrypted: true, public: None });
    }
    let bytes = &block.bytes;
    let plain = |public| Private { encrypted: false, public };
    match block.label {
        b"RSA PRIVATE KEY" => rsa(bytes).map(|public| plain(Some(public))),
        b"DSA PRIVATE KEY" => dsa(bytes).map(|public| plain(Some(public))),
        b"EC PRIVATE KEY" => ec(bytes, None).map(plain),
        b"PRIVATE KEY" => pkcs8(bytes).map(plain),
        b"ENCRYPTED PRIVATE KEY" => {
            // It says at least how it is encrypted.
            der::sequence(bytes)?.take(der::SEQUENCE)?;
            Some(Private { encrypted: true, public: None })
        }
        b"OPENSSH PRIVATE KEY" => openssh(bytes),
        _ => None,
    }
}

/// A block between `BEGIN` and `END` lines.
struct Block<'a> {
    label: &'a [u8],
    is_encrypted: bool,
    bytes: Vec<u8>,
}

impl<'a> Block<'a> {
    /// **Source** RFC 1421 and RFC 7468.
    fn first(content: &'a [u8]) -> Option<Self> {
        const BEGIN: &[u8] = b"-----BEGIN ";
        // At the start of a line only.
        let at = memmem::find_iter(content, BEGIN)
            .find(|at| *at == 0 || content.get(at - 1) == Some(&b'\n'))?;
        let rest = content.get(at + BEGIN.len()..)?;
        let mut lines = rest.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let label = lines.next()?.strip_suffix(b"-----")?;
        let end = [b"-----END ", label, b"-----"].concat();
        let (mut is_encrypted, mut has_end) = (false, false);
        let mut body = Vec::new();
        for line in lines {
            if line == end {
                has_end = true;
                break;
            }
            // Headers have a colon, base64 has none.
            if line.contains(&b':') {
                is_encrypted |= line.starts_with(b"Proc-Type") && line.ends_with(b"ENCRYPTED");
            } else {
                body.extend_from_slice(line);
            }
        }
        let bytes = STANDARD.decode(body).ok()?;
        (has_end && !bytes.is_empty()).then_some(Self { label, is_encrypted, bytes })
    }
}

/// PKCS#1: version, modulus, exponent, and what is secret.
fn rsa(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = der::sequence(bytes)?;
    fields.number()?;
    let modulus = fields.number()?;
    let exponent = fields.number()?;
    // A private key has a private exponent.
    fields.number()?;
    Some(write(&[b"ssh-rsa", exponent, modulus]))
}

/// OpenSSL's form: version, p, q, g, the public and the private number.
fn dsa(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = der::sequence(bytes)?;
    fields.number()?;
    let (p, q, g) = (fields.number()?, fields.number()?, fields.number()?);
    let public = fields.number()?;
    fields.number()?;
    Some(write(&[b"ssh-dss", p, q, g, public]))
}

/// SEC 1: version, the private number, and optionally the curve and the public
/// point. `Some(None)` is a key without its point.
#[expect(clippy::option_option, reason = "a key whose public half is not known is a key")]
fn ec(bytes: &[u8], curve: Option<&[u8]>) -> Option<Option<Vec<u8>>> {
    let mut fields = der::sequence(bytes)?;
    fields.number()?;
    fields.take(der::OCTET_STRING)?;
    let named = fields.take(der::CONTEXT_0).and_then(|inside| {
        let mut inside = Reader::new(inside);
        inside.take(der::OBJECT_ID)
    });
    let point = fields.take(der::CONTEXT_1).and_then(|inside| {
        let mut inside = Reader::new(inside);
        // The first byte counts unused bits: none.
        inside.take(der::BIT_STRING)?.strip_prefix(&[0])
    });
    let id = named.or(curve)?;
    let known = CURVES.iter().find(|(known, _)| *known == id);
    let (Some((_, name)), Some(point)) = (known, point) else { return Some(None) };
    let public = write(&[&[b"ecdsa-sha2-", *name].concat(), name, point]);
    Some(blob::is_key(&public).then_some(public))
}

/// PKCS#8: version, algorithm, and the key in a form of its own.
#[expect(clippy::option_option, reason = "a key whose public half is not known is a key")]
fn pkcs8(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut fields = der::sequence(bytes)?;
    fields.number()?;
    let mut algorithm = Reader::new(fields.take(der::SEQUENCE)?);
    let id = algorithm.take(der::OBJECT_ID)?;
    let key = fields.take(der::OCTET_STRING)?;
    match id {
        RSA => rsa(key).map(Some),
        EC => ec(key, algorithm.take(der::OBJECT_ID)),
        // Their public halves would have to be computed.
        DSA => Reader::new(key).number().map(|_| None),
        ED25519 => Reader::new(key).take(der::OCTET_STRING).map(|_| None),
        _ => None,
    }
}

/// OpenSSH's own form, whose public half is readable even when it is encrypted.
///
/// **Source** OpenSSH, `PROTOCOL.key`.
fn openssh(bytes: &[u8]) -> Option<Private> {
    let mut fields = Fields::new(bytes.strip_prefix(b"openssh-key-v1\0")?);
    let cipher = fields.string()?;
    fields.string()?;
    fields.string()?;
    let count = u32::from_be_bytes(fields.fixed::<4>()?);
    let public = fields.string()?;
    let secret = fields.string()?;
    let makes_sense = count >= 1 && blob::is_key(public) && !secret.is_empty();
    makes_sense.then(|| Private { encrypted: cipher != b"none", public: Some(public.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_a_beginning_an_end_and_a_content() {
        for text in [
            "",
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nMAAA\n",
            "-----BEGIN RSA PRIVATE KEY-----\njunk that is no key\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nMAAA\n-----END DSA PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY\nMAAA\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nMAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        ] {
            assert_eq!(first(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_encrypted_block_says_so() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\
                    DEK-Info: AES-128-CBC,00\r\n\r\nAAAA\r\n-----END RSA PRIVATE KEY-----\r\n";
        assert_eq!(first(text.as_bytes()), Some(Private { encrypted: true, public: None }));
    }
}
