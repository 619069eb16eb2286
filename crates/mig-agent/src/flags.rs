//! The command line, in the notation of Go's `flag` package.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `-h` prints.
pub const USAGE: &str = "\
usage: mig-agent [flags]

Runs what investigators signed on this machine and answers them.

  -c <file>    configuration file (default /etc/mig/mig-agent.cfg)
  -d           debug: stay in foreground, log everything to standard output
  -f           stay in foreground
  -m <mode>    'agent' (default); 'agent-checkin': connect, work off what waits,
               end; or a module to run once: parameters message on
               standard input, result on standard output
  -i <file>    run the operations of an action file and print their results
  -p           with -m or -i: print for people instead of JSON
  -q <text>    ask the running agent through its socket: pid, help, status,
               history; 'shutdown' stops it and waits until it is gone
  -u           after an upgrade: install and start the service anew, and end
  -n           never start persistent modules
  -P <module>  host a persistent module
  -S           print the effective settings, without secrets
  -show <file> print what an agent's program carries, without secrets;
               'self' is this one
  -embed <cfg> make a copy of an agent's program that carries a configuration
               and the keys, access list and certificates it names:
               -from <program> (default: this one), -out <program>
  -V           print the version
";

/// The mode that is the daemon.
pub const MODE_AGENT: &str = "agent";
/// The mode that connects once, works and ends.
pub const MODE_CHECKIN: &str = "agent-checkin";

/// The flags of one start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of the command line")]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub debug: bool,
    pub foreground: bool,
    pub mode: String,
    pub action: Option<PathBuf>,
    pub print: bool,
    pub query: Option<String>,
    pub upgrading: bool,
    pub version: bool,
    pub persistent: Option<String>,
    pub no_persistent: bool,
    pub settings: bool,
    pub help: bool,
    pub show: Option<PathBuf>,
    pub embed: Option<PathBuf>,
    pub from: Option<PathBuf>,
    pub out: Option<PathBuf>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            config: None,
            debug: false,
            foreground: false,
            mode: MODE_AGENT.to_owned(),
            action: None,
            print: false,
            query: None,
            upgrading: false,
            version: false,
            persistent: None,
            no_persistent: false,
            settings: false,
            help: false,
            show: None,
            embed: None,
            from: None,
            out: None,
        }
    }
}

/// Why the command line makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NeedsValue(String),
    #[error("invalid boolean value {value:?} for -{name}")]
    NotBoolean { name: String, value: String },
    #[error("unexpected argument {0:?}")]
    Unexpected(String),
    #[error("an argument is not valid text: {0:?}")]
    NotText(OsString),
}

impl Flags {
    /// Reads arguments, the program's name not among them: `-x v`, `-x=v`, with
    /// one dash or two; switches stand alone or as `-x=true`.
    ///
    /// # Errors
    ///
    /// [`UsageError`] on the first argument that is not understood.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut flags = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let arg = arg.into_string().map_err(UsageError::NotText)?;
            let Some(bare) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                return Err(UsageError::Unexpected(arg));
            };
            let (name, value) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare, None),
            };
            if let Some(switch) = flags.switch(name) {
                *switch = boolean(name, value.as_deref())?;
                continue;
            }
            let mut text = || match value.clone() {
                Some(value) => Ok(value),
                None => args
                    .next()
                    .ok_or_else(|| UsageError::NeedsValue(name.to_owned()))?
                    .into_string()
                    .map_err(UsageError::NotText),
            };
            match name {
                "c" => flags.config = Some(text()?.into()),
                "m" => flags.mode = text()?,
                "i" => flags.action = Some(text()?.into()),
                "q" => flags.query = Some(text()?),
                "show" => flags.show = Some(text()?.into()),
                "embed" => flags.embed = Some(text()?.into()),
                "from" => flags.from = Some(text()?.into()),
                "out" => flags.out = Some(text()?.into()),
                "P" => flags.persistent = Some(text()?),
                _ => return Err(UsageError::Unknown(name.to_owned())),
            }
        }
        Ok(flags)
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "d" => &mut self.debug,
            "f" => &mut self.foreground,
            "p" => &mut self.print,
            "u" => &mut self.upgrading,
            "V" => &mut self.version,
            "n" => &mut self.no_persistent,
            "S" => &mut self.settings,
            "h" | "help" => &mut self.help,
            _ => return None,
        })
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, UsageError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            Err(UsageError::NotBoolean { name: name.to_owned(), value: value.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags, UsageError> {
        Flags::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn refuses_what_go_refuses() {
        assert_eq!(parse(&["-x"]), Err(UsageError::Unknown("x".into())));
        assert_eq!(parse(&["-c"]), Err(UsageError::NeedsValue("c".into())));
        assert!(matches!(parse(&["-d=maybe"]), Err(UsageError::NotBoolean { .. })));
        assert_eq!(parse(&["file"]), Err(UsageError::Unexpected("file".into())));
        assert_eq!(parse(&["-d", "false"]), Err(UsageError::Unexpected("false".into())));
    }

    #[test]
    fn reads_every_spelling() {
        for args in [&["-m", "file"][..], &["-m=file"], &["--m", "file"], &["--m=file"]] {
            assert_eq!(parse(args).unwrap().mode, "file", "{args:?}");
        }
        let flags = parse(&["-d", "-f=true", "-p=false", "-c", "-odd-name", "-q=pid"]).unwrap();
        assert!(flags.debug && flags.foreground && !flags.print);
        assert_eq!(flags.config, Some("-odd-name".into()));
        assert_eq!(flags.query.as_deref(), Some("pid"));
        assert_eq!(parse(&[]).unwrap().mode, MODE_AGENT);
    }
}
