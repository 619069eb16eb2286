//! What could not be looked at, for the errors of a result.

use std::sync::{Mutex, PoisonError};

use crate::bounds::MAX_NOTES;

#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    said: Vec<String>,
    unsaid: u64,
}

impl Notes {
    /// A sentence, while there are not too many; each once.
    pub(crate) fn say(&self, text: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.said.contains(&text) {
            return;
        }
        if kept.said.len() < MAX_NOTES {
            kept.said.push(text);
        } else {
            kept.unsaid += 1;
        }
    }

    pub(crate) fn finish(self) -> Vec<String> {
        let Kept { mut said, unsaid } = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        said.sort();
        if unsaid > 0 {
            said.push(format!("{unsaid} more errors are not listed"));
        }
        said
    }
}
