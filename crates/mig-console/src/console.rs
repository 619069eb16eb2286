//! What every mode works with.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use mig_client::search::Kind;
use mig_client::{ApiClient, ClientError, Signer};
use mig_module::Registry;
use mig_runtime::Interrupts;
use mig_terminal::Session;
use mig_terminal::failure::{Failure, code};
use mig_terminal::output::Paint;
use mig_types::Timestamp;

use crate::completion::{Helper, Scope};
use crate::editor::{Answer, Editor};
use crate::flags::Flags;
use crate::order::Order;
use crate::screen::{Screen, aside, complain};

/// The console, whatever mode it is in.
pub(crate) struct Console {
    pub(crate) session: Session,
    pub(crate) api: ApiClient,
    /// None when an API key says who calls: then nothing can be signed.
    signer: Option<Arc<dyn Signer>>,
    pub(crate) registry: Registry,
    pub(crate) screen: Screen,
    pub(crate) editor: Editor,
    pub(crate) interrupts: Interrupts,
}

/// What a mode does after an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Stay,
    Leave,
}

/// How a mode presents itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'a> {
    /// Its prompt, without a blank at the end.
    pub(crate) prompt: &'a str,
    pub(crate) paint: Paint,
    pub(crate) scope: Scope,
}

impl Console {
    pub(crate) fn open(flags: &Flags, interrupts: Interrupts) -> Result<Self, Failure> {
        let screen = Screen::new(flags.color);
        let (session, warnings) = Session::open(flags.config.as_deref(), flags.context.as_deref())?;
        for warning in warnings {
            aside(&format!("[warning] {warning}"));
        }
        if session.config.skipverifycert {
            aside("[warning] the API's certificate is not verified (api.skipverifycert)");
        }
        let signer = match session.signer() {
            Ok(signer) => Some(signer),
            Err(_) if session.config.apikey.is_some() => None,
            Err(failure) => return Err(failure),
        };
        let api = session.api("console", signer.clone())?;
        let registry = mig_modules::registry();
        let helper = Helper::new(
            registry.names().into_iter().map(str::to_owned).collect(),
            session.config.macros.iter().map(|(name, _)| name.to_owned()).collect(),
        );
        let home: Option<PathBuf> = session.config.home.clone();
        let editor = Editor::new(home.as_deref(), flags.quiet, helper)?;
        Ok(Self { session, api, signer, registry, screen, editor, interrupts })
    }

    pub(crate) fn say(&self, text: &str) {
        self.screen.say(text);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.session.clock.now()
    }

    /// Who signs.
    pub(crate) fn signer(&self) -> Result<Arc<dyn Signer>, Failure> {
        match &self.signer {
            Some(signer) => Ok(Arc::clone(signer)),
            None => Err(self.session.signer().err().unwrap_or_else(|| {
                Failure::new(code::SIGNING, "no key to sign with is configured")
            })),
        }
    }

    /// Waits for the API, unless ctrl-c ends the waiting.
    pub(crate) async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        self.unless_interrupted(async { work.await.map_err(Failure::from) }).await
    }

    /// Waits for anything, unless ctrl-c ends the waiting.
    pub(crate) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.interrupts.next() => Err(Failure::new(code::INTERRUPTED, "interrupted")),
        }
    }

    /// The next order of a mode; `None` when it shall be left.
    pub(crate) async fn order(&mut self, mode: Mode<'_>) -> Result<Option<Order>, Failure> {
        loop {
            if let Some(complaint) = self.editor.history.complaint() {
                aside(&complaint);
            }
            if self.screen.is_gone() {
                return Ok(None);
            }
            let color = self.screen.paint(mode.paint, "x") != "x";
            let answer = self
                .editor
                .read(mode.prompt, Some(mode.paint), color, mode.scope, &self.interrupts)
                .await?;
            match answer {
                Answer::Cancelled => {}
                Answer::End => {
                    // As after `exit`.
                    if mode.scope != Scope::Top {
                        self.say("");
                    }
                    return Ok(None);
                }
                Answer::Line(line) => {
                    let order = Order::new(&line);
                    match order.verb() {
                        "" => {}
                        "exit" => {
                            self.say("exit");
                            // The first mode has its farewell.
                            if mode.scope != Scope::Top {
                                self.say("");
                            }
                            return Ok(None);
                        }
                        _ => {
                            self.editor.remember(&order.line);
                            return Ok(Some(order));
                        }
                    }
                }
            }
        }
    }

    /// Asks a question; `None` when there is no answer.
    pub(crate) async fn ask(
        &mut self,
        question: &str,
        scope: Scope,
    ) -> Result<Option<String>, Failure> {
        let answer = self.editor.read(question, None, false, scope, &self.interrupts).await?;
        Ok(match answer {
            Answer::Line(line) => Some(line.trim().to_owned()),
            Answer::End | Answer::Cancelled => None,
        })
    }

    /// Whether the answer is exactly `y`.
    pub(crate) async fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        let question = format!("{question} (y/n)>");
        Ok(self.ask(&question, Scope::Nothing).await?.is_some_and(|answer| answer == "y"))
    }

    /// Says which mode begins, and how to get out of it.
    pub(crate) fn enter(&self, mode: &str) {
        let green = |text| self.screen.paint(Paint::BoldGreen, text);
        self.say(&format!(
            "Entering {mode} mode. Type {} or press {} to leave. {} may help.",
            green("exit"),
            green("ctrl+d"),
            green("help")
        ));
    }

    /// Says that a mode does not know an order.
    pub(crate) fn unknown(&self, order: &Order, mode: &str) -> Next {
        let verb = mig_module::text::printable(order.verb());
        self.say(&format!("Unknown order '{verb}'. You are in {mode} mode. Try `help`."));
        Next::Stay
    }

    /// Remembers an identifier for completion.
    pub(crate) fn saw(&mut self, kind: Kind, id: &impl ToString) {
        if let Some(helper) = self.editor.helper() {
            helper.saw(kind, &id.to_string());
        }
    }
}

/// What came of an order: a failure is told and changes nothing.
pub(crate) fn settle(outcome: Result<Next, Failure>) -> Result<Next, Failure> {
    match outcome {
        Ok(next) => Ok(next),
        Err(failure) if failure.is_closed_pipe() => Err(failure),
        Err(failure) => {
            complain(&failure);
            Ok(Next::Stay)
        }
    }
}
