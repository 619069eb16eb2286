//! What the console shows.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};

use mig_terminal::failure::Failure;
use mig_terminal::link::Links;
use mig_terminal::output::{Color, Paint, room};
use mig_terminal::text::cut;

/// Standard output, which gets everything but progress and failures.
pub(crate) struct Screen {
    color: bool,
    /// Whether somebody still reads.
    gone: Cell<bool>,
}

impl Screen {
    pub(crate) fn new(color: Color) -> Self {
        Self { color: color.applies(io::stdout().is_terminal()), gone: Cell::new(false) }
    }

    /// One line or more.
    pub(crate) fn say(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Text as it is.
    pub(crate) fn write(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        self.gone.set(self.gone.get() || written.is_err());
    }

    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if self.color { paint.on(text) } else { text.to_owned() }
    }

    /// Where identifiers lead to.
    pub(crate) fn links(&self) -> Links {
        Links::on(io::stdout().is_terminal(), self.color)
    }

    /// Where identifiers in talk beside the output lead to.
    pub(crate) fn links_aside(&self) -> Links {
        Links::on(io::stderr().is_terminal(), self.color)
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// A row of a table, cut where the terminal ends.
    pub(crate) fn row(&self, text: &str) {
        self.say(cut(text, room()).trim_end());
    }
}

/// Talk beside the output: progress and counters.
pub(crate) fn aside(text: &str) {
    // Nobody listens when it fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why an order was not carried out.
pub(crate) fn complain(failure: &Failure) {
    failure.lines().iter().for_each(|line| aside(line));
}
