//! Words that have verbs: `mig loader enable 4`.

use std::str::FromStr;

use mig_client::Found;
use mig_client::search::{Kind, Search};
use mig_module::args::{self, Flag, Options, Outcome};
use mig_terminal::Session;
use mig_terminal::failure::Failure;
use mig_terminal::output::{Output, room};
use mig_terminal::{tables, text};
use serde::Serialize;

use super::COMMON;

/// A verb, what it is about, and options after them.
pub(super) struct Order {
    pub(super) words: Vec<String>,
    pub(super) options: Options,
    usage: &'static str,
}

impl Order {
    /// Takes a line apart; `None` when help was asked for, and printed.
    pub(super) fn read(
        line: &[String],
        own: &[Flag],
        usage: &'static str,
        output: &mut Output,
    ) -> Result<Option<Self>, Failure> {
        let flags: Vec<Flag> = own.iter().chain(&COMMON).copied().collect();
        let is_word = |word: &&String| !word.starts_with('-');
        let words: Vec<String> = line.iter().take_while(is_word).cloned().collect();
        let rest = line.get(words.len()..).unwrap_or_default();
        let asked = words.first().is_some_and(|word| word == "help");
        match args::parse_or_empty(&flags, rest) {
            Ok(Outcome::Options(options)) if !asked => {
                if options.boolean("no-color", false) {
                    output.set_color(mig_terminal::output::Color::Never);
                }
                Ok(Some(Self { words, options, usage }))
            }
            Ok(_) => {
                output.line(usage)?;
                Ok(None)
            }
            Err(error) => Err(Failure::usage(format!("{error}\n{usage}"))),
        }
    }

    pub(super) fn verb(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// That nothing stands after the verb and `most` words.
    pub(super) fn at_most(&self, most: usize) -> Result<(), Failure> {
        match self.words.get(most + 1) {
            Some(word) => Err(self.misused(&format!("unexpected word {word:?}"))),
            None => Ok(()),
        }
    }

    /// The only word after the verb, which is an identifier.
    pub(super) fn id<T: FromStr>(&self, what: &str) -> Result<T, Failure> {
        self.at_most(1)?;
        self.id_of_more(what)
    }

    /// The first word after the verb, which is an identifier.
    pub(super) fn id_of_more<T: FromStr>(&self, what: &str) -> Result<T, Failure> {
        let id = self.words.get(1).and_then(|word| word.parse().ok());
        id.ok_or_else(|| self.misused(&format!("the id of {what} is missing")))
    }

    /// An option that has to be given.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Failure> {
        let value = self.options.text(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| self.misused(&format!("-{name} is missing")))
    }

    pub(super) fn misused(&self, reason: &str) -> Failure {
        Failure::usage(format!("{reason}\n{}", self.usage))
    }

    pub(super) fn is_json(&self) -> bool {
        self.options.boolean("json", false)
    }

    /// What was not understood.
    pub(super) fn unknown(&self) -> Failure {
        match self.verb() {
            "" => Failure::usage(self.usage),
            verb => self.misused(&format!("unknown word {verb:?}")),
        }
    }

    /// `list`, with what else a search takes.
    pub(super) async fn list(
        &self,
        kind: Kind,
        session: &Session,
        output: &mut Output,
    ) -> Result<u8, Failure> {
        let conditions = self.words.get(1..).unwrap_or_default().join(" ");
        let search = Search::conditions(kind, &conditions, session.clock.now())
            .map_err(|error| Failure::usage(error.to_string()))?;
        find(&search, session, self.is_json(), output).await
    }
}

/// What a search finds: a table, or one JSON document a line.
pub(super) async fn find(
    search: &Search,
    session: &Session,
    json: bool,
    output: &mut Output,
) -> Result<u8, Failure> {
    let found = session.api_with_any_key("cmd")?.find(search).await?;
    super::show::note(&found);
    table(&found, json, output)?;
    Ok(0)
}

/// A table, or one JSON document a line.
pub(super) fn table(found: &Found, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        let lines = tables::json_lines(found).map_err(unwritten)?;
        return lines.iter().try_for_each(|line| output.line(line));
    }
    if found.is_empty() {
        output.say("no result");
        return Ok(());
    }
    tables::lines(found, room()).iter().try_for_each(|line| output.line(line))
}

/// One document in one line.
pub(super) fn document<T: Serialize>(value: &T, output: &mut Output) -> Result<(), Failure> {
    output.line(&text::compact(value).map_err(unwritten)?)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn unwritten(error: serde_json::Error) -> Failure {
    Failure::other(format!("cannot write JSON: {error}"))
}
