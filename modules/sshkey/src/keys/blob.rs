//! Public keys in their binary form, as RFC 4253 and OpenSSH write them.

/// Fields that follow each other, each with its length before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(self.fixed::<4>()?)).ok()?;
        let (field, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(field)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*field)
    }

    /// A positive number.
    fn number(&mut self) -> Option<()> {
        let number = self.string()?;
        let is_positive = number.first().is_some_and(|byte| byte & 0x80 == 0);
        is_positive.then_some(())
    }
}

/// Writes fields, each with its length before it.
pub(super) fn write(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        // Fields come from files far smaller than what four bytes can count.
        out.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}

const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// Whether the bytes are one public key and nothing more.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    check(bytes).is_some_and(<[u8]>::is_empty)
}

/// What is left after a public key.
fn check(bytes: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::new(bytes);
    let algorithm = fields.string()?;
    let certified = certified(algorithm);
    if certified.is_some() {
        // A nonce before the key.
        fields.string()?;
    }
    key(&mut fields, certified.as_deref().unwrap_or(algorithm))?;
    if certified.is_some() {
        certificate(&mut fields)?;
    }
    Some(fields.rest)
}

/// The plain algorithm of a certificate's.
fn certified(algorithm: &[u8]) -> Option<Vec<u8>> {
    let plain = algorithm.strip_suffix(CERTIFICATE)?;
    // Those with a vendor in their name carry it in both.
    let vendor: &[u8] = if plain.starts_with(b"sk-") { b"@openssh.com" } else { b"" };
    Some([plain, vendor].concat())
}

fn key(fields: &mut Fields<'_>, algorithm: &[u8]) -> Option<()> {
    match algorithm {
        b"ssh-rsa" => {
            fields.number()?;
            fields.number()
        }
        b"ssh-dss" => {
            for _ in 0..4 {
                fields.number()?;
            }
            Some(())
        }
        b"ssh-ed25519" => edwards(fields),
        b"sk-ssh-ed25519@openssh.com" => {
            edwards(fields)?;
            fields.string().map(drop)
        }
        b"sk-ecdsa-sha2-nistp256@openssh.com" => {
            point(fields, b"nistp256")?;
            fields.string().map(drop)
        }
        other => {
            let curve = other.strip_prefix(b"ecdsa-sha2-")?;
            [&b"nistp256"[..], b"nistp384", b"nistp521"].contains(&curve).then_some(())?;
            point(fields, curve)
        }
    }
}

fn edwards(fields: &mut Fields<'_>) -> Option<()> {
    (fields.string()?.len() == 32).then_some(())
}

fn point(fields: &mut Fields<'_>, curve: &[u8]) -> Option<()> {
    let named = fields.string()?;
    let point = fields.string()?;
    // Uncompressed: a four, then two coordinates.
    let has_point = point.first() == Some(&4) && point.len() % 2 == 1 && point.len() > 1;
    (named == curve && has_point).then_some(())
}

/// What follows the key in a certificate: serial, kind, id, principals, two
/// times, two lists of options, a reserved field, the signer and its signature.
fn certificate(fields: &mut Fields<'_>) -> Option<()> {
    fields.fixed::<8>()?;
    fields.fixed::<4>()?;
    fields.string()?;
    fields.string()?;
    fields.fixed::<16>()?;
    for _ in 0..5 {
        fields.string()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_whole_key() {
        let good = write(&[b"ssh-ed25519", &[7; 32]]);
        assert!(is_key(&good));
        for length in 0..good.len() {
            assert!(!is_key(&good[..length]), "{length}");
        }
        let long = [&good[..], b"x"].concat();
        for bytes in [
            long,
            write(&[b"ssh-ed25519", &[7; 31]]),
            write(&[b"ssh-rsa", &[0x80], &[5]]),
            write(&[b"ssh-rsa", &[], &[5]]),
            write(&[b"ssh-foo", &[1], &[5]]),
            write(&[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 65]]),
            write(&[b"ecdsa-sha2-nistp256", b"nistp256", &[2; 33]]),
            write(&[b"ecdsa-sha2-nistp999", b"nistp999", &[4; 65]]),
        ] {
            assert!(!is_key(&bytes), "{bytes:?}");
        }
    }

    #[test]
    fn knows_every_kind() {
        for bytes in [
            write(&[b"ssh-rsa", &[3], &[5]]),
            write(&[b"ssh-dss", &[1], &[2], &[3], &[4]]),
            write(&[b"ecdsa-sha2-nistp521", b"nistp521", &[4; 133]]),
            write(&[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:"]),
            write(&[b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", &[4; 65], b"ssh:"]),
        ] {
            assert!(is_key(&bytes), "{bytes:?}");
        }
        let mut certificate = write(&[b"ssh-ed25519-cert-v01@openssh.com", b"nonce", &[7; 32]]);
        certificate.extend([0; 12]);
        certificate.extend(write(&[b"id", b"principals"]));
        certificate.extend([0; 16]);
        certificate.extend(write(&[b"", b"", b"", b"signer", b"signature"]));
        assert!(is_key(&certificate));
        certificate.pop();
        assert!(!is_key(&certificate));
    }
}
