//! What is known of watched files. Knows no kernel and no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mig_module::text::lossy_bytewise;

use crate::alert::{Alert, Severity};

/// Within that time after an alert about its content, a file raises no other.
pub(crate) const SILENCE: Duration = Duration::from_mins(15);
/// From a change to the look at the content: writers are to finish first.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);
/// Most files that are known at a time.
pub(crate) const MAX_FILES: usize = 300_000;

#[derive(Debug, Clone, Default)]
struct Known {
    /// `None` until it was looked at; empty when it could not be read.
    digest: Option<String>,
    /// What the last alert said it was, and when.
    said: Option<(String, Instant)>,
}

/// All known files.
#[derive(Debug, Default)]
pub(crate) struct State {
    files: BTreeMap<PathBuf, Known>,
    /// Files to look at, and when.
    due: Agenda,
    /// Files that changed while nothing could be said, and when it can.
    hushed: Agenda,
}

/// Paths by time; each is in it once.
#[derive(Debug, Default)]
struct Agenda {
    by_time: BTreeSet<(Instant, PathBuf)>,
    by_path: HashMap<PathBuf, Instant>,
}

impl Agenda {
    /// Adds a path, unless it is there already.
    fn add(&mut self, path: &Path, at: Instant) {
        if !self.by_path.contains_key(path) {
            self.by_path.insert(path.to_owned(), at);
            self.by_time.insert((at, path.to_owned()));
        }
    }

    fn remove(&mut self, path: &Path) {
        if let Some((path, at)) = self.by_path.remove_entry(path) {
            self.by_time.remove(&(at, path));
        }
    }

    /// Takes the first path whose time has come.
    fn take(&mut self, now: Instant) -> Option<PathBuf> {
        if self.next_time()? > now {
            return None;
        }
        let (_, path) = self.by_time.pop_first()?;
        self.by_path.remove(&path);
        Some(path)
    }

    fn next_time(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

impl State {
    pub(crate) fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether a file that is not known yet could be.
    pub(crate) fn has_room(&self) -> bool {
        self.files.len() < MAX_FILES
    }

    /// Makes a file known, to be looked at soon.
    pub(crate) fn appear(&mut self, path: &Path, now: Instant) {
        self.files.entry(path.to_owned()).or_default();
        self.touch(path, now);
    }

    /// Has a known file looked at, unless that is about to happen.
    pub(crate) fn touch(&mut self, path: &Path, now: Instant) {
        if self.knows(path) {
            self.due.add(path, now + SETTLE);
        }
    }

    /// Has all known files looked at.
    pub(crate) fn touch_all(&mut self, now: Instant) {
        for path in self.files.keys() {
            self.due.add(path, now);
        }
    }

    /// Forgets a file; whether it was known.
    pub(crate) fn forget(&mut self, path: &Path) -> bool {
        self.due.remove(path);
        self.hushed.remove(path);
        self.files.remove(path).is_some()
    }

    /// Known files below a directory, itself included.
    pub(crate) fn below(&self, path: &Path) -> Vec<PathBuf> {
        let from = self.files.range(path.to_owned()..).map(|(known, _)| known);
        from.take_while(|known| known.starts_with(path)).cloned().collect()
    }

    /// What is known.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// A file it is time to look at.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<PathBuf> {
        self.due.take(now)
    }

    /// When there is a file to look at.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.due.next_time()
    }

    /// Takes what a file holds now; an alert when that is something else.
    pub(crate) fn seen(&mut self, path: &Path, digest: String, now: Instant) -> Option<Alert> {
        let known = self.files.get_mut(path)?;
        let before = known.digest.replace(digest);
        // The first look is the baseline.
        let before = before?;
        let current = known.digest.as_ref()?;
        if *current == before {
            return None;
        }
        if let Some((_, at)) = &known.said
            && now.saturating_duration_since(*at) < SILENCE
        {
            let until = *at + SILENCE;
            self.hushed.add(path, until);
            return None;
        }
        let alert = changed(path, &before, current);
        known.said = Some((current.clone(), now));
        self.hushed.remove(path);
        Some(alert)
    }

    /// What changed while a file was not to be mentioned, once it may.
    pub(crate) fn summaries(&mut self, now: Instant) -> Vec<Alert> {
        let mut alerts = Vec::new();
        while let Some(path) = self.hushed.take(now) {
            let Some(known) = self.files.get_mut(&path) else { continue };
            let (Some(current), Some((said, at))) = (&known.digest, &mut known.said) else {
                continue;
            };
            if said != current {
                alerts.push(changed(&path, said, current));
                (*said, *at) = (current.clone(), now);
            }
        }
        alerts
    }
}

fn changed(path: &Path, before: &str, now: &str) -> Alert {
    let path = text(path);
    Alert::new(Severity::Critical, format!("{path} signature changed {before} -> {now}"))
}

/// A path as it travels.
pub(crate) fn text(path: &Path) -> String {
    lossy_bytewise(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &mut State, digest: &str, now: Instant) -> Option<String> {
        state.seen(Path::new("/f"), digest.to_owned(), now).map(|alert| alert.alert)
    }

    #[test]
    fn the_first_look_is_silent_and_a_change_is_not() {
        let (mut state, now) = (State::default(), Instant::now());
        assert_eq!(seen(&mut state, "a", now), None, "not known");
        state.appear(Path::new("/f"), now);
        assert_eq!(seen(&mut state, "a", now), None);
        assert_eq!(seen(&mut state, "a", now), None);
        assert_eq!(seen(&mut state, "b", now).unwrap(), "/f signature changed a -> b");
        // One that became unreadable.
        let later = now + SILENCE;
        assert_eq!(seen(&mut state, "", later).unwrap(), "/f signature changed b -> ");
    }

    #[test]
    fn changes_within_the_silence_are_said_at_its_end() {
        let (mut state, now) = (State::default(), Instant::now());
        state.appear(Path::new("/f"), now);
        assert_eq!(state.next_due(now + SETTLE), Some("/f".into()));
        seen(&mut state, "a", now);
        assert!(seen(&mut state, "b", now).is_some());
        let soon = now + Duration::from_mins(1);
        assert_eq!(seen(&mut state, "c", soon), None);
        assert_eq!(seen(&mut state, "d", soon), None);
        assert!(state.summaries(soon).is_empty());
        assert!(state.summaries(now + SILENCE * 99 / 100).is_empty());
        let alerts = state.summaries(now + SILENCE);
        assert_eq!(alerts[0].alert, "/f signature changed b -> d");
        // It is a new silence, and a change back is nothing to say.
        let later = now + SILENCE + Duration::from_mins(1);
        assert_eq!(seen(&mut state, "e", later), None);
        assert_eq!(seen(&mut state, "d", later), None);
        assert!(state.summaries(now + SILENCE * 2).is_empty());
    }

    #[test]
    fn files_are_looked_at_once_and_forgotten_with_everything() {
        let (mut state, now) = (State::default(), Instant::now());
        for path in ["/d", "/d/a", "/d/b/c", "/da"] {
            state.appear(Path::new(path), now);
            state.touch(Path::new(path), now + SETTLE);
        }
        assert_eq!(state.below(Path::new("/d")).len(), 3);
        assert_eq!(state.next_due(now), None);
        for path in state.below(Path::new("/d")) {
            assert!(state.forget(&path));
        }
        assert_eq!(state.next_due(now + SETTLE), Some("/da".into()));
        assert_eq!(state.next_due(now + SETTLE), None, "each change is one look");
        assert!(!state.forget(Path::new("/d/a")));
        assert_eq!(state.next_look(), None);
    }
}
