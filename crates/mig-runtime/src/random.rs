//! Random values from the operating system's generator, fit for secrets.

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// `N` random bytes.
///
/// # Panics
///
/// When the operating system has no randomness to give: going on without
/// would make guessable secrets.
#[expect(clippy::expect_used, reason = "no safe way to go on without randomness")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    getrandom::fill(&mut buffer).expect("the operating system provides randomness");
    buffer
}

/// A random number, every value equally likely.
pub fn u64() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// `len` random characters out of `A-Z`, `a-z` and `0-9`.
pub fn alphanumeric(len: usize) -> String {
    text(len, ALPHANUMERIC)
}

/// `len` random characters out of `0-9` and `a-z`.
pub fn base36(len: usize) -> String {
    text(len, BASE36)
}

fn text(len: usize, alphabet: &[u8]) -> String {
    // Bytes at or past the largest multiple of the alphabet's size are thrown
    // away: a plain remainder would favour the first letters.
    let limit = 256 / alphabet.len() * alphabet.len();
    let mut out = String::with_capacity(len);
    while out.len() < len {
        for byte in bytes::<64>() {
            let index = usize::from(byte);
            if index < limit && out.len() < len {
                out.push(char::from(alphabet[index % alphabet.len()]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_length_and_the_letters_asked_for() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let text = alphanumeric(len);
            assert_eq!(text.len(), len);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
            let text = base36(len);
            assert_eq!(text.len(), len);
            assert!(text.bytes().all(|byte| BASE36.contains(&byte)), "{text}");
        }
    }

    #[test]
    fn two_values_differ() {
        assert_ne!(u64(), u64());
        assert_ne!(alphanumeric(20), alphanumeric(20));
    }

    #[test]
    fn every_letter_comes_up() {
        let text = base36(20_000);
        assert!(BASE36.iter().all(|byte| text.contains(char::from(*byte))));
    }
}
