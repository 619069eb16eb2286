//! Identifiers of actions that were seen lately, for the completion of shells.
//!
//! A shell that completes must not wait for a network, and still less for a
//! passphrase, so the clients write down what they have seen anyway.

use std::io::Write as _;
use std::path::PathBuf;

use mig_client::config::process_environment;
use mig_types::ActionId;

/// How many are remembered.
const MOST: usize = 50;
/// Largest file read, in bytes: more is not ours.
const MAX_FILE: u64 = 64 * 1024;

/// Remembers actions, the newest last. Nothing depends on it, so failures are
/// not told.
pub fn remember(actions: impl IntoIterator<Item = (ActionId, String)>) {
    let Some(path) = path() else { return };
    let mut known = recent();
    for (id, name) in actions {
        known.retain(|(other, _)| *other != id.to_string());
        known.push((id.to_string(), line(&name)));
    }
    let kept = known.get(known.len().saturating_sub(MOST)..).unwrap_or_default();
    let mut text = String::new();
    for (id, name) in kept {
        text.extend([id, "\t", name, "\n"]);
    }
    let _ = write(&path, &text);
}

/// Identifiers and names of actions, the newest last.
pub fn recent() -> Vec<(String, String)> {
    use std::io::Read as _;
    let file = path().and_then(|path| std::fs::File::open(path).ok());
    let mut text = String::new();
    let read = file.map(|file| file.take(MAX_FILE).read_to_string(&mut text));
    if !matches!(read, Some(Ok(_))) {
        return Vec::new();
    }
    let pairs = text.lines().filter_map(|line| line.split_once('\t'));
    let pairs = pairs.filter(|(id, _)| id.bytes().all(|byte| byte.is_ascii_digit()));
    pairs.map(|(id, name)| (id.to_owned(), line(name))).collect()
}

/// A name in one line, and not a long one.
fn line(name: &str) -> String {
    crate::text::cut(name.trim(), 60).replace('\t', " ")
}

/// `$XDG_CACHE_HOME/mig/actions`, or where that is by default.
fn path() -> Option<PathBuf> {
    let cache = process_environment("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|cache| cache.is_absolute());
    let home = || process_environment("HOME").map(PathBuf::from).filter(|home| home.is_dir());
    let home = || home().map(|home| home.join(".cache"));
    Some(cache.or_else(home)?.join("mig").join("actions"))
}

/// Replaces the file at once: two clients may end at the same time.
fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
    std::fs::create_dir_all(directory)?;
    let new = directory.join(format!("actions.{}", std::process::id()));
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(&new)?.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}
