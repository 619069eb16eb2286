//! Words that have verbs: `mig loader enable 4`.

use std::str::FromStr;

use mig_client::search::{Kind, Search};
use mig_module::args::{Flag, Options};
use mig_terminal::failure::Failure;
use mig_terminal::format::{Form, Format};
use mig_terminal::grid::{self, Row};
use mig_terminal::output::Output;
use mig_terminal::{Session, listing};
use serde::Serialize;

/// A verb, what it is about, and options after them.
pub(super) struct Order {
    pub(super) words: Vec<String>,
    pub(super) options: Options,
    /// In which form the data of the verb comes.
    pub(super) form: Form,
    usage: &'static str,
}

impl Order {
    /// Takes a line apart; `None` when help was asked for, and printed. `offers`
    /// tells the formats of a verb.
    pub(super) fn read(
        line: &[String],
        own: &[Flag],
        usage: &'static str,
        offers: fn(&str) -> &'static [Format],
        output: &mut Output,
    ) -> Result<Option<Self>, Failure> {
        let is_word = |word: &&String| !word.starts_with('-');
        let words: Vec<String> = line.iter().take_while(is_word).cloned().collect();
        let rest = line.get(words.len()..).unwrap_or_default();
        if words.first().is_some_and(|word| word == "help") {
            output.line(usage)?;
            return Ok(None);
        }
        let Some(options) = super::options(own, rest, usage, output)? else { return Ok(None) };
        let offers = offers(words.first().map_or("", String::as_str));
        let form = super::form(&options, own, offers, output)?;
        Ok(Some(Self { words, options, form, usage }))
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
        find(&search, session, &self.form, output).await
    }

    /// One thing: `text` for people, or the form that was asked for.
    pub(super) fn print<T: Row + Serialize>(
        &self,
        thing: &T,
        text: impl FnOnce() -> Result<String, Failure>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        single(thing, &self.form, text, output)
    }
}

/// One thing: `text` for people, or the form that was asked for.
pub(super) fn single<T: Row + Serialize>(
    thing: &T,
    form: &Form,
    text: impl FnOnce() -> Result<String, Failure>,
    output: &mut Output,
) -> Result<(), Failure> {
    grid::check::<T>(form)?;
    if form.format == Format::Text {
        return output.line(&text()?);
    }
    listing::print_one(thing, form, output)
}

/// Prints what a search finds.
pub(super) async fn find(
    search: &Search,
    session: &Session,
    form: &Form,
    output: &mut Output,
) -> Result<u8, Failure> {
    listing::check(search.kind, form)?;
    let found = session.api_with_any_key("cmd")?.find(search).await?;
    super::show::note(&found);
    listing::found(found, form, output)?;
    Ok(0)
}

/// Every format.
pub(super) fn any(_verb: &str) -> &'static [Format] {
    &Format::ALL
}

/// Lists and things in every format, what changes something as text.
pub(super) fn of_lists_and_things(verb: &str) -> &'static [Format] {
    match verb {
        "list" | "show" | "loaders" => &Format::ALL,
        _ => &Format::ONLY_TEXT,
    }
}
