//! The command line, in the notation of Go's `flag` package.

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::process::ServeOptions;
use mig_types::duration;

/// What `-h` prints.
pub(crate) const USAGE: &str = "\
usage: mig-yara -m yara [flags]

Runs the module yara once: parameters message on standard input, result on standard
output. An agent starts it; so can a person.

  -m <module>    the module: yara
  -p             print for people instead of JSON
  -privacy       hide paths in the result
  -timeout <d>   end the run after so long, such as 300s (default: never)
  -threads <n>   scan so many files at a time (default: half of the processors)
  -V             print the version
";

const FLAGS: [Flag; 6] = [
    ("m", Kind::Text),
    ("p", Kind::Bool),
    ("privacy", Kind::Bool),
    ("timeout", Kind::Text),
    ("threads", Kind::Number),
    ("V", Kind::Bool),
];

/// The flags of one start.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) module: String,
    pub(crate) options: ServeOptions,
    pub(crate) version: bool,
    pub(crate) help: bool,
}

impl Flags {
    /// Reads arguments, the program's name not among them.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let given = match args::parse_or_empty(&FLAGS, args).map_err(|error| error.to_string())? {
            Outcome::Help => return Ok(Self { help: true, ..Self::default() }),
            Outcome::Options(given) => given,
        };
        let deadline = match given.text("timeout") {
            Some(text) => {
                Some(duration::parse(text).map_err(|error| format!("invalid -timeout: {error}"))?)
            }
            None => None,
        };
        let threads = given.number("threads", 0.0);
        if threads.fract() != 0.0 || !(0.0..=1024.0).contains(&threads) {
            return Err(format!("-threads must be a whole number up to 1024, got {threads}"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number up to 1024"
        )]
        let threads = threads as usize;
        Ok(Self {
            module: given.text("m").unwrap_or_default().to_owned(),
            options: ServeOptions {
                privacy: given.boolean("privacy", false),
                deadline,
                threads,
                print: given.boolean("p", false),
            },
            version: given.boolean("V", false),
            help: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(line: &str) -> Result<Flags, String> {
        Flags::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["-x", "yara", "-m", "-timeout 5", "-threads 1.5", "-threads 9999", "-p=maybe"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn reads_what_an_agent_hands_on() {
        let flags = parse("-m yara -p=false -privacy=true -timeout 1m30s -threads 2").unwrap();
        let options = ServeOptions {
            privacy: true,
            deadline: Some(Duration::from_secs(90)),
            threads: 2,
            print: false,
        };
        assert_eq!(flags, Flags { module: "yara".to_owned(), options, ..Flags::default() });
        assert!(parse("-h").unwrap().help && parse("--help").unwrap().help);
        assert!(parse("-V").unwrap().version);
        assert_eq!(parse("").unwrap(), Flags::default());
    }

    #[test]
    fn every_flag_is_in_the_usage() {
        for (name, _) in FLAGS {
            assert!(USAGE.contains(&format!("  -{name} ")), "{name}");
        }
    }
}
