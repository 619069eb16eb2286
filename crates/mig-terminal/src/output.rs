//! Standard output is data, standard error is talk.

use std::io::{self, IsTerminal as _, Write as _};

use crate::failure::Failure;
use crate::link::Links;
use crate::settings;

/// A colour of the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Red,
    Yellow,
    Blue,
    Magenta,
    BoldRed,
    BoldGreen,
    BoldYellow,
    BoldBlue,
    BoldMagenta,
    BoldCyan,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "\x1b[31m",
            Self::Yellow => "\x1b[33m",
            Self::Blue => "\x1b[34m",
            Self::Magenta => "\x1b[35m",
            Self::BoldRed => "\x1b[31;1m",
            Self::BoldGreen => "\x1b[32;1m",
            Self::BoldYellow => "\x1b[33;1m",
            Self::BoldBlue => "\x1b[34;1m",
            Self::BoldMagenta => "\x1b[35;1m",
            Self::BoldCyan => "\x1b[36;1m",
        }
    }

    /// `text` in this colour.
    pub fn on(self, text: &str) -> String {
        format!("{}{text}\x1b[0m", self.code())
    }
}

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    /// As variables and `config.toml` say, else [`Color::Auto`].
    #[default]
    Unsaid,
    /// As variables say, else on terminals.
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Whether a stream gets colours, knowing whether it is a terminal.
    pub fn applies(self, terminal: bool) -> bool {
        self.decides(terminal, settings::color(), &|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// The option, then `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, then what the file
    /// says, and at last what the stream is.
    fn decides(
        self,
        terminal: bool,
        file: Option<Self>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> bool {
        let set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let is_zero = |name| variable(name).is_some_and(|value| value == "0");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Unsaid | Self::Auto if set("NO_COLOR") => false,
            Self::Unsaid | Self::Auto if set("CLICOLOR_FORCE") && !is_zero("CLICOLOR_FORCE") => {
                true
            }
            Self::Unsaid if file.is_some_and(|file| file != Self::Auto) && !set("CLICOLOR") => {
                file == Some(Self::Always)
            }
            Self::Unsaid | Self::Auto => {
                terminal && !is_zero("CLICOLOR") && variable("TERM").is_none_or(|t| t != "dumb")
            }
        }
    }
}

/// How the progress of an action is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Progress {
    /// A line that is drawn again and again on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// A line for each change, on terminals too.
    Plain,
    /// Not at all.
    Off,
}

impl Progress {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "plain" => Some(Self::Plain),
            "none" => Some(Self::Off),
            _ => None,
        }
    }
}

/// Both streams, with what may be done to each.
pub struct Output {
    /// Data that is not written to standard output.
    kept: Option<Vec<u8>>,
    stderr_terminal: bool,
    color: bool,
    /// What was said about colours.
    wanted: Color,
    /// Errors only.
    quiet: bool,
    shows: Progress,
    /// Characters of a progress line that stands on the terminal.
    progress: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    pub fn new() -> Self {
        let mut output = Self {
            kept: None,
            stderr_terminal: io::stderr().is_terminal(),
            color: false,
            wanted: Color::Unsaid,
            quiet: false,
            shows: Progress::Auto,
            progress: 0,
        };
        output.set_color(Color::Unsaid);
        output
    }

    /// One that keeps data until it is taken, and says nothing but errors: for tests.
    pub fn kept() -> Self {
        Self { kept: Some(Vec::new()), quiet: true, ..Self::new() }
    }

    /// The data of [`Output::kept`].
    pub fn take_data(&mut self) -> String {
        let data = self.kept.as_mut().map(std::mem::take).unwrap_or_default();
        String::from_utf8_lossy(&data).into_owned()
    }

    pub fn set_color(&mut self, color: Color) {
        self.wanted = color;
        self.color = color.applies(self.stderr_terminal);
    }

    /// Leaves out notes; errors stay.
    pub const fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    pub const fn set_progress(&mut self, progress: Progress) {
        self.shows = progress;
    }

    /// Whether a progress line is drawn.
    pub fn draws(&self) -> bool {
        self.stderr_terminal && !self.quiet && self.shows == Progress::Auto
    }

    /// Whether progress is told in lines.
    pub fn tells(&self) -> bool {
        match self.shows {
            Progress::Auto => !self.stderr_terminal,
            Progress::Plain => true,
            Progress::Off => false,
        }
    }

    /// Where identifiers in talk lead to.
    pub fn links(&self) -> Links {
        Links::on(self.stderr_terminal, self.color)
    }

    /// Where identifiers in data lead to.
    pub fn links_of_data(&self) -> Links {
        let terminal = self.kept.is_none() && io::stdout().is_terminal();
        Links::on(terminal, self.wanted.applies(terminal))
    }

