//! Reads lines: from a terminal with history and completion, from a pipe as
//! they are.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use mig_runtime::Interrupts;
use mig_terminal::failure::{Failure, code};
use mig_terminal::output::Paint;
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, EditMode};

use crate::completion::{Helper, Scope};
use crate::history::{History, MAX_ENTRIES};

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Line(String),
    /// Ctrl-D, or the end of the pipe.
    End,
    /// Ctrl-C: the line was given up.
    Cancelled,
}

enum Source {
    Terminal(Box<rustyline::Editor<Helper, MemHistory>>),
    Pipe,
}

/// Where lines come from.
pub(crate) struct Editor {
    source: Source,
    /// Whether prompts and the lines of a pipe are shown.
    echo: bool,
    pub(crate) history: History,
}

impl Editor {
    /// On a terminal, a line editor with the history of `home`.
    pub(crate) fn new(home: Option<&Path>, quiet: bool, helper: Helper) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Self { source: Source::Pipe, echo: !quiet, history: History::none() });
        }
        let history = History::load(home);
        let config =
            Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
        let broken = |error: ReadlineError| Failure::other(format!("no line editor: {error}"));
        let mut editor =
            rustyline::Editor::with_history(config, MemHistory::new()).map_err(broken)?;
        editor.set_max_history_size(MAX_ENTRIES).map_err(broken)?;
        if home.is_some_and(prefers_vi) {
            editor.set_edit_mode(EditMode::Vi);
        }
        for entry in history.entries() {
            editor.add_history_entry(entry).map_err(broken)?;
        }
        editor.set_helper(Some(helper));
        Ok(Self { source: Source::Terminal(Box::new(editor)), echo: true, history })
    }

    /// Whether a person answers.
    pub(crate) const fn has_terminal(&self) -> bool {
        matches!(self.source, Source::Terminal(_))
    }

    /// The completion's knowledge, where there is completion.
    pub(crate) fn helper(&mut self) -> Option<&mut Helper> {
        match &mut self.source {
            Source::Terminal(editor) => editor.helper_mut(),
            Source::Pipe => None,
        }
    }

    /// Asks for one line.
    pub(crate) async fn read(
        &mut self,
        prompt: &str,
        paint: Option<Paint>,
        color: bool,
        scope: Scope,
        interrupts: &Interrupts,
    ) -> Result<Answer, Failure> {
        let styled = match paint {
            Some(paint) if color => paint.on(prompt),
            _ => prompt.to_owned(),
        };
        let prompt = (format!("{prompt} "), format!("{styled} "));
        match &mut self.source {
            Source::Terminal(editor) => {
                if let Some(helper) = editor.helper_mut() {
                    helper.scope = scope;
                }
                // The terminal is in raw mode meanwhile: nothing else may draw.
                match editor.readline(&prompt) {
                    Ok(line) => Ok(Answer::Line(line)),
                    Err(ReadlineError::Eof) => Ok(Answer::End),
                    Err(ReadlineError::Interrupted) => Ok(Answer::Cancelled),
                    Err(error) => Err(Failure::other(format!("cannot read a line: {error}"))),
                }
            }
            Source::Pipe => {
                let interrupted = interrupts.next();
                if self.echo {
                    show(&prompt.1)?;
                }
                let line = tokio::select! {
                    line = tokio::task::spawn_blocking(next_line) => line,
                    () = interrupted => {
                        return Err(Failure::new(code::INTERRUPTED, "interrupted"));
                    }
                };
                let line = line.unwrap_or_else(|error| Err(io::Error::other(error)));
                let line =
                    line.map_err(|error| Failure::other(format!("cannot read a line: {error}")))?;
                if self.echo {
                    show(&format!("{}\n", line.as_deref().unwrap_or_default()))?;
                }
                Ok(line.map_or(Answer::End, Answer::Line))
            }
        }
    }

    /// Remembers an order.
    pub(crate) fn remember(&mut self, line: &str) {
        if self.history.add(line)
            && let Source::Terminal(editor) = &mut self.source
        {
            // Refused only when it is the same as the last one.
            let _ = editor.add_history_entry(line);
        }
    }
}

/// Longest line of a pipe, in bytes.
const MAX_LINE: u64 = 1024 * 1024;

fn next_line() -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut stdin = io::stdin().lock();
    let count = io::Read::take(&mut stdin, MAX_LINE).read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn show(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Whether the user's `.inputrc` asks for vi's keys.
fn prefers_vi(home: &Path) -> bool {
    let text = std::fs::read_to_string(home.join(".inputrc")).unwrap_or_default();
    let mut words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.any(|words| words == ["set", "editing-mode", "vi"])
}
