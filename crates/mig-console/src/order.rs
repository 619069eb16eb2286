//! Orders: a word and what follows it.

use std::str::FromStr;

use mig_client::search::split;
use mig_terminal::failure::Failure;

/// One line of input, taken apart at blanks; quotes keep blanks together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) line: String,
    pub(crate) words: Vec<String>,
}

impl Order {
    pub(crate) fn new(line: &str) -> Self {
        let line = line.trim().to_owned();
        // An apostrophe is no quote: then blanks alone separate.
        let words =
            split(&line).unwrap_or_else(|_| line.split_whitespace().map(str::to_owned).collect());
        Self { line, words }
    }

    /// The first word.
    pub(crate) fn verb(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words after the first one.
    pub(crate) fn rest(&self) -> Vec<&str> {
        self.words.iter().skip(1).map(String::as_str).collect()
    }

    /// Everything after the first word as it was written, blanks made single.
    pub(crate) fn text(&self) -> String {
        self.line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    }

    /// The only word after the first one.
    pub(crate) fn only(&self) -> Option<&str> {
        match self.rest()[..] {
            [word] => Some(word),
            _ => None,
        }
    }

    /// Refuses words where an order takes none.
    pub(crate) fn alone(&self) -> Result<(), Failure> {
        match self.rest().first() {
            Some(word) => Err(Failure::usage(format!("'{}' takes no {word:?}", self.verb()))),
            None => Ok(()),
        }
    }

    /// The identifier of an order such as `action <id>`.
    pub(crate) fn id<T: FromStr>(&self) -> Result<T, Failure> {
        let verb = self.verb();
        let wrong = || Failure::usage(format!("wrong order format. must be '{verb} <id>'"));
        match self.rest()[..] {
            [] => {
                let message = format!("missing {verb} id in '{verb} <id>'");
                Err(Failure::usage(message))
            }
            [id] => id.parse().map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// A number of lines that may be left out.
    pub(crate) fn count(&self, usual: usize) -> Result<usize, Failure> {
        match self.rest()[..] {
            [] => Ok(usual),
            [count] => count.parse().map_err(|_| {
                Failure::usage(format!("{count:?} is not a number: '{} <count>'", self.verb()))
            }),
            _ => Err(Failure::usage(format!("must be '{} <count>'", self.verb()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::ActionId;

    #[test]
    fn doubled_blanks_separate_once_and_quotes_keep_blanks() {
        let order = Order::new("  search  agent where 'name=my host' ");
        assert_eq!(order.words, ["search", "agent", "where", "name=my host"]);
        assert_eq!(Order::new("setname Ada's   search").text(), "Ada's search");
        assert_eq!(Order::new("setname Ada's").words, ["setname", "Ada's"]);
        assert_eq!(Order::new("settarget name='a'").text(), "name='a'");
    }

    #[test]
    fn identifiers_are_digits_and_missing_ones_are_named() {
        let id = |line: &str| Order::new(line).id::<ActionId>().map_err(|failure| failure.message);
        assert_eq!(id("action 12").unwrap().get(), 12);
        assert_eq!(id("action 4.9e12").unwrap().get(), 4_900_000_000_000);
        assert_eq!(id("action").unwrap_err(), "missing action id in 'action <id>'");
        for line in ["action x", "action 1 2", "action -1"] {
            assert_eq!(id(line).unwrap_err(), "wrong order format. must be 'action <id>'");
        }
        assert!(Order::new("status now").alone().is_err());
        assert_eq!(Order::new("history").count(10).unwrap(), 10);
        assert!(Order::new("history x").count(10).is_err());
    }
}
