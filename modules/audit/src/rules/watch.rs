//! Files and directories that are watched.

use std::path::Path;

/// The kernel's longest path, its end included.
const MAX_PATH: usize = 4096;
/// Longest name of one entry.
const MAX_NAME: usize = 255;

/// A path the kernel can watch, without the `/` at its end.
///
/// # Errors
///
/// Why it cannot.
pub(super) fn checked(path: &str) -> Result<&str, String> {
    let wrong = |what: &str| Err(format!("path {path:?} {what}"));
    if !path.starts_with('/') {
        return wrong("has to be absolute");
    }
    if path.len() >= MAX_PATH {
        return Err(format!("a path has {} bytes, and can have {}", path.len(), MAX_PATH - 1));
    }
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        return wrong("must not contain ..");
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return wrong("is the root directory, which cannot be watched");
    }
    let name = Path::new(trimmed).file_name().map_or(0, std::ffi::OsStr::len);
    if name > MAX_NAME {
        return Err(format!("the last name of a path has {name} bytes, and can have {MAX_NAME}"));
    }
    Ok(trimmed)
}

/// The bits of letters like `rwxa`.
pub(super) fn permissions(letters: &str) -> Result<u32, String> {
    let wrong = || format!("permission {letters:?} has to be 1 to 4 letters of rwxa");
    if letters.is_empty() || letters.len() > 4 {
        return Err(wrong());
    }
    letters.chars().try_fold(0, |bits, letter| {
        Ok(bits
            | match letter.to_ascii_lowercase() {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                'a' => 8,
                _ => return Err(wrong()),
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_of_a_length() {
        let long = format!("/{}", "x".repeat(256));
        let endless = format!("/{}", "x/".repeat(2048));
        for path in ["", "etc", "/a/../b", "/..", "/", "//", "/a\0b", &long, &endless] {
            assert!(checked(path).is_err(), "{path}");
        }
        for (path, expected) in [("/etc/", "/etc"), ("/a..b/c", "/a..b/c"), ("/a//", "/a")] {
            assert_eq!(checked(path), Ok(expected));
        }
        assert!(checked(&long[..256]).is_ok());
    }

    #[test]
    fn permissions_are_letters() {
        for letters in ["", "rwxar", "q", "r w"] {
            assert!(permissions(letters).is_err(), "{letters}");
        }
        for (letters, bits) in [("r", 4), ("wa", 10), ("rwxa", 15), ("X", 1)] {
            assert_eq!(permissions(letters), Ok(bits));
        }
    }
}
