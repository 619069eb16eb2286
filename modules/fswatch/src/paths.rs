//! What is watched.

use std::path::PathBuf;

use mig_module::persist::Briefing;

/// One configured path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Directories below it as well.
    pub(crate) is_recursive: bool,
}

/// What is watched when the configuration does not say.
#[cfg(target_os = "linux")]
const PROFILE: &[&str] = &[
    "/boot",
    "/etc/cron.d",
    "/var/spool/cron",
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "recursive:/etc",
    "/etc/init.d",
    "recursive:/etc/systemd",
];
#[cfg(not(target_os = "linux"))]
const PROFILE: &[&str] = &[];

/// Most paths that are taken from a configuration.
const MAX_ENTRIES: usize = 1_000;

/// The paths of a configuration; the second value says what makes no sense.
pub(crate) fn entries(briefing: &Briefing) -> (Vec<Entry>, Vec<String>) {
    let configured = briefing.setting("paths", "path").and_then(|paths| paths.as_array());
    let texts: Vec<&str> =
        configured.into_iter().flatten().filter_map(|path| path.as_str()).collect();
    let texts = if texts.is_empty() { PROFILE.to_vec() } else { texts };
    let (mut entries, mut odd) = (Vec::new(), Vec::new());
    for text in texts {
        let (path, is_recursive) = match text.strip_prefix("recursive:") {
            Some(path) => (path, true),
            None => (text, false),
        };
        // Components drop what says nothing: `/a//b/./` is `/a/b`.
        let path: PathBuf = PathBuf::from(path).components().collect();
        if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
            odd.push(format!("{text}: a path has to be absolute, without .."));
        } else if entries.len() == MAX_ENTRIES {
            odd.push(format!("only the first {MAX_ENTRIES} paths are watched"));
            break;
        } else {
            entries.push(Entry { path, is_recursive });
        }
    }
    (entries, odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(config: Value) -> (Vec<Entry>, Vec<String>) {
        entries(&Briefing { config, ..Briefing::default() })
    }

    #[test]
    fn what_is_no_absolute_path_is_named() {
        let (found, odd) = read(
            json!({ "Paths": { "Path": ["etc", "", "recursive:", "/a/../b", "/a//b/./", 7] } }),
        );
        assert_eq!(found, [Entry { path: "/a/b".into(), is_recursive: false }]);
        assert_eq!(odd.len(), 4, "{odd:?}");
    }

    #[test]
    fn nothing_configured_is_the_profile() {
        for config in
            [json!({}), json!({ "Paths": { "Path": null } }), json!({ "paths": { "path": [] } })]
        {
            let (found, odd) = read(config);
            assert_eq!((found.len(), odd.len()), (PROFILE.len(), 0));
        }
        let (found, _) = read(json!({ "Paths": { "Path": ["recursive:/b", "/a"] } }));
        assert_eq!(found[0], Entry { path: "/b".into(), is_recursive: true });
        assert_eq!(found[1], Entry { path: "/a".into(), is_recursive: false });
    }
}
