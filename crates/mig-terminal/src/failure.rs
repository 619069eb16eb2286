//! What went wrong, in one sentence, with a way out and an exit code.

use std::io;

use mig_client::{ClientError, SignerError};

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
    closed_pipe: bool,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, closed_pipe: false }
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

    pub const fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
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
        let failure = Self::new(code, chain(&error));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Token(error) => error.into(),
            ClientError::Api { status: 401, message } => Self::new(
                code::SIGNING,
                format!("the API does not let you in: {message}"),
            )
            .hint(
                "your key must be that of an active investigator who may do this, and your clock \
                           right; mig doctor tells which",
            ),
            ClientError::Clock { .. } => Self::new(code::SIGNING, chain(&error))
                .hint("set the clock of this machine: tokens and actions carry its time"),
            ClientError::Transport { .. } => Self::new(code::API, chain(&error))
                .hint("check api.url in your configuration, and that the API runs"),
            ClientError::Api { status, .. } if status >= 500 => {
                Self::new(code::API, chain(&error)).hint("the API's log has the details")
            }
            other => Self::other(chain(&other)),
        }
    }
}
