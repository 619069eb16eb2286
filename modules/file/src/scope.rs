//! Search paths: cleaning, and which search a place belongs to.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Level of a search that does not cover a place.
pub(crate) const OUTSIDE: u32 = 0;

/// Cleans a path as Go's `filepath.Clean`: textually, before any link is looked
/// at.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") => parts.push(part),
                Some(_) => {
                    parts.pop();
                }
                None if rooted => {}
                None => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The search paths of all searches, each with the searches that named it.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    paths: BTreeMap<PathBuf, Vec<usize>>,
    /// Roots reached or started, so that none is looked at twice.
    claimed: Mutex<HashSet<PathBuf>>,
    /// Whether a root may lie below another one.
    nested: bool,
}

impl Roots {
    pub(crate) fn add(&mut self, path: PathBuf, search: usize) {
        let searches = self.paths.entry(path).or_default();
        if !searches.contains(&search) {
            searches.push(search);
        }
    }

    /// Must be called after the last [`Roots::add`].
    pub(crate) fn seal(&mut self) {
        self.nested = self.paths.keys().any(|path| self.has_root_above(path, &HashSet::new()));
    }

    /// The roots to start with: unclaimed, and below no other unclaimed root.
    /// Claims them.
    pub(crate) fn next(&self) -> Vec<(PathBuf, Vec<usize>)> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.paths.iter().filter(|(path, _)| !claimed.contains(*path));
        let top = free.filter(|(path, _)| !self.has_root_above(path, &claimed));
        let found: Vec<_> = top.map(|(path, searches)| (path.clone(), searches.clone())).collect();
        claimed.extend(found.iter().map(|(path, _)| path.clone()));
        found
    }

    fn has_root_above(&self, path: &Path, except: &HashSet<PathBuf>) -> bool {
        let above =
            |ancestor: &Path| self.paths.contains_key(ancestor) && !except.contains(ancestor);
        // "." stands above every relative path but those that leave it.
        let relative = path.is_relative() && path != Path::new(".") && !path.starts_with("..");
        path.ancestors().skip(1).any(above) || (relative && above(Path::new(".")))
    }

    /// Whether anything met on a walk can be a root itself.
    pub(crate) fn any_nested(&self) -> bool {
        self.nested
    }

    /// The searches that named exactly this place, claiming it. Empty when none
    /// did or when it has been looked at already.
    pub(crate) fn claim(&self, path: &Path) -> &[usize] {
        // A walk from "." meets "./x" where a search says "x".
        let path = path.strip_prefix(".").unwrap_or(path);
        let Some(searches) = self.paths.get(path) else { return &[] };
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.insert(path.to_owned()) { searches } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_go() {
        for (raw, cleaned) in [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("/etc//passwd/", "/etc/passwd"),
            ("/a/./b/../c", "/a/c"),
            ("a/../..", ".."),
            ("../../x", "../../x"),
            ("/../x", "/x"),
            ("a/b/..", "a"),
            ("R/*", "R/*"),
        ] {
            assert_eq!(clean(raw), cleaned, "{raw:?}");
        }
    }

    fn roots(paths: &[&str]) -> Roots {
        let mut roots = Roots::default();
        for (search, path) in paths.iter().enumerate() {
            roots.add(PathBuf::from(path), search);
        }
        roots.seal();
        roots
    }

    fn names(found: &[(PathBuf, Vec<usize>)]) -> Vec<&str> {
        found.iter().map(|(path, _)| path.to_str().unwrap()).collect()
    }

    #[test]
    fn nested_roots_start_later_and_only_once() {
        let roots = roots(&["/a/b", "/a", "/a2", "/a/b/c"]);
        assert!(roots.any_nested());
        assert_eq!(names(&roots.next()), ["/a", "/a2"]);
        assert_eq!(roots.claim(Path::new("/a/b/c")), [3]);
        assert!(roots.claim(Path::new("/a/b/c")).is_empty());
        assert!(roots.claim(Path::new("/a/x")).is_empty());
        assert_eq!(names(&roots.next()), ["/a/b"]);
        assert!(roots.next().is_empty());
    }

    #[test]
    fn a_common_beginning_is_not_nesting() {
        let roots = roots(&["/etc", "/etc2"]);
        assert!(!roots.any_nested());
        assert_eq!(names(&roots.next()), ["/etc", "/etc2"]);
    }

    #[test]
    fn relative_roots_lie_below_the_dot() {
        let roots = roots(&[".", "x", "../y"]);
        assert!(roots.any_nested());
        assert_eq!(names(&roots.next()), [".", "../y"]);
        assert_eq!(roots.claim(Path::new("./x")), [1]);
    }
}
