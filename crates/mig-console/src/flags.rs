//! The options of the console.

use std::path::PathBuf;

use mig_terminal::failure::Failure;
use mig_terminal::orders::USAGE;
use mig_terminal::output::Color;

/// What the console was started with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) context: Option<String>,
    pub(crate) quiet: bool,
    /// How much more is told.
    pub(crate) verbosity: u8,
    pub(crate) color: Color,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    Console(Flags),
    Version,
    Help,
}

pub(crate) fn parse(args: &[String]) -> Result<Invocation, Failure> {
    let mut flags = Flags::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let (name, inline) = arg
            .split_once('=')
            .map_or((arg.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
        let mut value = || {
            let next = inline.clone().or_else(|| rest.next().cloned());
            next.ok_or_else(|| misuse(&format!("option {name} needs a value")))
        };
        match name {
            "-c" | "--c" => flags.config = Some(value()?.into()),
            "-context" | "--context" => flags.context = Some(value()?),
            "-q" | "--q" | "-quiet" | "--quiet" => flags.quiet = true,
            "-v" | "--v" => flags.verbosity = flags.verbosity.max(1),
            "-vv" | "--vv" => flags.verbosity = 2,
            "-no-color" | "--no-color" => flags.color = Color::Never,
            "-color" | "--color" => {
                flags.color = match value()?.as_str() {
                    "auto" => Color::Auto,
                    "always" => Color::Always,
                    "never" => Color::Never,
                    other => return Err(misuse(&format!("there is no colour {other:?}"))),
                };
            }
            "-V" | "--V" | "-version" | "--version" => return Ok(Invocation::Version),
            "-h" | "-help" | "--help" => return Ok(Invocation::Help),
            _ => return Err(misuse(&format!("unknown option {arg}"))),
        }
    }
    Ok(Invocation::Console(flags))
}

fn misuse(reason: &str) -> Failure {
    Failure::usage(format!("{reason}\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn unknown_options_and_missing_values_are_misuse() {
        for line in ["-x", "stray", "-c", "--color pink"] {
            assert_eq!(parsed(line).unwrap_err().code, 2, "{line}");
        }
    }

    #[test]
    fn one_and_two_dashes_are_the_same() {
        let expected = Flags { config: Some("/x".into()), quiet: true, ..Flags::default() };
        for line in ["-c /x -q", "--c=/x --quiet"] {
            match parsed(line).unwrap() {
                Invocation::Console(flags) => assert_eq!(flags, expected, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert_eq!(parsed("-V").unwrap(), Invocation::Version);
    }
}
