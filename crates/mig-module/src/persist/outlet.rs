//! What a persistent module tells the agent.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use mig_host::{Host as _, LocalHost};
use mig_types::Timestamp;

use super::{Message, Said};

/// Longest text of one message, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// The way to the agent, for every thread of a module.
#[derive(Clone)]
pub struct Outlet(Arc<Mutex<Box<dyn Write + Send>>>);

impl Outlet {
    pub fn new(output: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(output))))
    }

    /// A line for the agent's log.
    pub fn log(&self, text: &str) {
        self.say(Said::Log(shortened(text)));
    }

    /// Something people should look at. What is too long to be delivered whole
    /// is cut.
    pub fn alert(&self, text: &str) {
        self.say(Said::Alert(shortened(text)));
    }

    /// The time by the host's clock.
    pub fn now(&self) -> Timestamp {
        LocalHost::default().now()
    }

    pub(super) fn say(&self, said: Said) {
        // An agent that does not listen has ended, and this process will.
        let _ = self.write(&Message::from(said));
    }

    pub(super) fn write(&self, message: &Message) -> io::Result<()> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&message.to_line())?;
        output.flush()
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = format!("a{}", "ą".repeat(MAX_TEXT));
        let cut = shortened(&text);
        assert!(cut.len() == MAX_TEXT - 1 && text.starts_with(&cut));
        assert_eq!(shortened("short"), "short");
    }
}
