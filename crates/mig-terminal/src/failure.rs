//! What went wrong, in one sentence, with a way out and an exit code.

use std::error::Error;
use std::io;

use mig_client::{ClientError, SignerError};
use mig_module::text::printable;

use crate::narrate::verbosity;

/// Exit codes; 0 and 1 mean what they always have.
pub mod code {
    pub const OTHER: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const SIGNING: u8 = 3;
    pub const API: u8 = 4;
    pub const NO_AGENT: u8 = 5;
    pub const NOT_ALL: u8 = 6;
    pub const FOUND: u8 = 7;
    pub const INTERRUPTED: u8 = 130;
}

/// A failure to tell the investigator about.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub message: String,
    pub hint: Option<String>,
    /// What is behind the message, for `-v`.
    causes: Vec<String>,
    closed_pipe: bool,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, causes: Vec::new(), closed_pipe: false }
    }

    /// One about an error: in a sentence what failed and why.
    pub fn of(code: u8, error: &dyn Error) -> Self {
        Self::new(code, sentence(error)).because(error)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(code::USAGE, message)
    }

    pub fn other(message: impl Into<String>) -> Self {
        Self::new(code::OTHER, message)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps what is behind an error, for `-v`.
    #[must_use]
    pub fn because(mut self, error: &dyn Error) -> Self {
        let mut source = error.source();
        while let Some(cause) = source {
            self.causes.push(cause.to_string());
            source = cause.source();
        }
        self
    }

    /// What a person is told: the sentence, with `-v` what is behind it, and the
    /// way out.
    pub fn lines(&self) -> Vec<String> {
        self.told(verbosity() > 0)
    }

    fn told(&self, whole: bool) -> Vec<String> {
        // How a program is used stands below what was wrong with its use.
        let at = self.message.find("\nusage: ").unwrap_or(self.message.len());
        let (sentence, usage) = self.message.split_at_checked(at).unwrap_or_default();
        let mut lines = vec![format!("error: {}", printable(sentence))];
        lines.extend(usage.lines().skip(1).map(printable));
        let causes = self.causes.iter().filter(|_| whole);
        lines.extend(causes.map(|cause| format!("cause: {}", printable(cause))));
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines
    }

    pub const fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

/// What failed and why: an error and the innermost of its causes. What is between
/// speaks of how the program is made.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut reason = None;
    let mut source = error.source();
    while let Some(cause) = source {
        reason = Some(cause);
        source = cause.source();
    }
    let reason = reason.map(ToString::to_string).unwrap_or_default();
    // Some libraries repeat their source.
    if !text.ends_with(&reason) {
        text.push_str(": ");
        text.push_str(&reason);
    }
    text
}

/// [`sentence`], with the step at which an API was not reached in words.
pub fn of_client(error: &ClientError) -> String {
    match (error.unreached().and_then(mig_client::Unreached::reason), error) {
        (Some(reason), _) => format!("{error}: {reason}"),
        (None, ClientError::Follow { source, .. }) => format!("{error}: {}", of_client(source)),
        (None, ClientError::Token(source)) => of_signer(source),
        (None, _) => sentence(error),
    }
}

fn of_signer(error: &SignerError) -> String {
    match error {
        // What is wrong with a key file is in the middle.
        SignerError::Software(source) => format!("{error}: {}", sentence(source)),
        _ => sentence(error),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let mut failure = Self::other(format!("cannot write the output: {error}"));
        failure.closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        // The person said no, or pressed ctrl-c in the pinentry.
        let is_wish = matches!(error, SignerError::Cancelled);
        let code = if is_wish { code::INTERRUPTED } else { code::SIGNING };
        let failure = Self::new(code, of_signer(&error)).because(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (code, hint) = match error {
            ClientError::Token(error) => return error.into(),
            ClientError::Refused(_) => {
                (code::SIGNING, "mig doctor tells what of it; an administrator changes it")
            }
            ClientError::Clock { .. } => {
                (code::SIGNING, "set the clock of this machine: tokens and actions carry its time")
            }
            ClientError::Transport { .. } => {
                (code::API, "check api.url in your configuration, and that the API runs")
            }
            ClientError::Api { status, .. } if status >= 500 => {
                (code::API, "the API's log has the details")
            }
            _ => return Self::new(code::OTHER, of_client(&error)).because(&error),
        };
        Self::new(code, of_client(&error)).because(&error).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|inner| inner as &(dyn Error + 'static))
        }
    }

    #[test]
    fn a_sentence_has_the_reason_and_only_the_rest_is_for_the_curious() {
        let reason = Layer("the disk is full", None);
        let middle = Layer("pool 7 gave up", Some(Box::new(reason)));
        let failure = Failure::of(1, &Layer("cannot write x\u{1b}", Some(Box::new(middle))))
            .hint("make room");
        let [error, hint] = ["error: cannot write x\\x1b: the disk is full", "hint: make room"];
        assert_eq!(failure.told(false), [error, hint]);
        let whole = [error, "cause: pool 7 gave up", "cause: the disk is full", hint];
        assert_eq!(failure.told(true), whole);
        let misused =
            Failure::usage("unknown option -x\nusage: mig x [-y]\n\n    -y  yes").told(false);
        assert_eq!(misused, ["error: unknown option -x", "usage: mig x [-y]", "", "    -y  yes"]);
        assert_eq!(Failure::other("a\nb").told(false), ["error: a\\nb"]);
        assert_eq!(sentence(&Layer("alone", None)), "alone");
        let repeats = Layer("no: gone", Some(Box::new(Layer("gone", None))));
        assert_eq!(sentence(&repeats), "no: gone");
    }
}