    /// One line of data.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.clear_progress();
        if let Some(kept) = &mut self.kept {
            writeln!(kept, "{text}")?;
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// Data as it is, without a line end.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Data that need not be text.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }

    /// Talk, as it is.
    pub fn say(&mut self, text: &str) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// What went wrong somewhere, and must not be missed.
    pub fn warn(&mut self, text: &str) {
        self.clear_progress();
        // Nobody listens when it fails.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Talk in a colour.
    pub fn paint(&mut self, paint: Paint, text: &str) {
        let painted = self.painted(paint, text);
        self.say(&painted);
    }

    /// Talk without a line end.
    pub fn murmur(&mut self, paint: Paint, text: &str) {
        if self.quiet {
            return;
        }
        let painted = self.painted(paint, text);
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{painted}");
        let _ = stderr.flush();
    }

    fn painted(&self, paint: Paint, text: &str) -> String {
        if self.color { paint.on(text) } else { text.to_owned() }
    }

    /// Draws a progress line over the one before; terminals only.
    pub fn draw(&mut self, line: &str) {
        if !self.draws() {
            return;
        }
        let width = line.chars().count();
        let blank = " ".repeat(self.progress.saturating_sub(width));
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "\r{line}{blank}");
        let _ = stderr.flush();
        self.progress = width;
    }

    /// Ends the progress line: what stands on it stays.
    pub fn keep_progress(&mut self) {
        if self.progress > 0 {
            let _ = writeln!(io::stderr().lock());
            self.progress = 0;
        }
    }

    fn clear_progress(&mut self) {
        if self.progress > 0 {
            let blank = " ".repeat(self.progress);
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{blank}\r");
            let _ = stderr.flush();
            self.progress = 0;
        }
    }

    /// Why it failed, and the way out.
    pub fn complain(&mut self, failure: &Failure) {
        self.keep_progress();
        for line in failure.lines() {
            self.warn(&line);
        }
    }
}

/// Columns that a table may take: those of the terminal behind standard output,
/// and as many as it wants where there is none.
pub fn room() -> usize {
    if io::stdout().is_terminal() { columns_of(&io::stdout()) } else { usize::MAX }
}

/// Columns of the terminal behind standard error, 80 when there is none.
pub fn columns() -> usize {
    columns_of(&io::stderr())
}

#[cfg(unix)]
fn columns_of(stream: &impl std::os::fd::AsFd) -> usize {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

#[cfg(not(unix))]
fn columns_of<T>(_stream: &T) -> usize {
    80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_comes_before_the_variables_and_they_before_the_terminal() {
        for (color, variables, terminal, applies) in [
            (Color::Auto, &[][..], true, true),
            (Color::Auto, &[], false, false),
            (Color::Auto, &[("TERM", "dumb")], true, false),
            (Color::Auto, &[("NO_COLOR", "1")], true, false),
            (Color::Auto, &[("NO_COLOR", "")], true, true),
            (Color::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false),
            (Color::Auto, &[("CLICOLOR_FORCE", "1"), ("CLICOLOR", "0")], false, true),
            (Color::Auto, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false, true),
            (Color::Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (Color::Auto, &[("CLICOLOR", "0")], true, false),
            (Color::Auto, &[("CLICOLOR", "1")], true, true),
            (Color::Auto, &[("CLICOLOR", "1")], false, false),
            (Color::Always, &[("NO_COLOR", "1")], false, true),
            (Color::Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            for file in [None, Some(Color::Auto), Some(Color::Always), Some(Color::Never)] {
                let decided = color.decides(terminal, file, &variable);
                assert_eq!(decided, applies, "{color:?} {variables:?} {terminal} {file:?}");
            }
            if color == Color::Auto {
                let decided = Color::Unsaid.decides(terminal, None, &variable);
                assert_eq!(decided, applies, "{variables:?} {terminal}");
            }
        }
        for (file, variable, terminal, applies) in [
            (Color::Always, None, false, true),
            (Color::Never, None, true, false),
            (Color::Auto, None, true, true),
            (Color::Always, Some("NO_COLOR"), true, false),
            (Color::Never, Some("CLICOLOR_FORCE"), false, true),
            (Color::Never, Some("CLICOLOR"), true, true),
        ] {
            let set = |name: &str| (Some(name) == variable).then(|| "1".to_owned());
            let decided = Color::Unsaid.decides(terminal, Some(file), &set);
            assert_eq!(decided, applies, "{file:?} {variable:?} {terminal}");
        }
    }

    #[test]
    fn progress_is_told_where_it_is_not_drawn() {
        let mut output = Output::new();
        for (terminal, progress, drawn, told) in [
            (true, "auto", true, false),
            (false, "auto", false, true),
            (true, "plain", false, true),
            (true, "none", false, false),
            (false, "none", false, false),
        ] {
            output.stderr_terminal = terminal;
            output.set_progress(Progress::parse(progress).unwrap());
            assert_eq!((output.draws(), output.tells()), (drawn, told), "{terminal} {progress}");
        }
        output.stderr_terminal = true;
        output.set_progress(Progress::Auto);
        output.set_quiet(true);
        assert!(!output.draws());
        assert_eq!(Progress::parse("bar"), None);
    }
}
