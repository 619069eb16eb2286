//! Options of `mig` itself, as opposed to a module's.

use std::path::PathBuf;
use std::time::Duration;

use mig_types::{ActionId, duration};

use crate::render::Render;

use crate::print::Answer;

use mig_client::search::Kind;
use mig_terminal::failure::Failure;
use mig_terminal::format::{Form, Format, Layout};
use mig_terminal::output::{Color, Output, Progress};
use mig_terminal::settings::{MOST_RETRIES, environment};
use mig_terminal::{Session, files, grid, listing, narrate};

/// Validity of an action when `-e` does not say.
const DEFAULT_VALIDITY: Duration = Duration::from_mins(5);
/// Seconds counted down before a launch.
const DEFAULT_COUNTDOWN: u32 = 5;

/// Which results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Show {
    #[default]
    Found,
    NotFound,
    All,
}

impl Show {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotFound => "notfound",
            Self::All => "all",
        }
    }
}

/// When an exit code shall tell what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailOn {
    Found,
    Nothing,
}

/// The options given, with their defaults.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option of the command line")]
pub(crate) struct Globals {
    pub(crate) config: Option<PathBuf>,
    pub(crate) context: Option<String>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) target: Option<String>,
    pub(crate) validity: Duration,
    pub(crate) name: Option<String>,
    /// Searches with labels, as they were written.
    pub(crate) searches: Vec<String>,
    pub(crate) show: Show,
    pub(crate) print: bool,
    pub(crate) sign: bool,
    pub(crate) compress: bool,
    pub(crate) among: Option<(ActionId, bool)>,
    /// How much more is told.
    pub(crate) verbosity: u8,
    pub(crate) yes: bool,
    pub(crate) countdown: u32,
    pub(crate) dry_run: bool,
    /// Say in words what is about to happen.
    pub(crate) explain: bool,
    /// Where the action goes as it was signed and posted.
    pub(crate) save: Option<String>,
    pub(crate) no_follow: bool,
    pub(crate) timeout: Option<Duration>,
    /// What was said about the form of results.
    pub(crate) layout: Layout,
    /// The form they get.
    pub(crate) form: Form,
    pub(crate) render: Render,
    /// Show a map in the browser.
    pub(crate) open: bool,
    pub(crate) color: Color,
    pub(crate) progress: Progress,
    pub(crate) quiet: bool,
    connect_timeout: Option<Duration>,
    retry: Option<u32>,
    pub(crate) strict: bool,
    pub(crate) fail_on: Option<FailOn>,
    /// Names given, for options that make no sense together.
    given: Vec<&'static str>,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            config: None,
            context: None,
            key: None,
            target: None,
            validity: DEFAULT_VALIDITY,
            name: None,
            searches: Vec::new(),
            show: Show::Found,
            print: false,
            sign: false,
            compress: false,
            among: None,
            verbosity: 0,
            yes: false,
            countdown: DEFAULT_COUNTDOWN,
            dry_run: false,
            explain: false,
            save: None,
            no_follow: false,
            timeout: None,
            layout: Layout::default(),
            form: Form::default(),
            render: Render::Text,
            open: false,
            color: Color::Unsaid,
            progress: Progress::Auto,
            quiet: false,
            connect_timeout: None,
            retry: None,
            strict: false,
            fail_on: None,
            given: Vec::new(),
        }
    }
}

/// What an option is called and whether it takes a value.
struct Spec {
    name: &'static str,
    takes_value: bool,
}

const fn value(name: &'static str) -> Spec {
    Spec { name, takes_value: true }
}

const fn flag(name: &'static str) -> Spec {
    Spec { name, takes_value: false }
}

const SPECS: [Spec; 44] = [
    value("c"),
    value("t"),
    value("e"),
    value("n"),
    value("show"),
    value("render"),
    flag("p"),
    flag("s"),
    flag("z"),
    value("target-found"),
    value("target-notfound"),
    flag("v"),
    flag("vv"),
    flag("y"),
    flag("yes"),
    value("countdown"),
    flag("dry-run"),
    flag("no-follow"),
    value("timeout"),
    flag("json"),
    flag("ndjson"),
    flag("csv"),
    value("color"),
    flag("no-color"),
    flag("strict"),
    value("fail-on"),
    value("context"),
    value("key"),
    flag("stream"),
    flag("open"),
    flag("explain"),
    value("save"),
    value("search"),
    value("o"),
    value("output"),
    value("columns"),
    value("sort"),
    flag("no-header"),
    flag("wide"),
    flag("csv-safe"),
    flag("quiet"),
    value("progress"),
    value("connect-timeout"),
    value("retry"),
];

/// How an option stands on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// With its value after it, or none at all.
    Alone,
    /// The next word is its value.
    TakesNext,
}

/// `name` and `value` of `-name`, `--name`, `-name=value`; `None` for words.
pub(crate) fn split(arg: &str) -> Option<(&str, Option<&str>)> {
    let name = arg.strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    if name.is_empty() || name.starts_with(['-', '=']) {
        return None;
    }
    Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    })
}

/// Names of all options.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().map(|spec| spec.name)
}

/// Whether an argument is a global option.
pub(crate) fn known(arg: &str) -> Option<Known> {
    let (name, inline) = split(arg)?;
    let spec = SPECS.iter().find(|spec| spec.name == name)?;
    Some(if spec.takes_value && inline.is_none() { Known::TakesNext } else { Known::Alone })
}

/// Whether an argument is a global option that no module could mean.
pub(crate) fn known_long(arg: &str) -> Option<Known> {
    let (name, _) = split(arg)?;
    if name.len() > 1 { known(arg) } else { None }
}

impl Globals {
    /// Takes one option; `next` is the word after it, used when it takes a
    /// value of its own.
    pub(crate) fn take(&mut self, arg: &str, next: Option<&str>) -> Result<(), Failure> {
        let (name, inline) = split(arg).unwrap_or((arg, None));
        let Some(spec) = SPECS.iter().find(|spec| spec.name == name) else {
            return Err(Failure::usage(format!("unknown option -{name}")));
        };
        self.given.push(spec.name);
        if spec.takes_value {
            let value = inline
                .or(next)
                .ok_or_else(|| Failure::usage(format!("option -{name} needs a value")))?;
            self.set_value(spec.name, value)
        } else {
            let on = match inline {
                None => true,
                Some(text) => boolean(text).ok_or_else(|| {
                    Failure::usage(format!("-{name}={text}: the value must be true or false"))
                })?,
            };
            self.set_flag(spec.name, on)
        }
    }

    fn set_flag(&mut self, name: &str, on: bool) -> Result<(), Failure> {
        match name {
            "p" => self.print = on,
            "s" => self.sign = on,
            "z" => self.compress = on,
            "v" => self.verbosity = self.verbosity.max(u8::from(on)),
            "vv" => self.verbosity = self.verbosity.max(2 * u8::from(on)),
            "y" | "yes" => self.yes = on,
            "dry-run" => self.dry_run = on,
            "no-follow" => self.no_follow = on,
            "json" | "ndjson" | "csv" | "no-header" | "wide" | "csv-safe" => {
                self.layout.take_flag(name, on)?;
            }
            "quiet" => self.quiet = on,
            "no-color" if on => self.color = Color::Never,
            "strict" => self.strict = on,
            "open" => self.open = on,
            "explain" => self.explain = on,
            // `stream` is what it does anyway.
            _ => {}
        }
        Ok(())
    }

    fn set_value(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let choose =
            |choices: &str| Failure::usage(format!("-{name} must be {choices}, not {text:?}"));
        match name {
            "c" => self.config = Some(text.into()),
            "context" => self.context = Some(text.to_owned()),
            "key" => self.key = Some(text.into()),
            "save" => self.save = Some(text.to_owned()),
            "search" => self.searches.push(text.to_owned()),
            "t" => self.target = Some(text.to_owned()),
            "n" => self.name = Some(text.to_owned()),
            "e" => self.validity = period(name, text)?,
            "timeout" => self.timeout = Some(period(name, text)?),
            "countdown" => {
                self.countdown = text.parse().map_err(|_| choose("a number of seconds"))?;
            }
            "show" => {
                self.show = match text {
                    "found" => Show::Found,
                    "notfound" => Show::NotFound,
                    "all" => Show::All,
                    _ => return Err(choose("found, notfound or all")),
                };
            }
            "render" => {
                self.render = match text {
                    "text" => Render::Text,
                    "map" => Render::Map,
                    "geojson" => Render::GeoJson,
                    _ => return Err(choose("text, map or geojson")),
                };
            }
            "color" => {
                self.color = Color::parse(text).ok_or_else(|| choose("auto, always or never"))?;
            }
            "progress" => {
                self.progress =
                    Progress::parse(text).ok_or_else(|| choose("auto, plain or none"))?;
            }
            "connect-timeout" => self.connect_timeout = Some(period(name, text)?),
            "retry" => {
                let times = text.parse::<u32>().ok().filter(|times| *times <= MOST_RETRIES);
                self.retry = Some(times.ok_or_else(|| choose("a number up to 100"))?);
            }
            "o" | "output" | "columns" | "sort" => self.layout.take_value(name, text)?,
            "fail-on" => {
                self.fail_on = Some(match text {
                    "found" => FailOn::Found,
                    "none" => FailOn::Nothing,
                    _ => return Err(choose("found or none")),
                });
            }
            "target-found" | "target-notfound" => {
                if self.among.is_some() {
                    let message = "-target-found and -target-notfound exclude each other";
                    return Err(Failure::usage(message));
                }
                let id = text.parse().map_err(|_| choose("an action id"))?;
                self.among = Some((id, name == "target-found"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Settles in which form results, or what is printed instead of them, come.
    ///
    /// # Errors
    ///
    /// [`Failure`] for a form that is not possible, before anything is asked.
    pub(crate) fn settle(&mut self, output: &mut Output) -> Result<(), Failure> {
        if self.print || self.sign {
            return self.layout.form(&Format::FILE, output).map(drop);
        }
        if self.saves_to_output() {
            return self.leaves_output();
        }
        if self.render != Render::Text {
            return match self.layout.given() {
                Some(format) if format != Format::Text => {
                    let format = format.as_str();
                    let message =
                        format!("results are either drawn (-render) or given as {format}");
                    Err(Failure::usage(message))
                }
                _ => Ok(()),
            };
        }
        let form = self.layout.form(&Format::ALL, output)?;
        if self.dry_run {
            listing::check(Kind::Agent, &form)?;
        } else if self.no_follow {
            listing::check(Kind::Action, &form)?;
        } else {
            grid::check::<Answer>(&form)?;
        }
        self.form = form;
        Ok(())
    }

    /// Whether the action goes to standard output once it is signed.
    pub(crate) fn saves_to_output(&self) -> bool {
        self.save.as_deref() == Some(files::STANDARD) && !self.dry_run
    }

    /// That nothing else goes to standard output.
    fn leaves_output(&self) -> Result<(), Failure> {
        let clash = |what: &str| {
            let message =
                format!("--save - gives standard output to the action: no room for {what}");
            Failure::usage(message).hint("--save <file> keeps it beside the results")
        };
        if !self.no_follow {
            return Err(clash("results, without --no-follow"));
        }
        match self.layout.given() {
            Some(format) => Err(clash(&format!("the id as {}", format.as_str()))),
            None => Ok(()),
        }
    }

    /// Tells the output what of it is wanted.
    ///
    /// # Errors
    ///
    /// When more shall be told, and cannot.
    pub(crate) fn apply(&self, output: &mut Output) -> Result<(), Failure> {
        output.set_color(self.color);
        output.set_quiet(self.quiet);
        output.set_progress(self.progress()?);
        narrate("mig", self.verbosity)
    }

    /// The option, else `MIG_PROGRESS`, else what `config.toml` says.
    fn progress(&self) -> Result<Progress, Failure> {
        if self.given_of(&["progress"]).is_some() {
            return Ok(self.progress);
        }
        let Some(text) = environment("MIG_PROGRESS") else { return Ok(self.progress) };
        let odd = || format!("MIG_PROGRESS must be auto, plain or none, not {text:?}");
        Progress::parse(&text).ok_or_else(|| Failure::usage(odd()))
    }

    /// Tells a session about key and patience.
    pub(crate) fn equip(&self, session: &mut Session) {
        if let Some(key) = &self.key {
            session.config.signing_key = Some(key.clone());
        }
        session.set_patience(self.connect_timeout, self.retry, self.quiet);
    }

    /// Options that were given among `names`.
    pub(crate) fn given_of(&self, names: &[&'static str]) -> Option<&'static str> {
        self.given.iter().copied().find(|given| names.contains(given))
    }
}

/// Go's booleans.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A duration in Go's notation, or whole days and weeks.
fn period(option: &str, text: &str) -> Result<Duration, Failure> {
    let dashes = if option.len() > 1 { "--" } else { "-" };
    let parsed = duration::parse_period(text)
        .map_err(|error| Failure::usage(format!("{dashes}{option}: {error}")))?;
    if parsed.is_zero() {
        return Err(Failure::usage(format!("{dashes}{option} must be longer than zero")));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_values_that_make_no_sense() {
        for (arg, next) in [
            ("-show", Some("some")),
            ("-e", Some("5")),
            ("-e", Some("0s")),
            ("-e", None),
            ("-target-found", Some("1; drop table agents")),
            ("-p=maybe", None),
            ("--color=pink", None),
            ("-render", Some("globe")),
            ("-o", Some("yaml")),
            ("--output=", None),
            ("--columns", Some(",")),
            ("--progress", Some("bar")),
            ("--retry", Some("-1")),
            ("--retry", Some("101")),
            ("--connect-timeout", Some("5")),
        ] {
            let failure = Globals::default().take(arg, next).unwrap_err();
            assert_eq!(failure.code, 2, "{arg} {next:?}");
        }
        let mut both = Globals::default();
        both.take("-target-found", Some("1")).unwrap();
        assert!(both.take("-target-notfound", Some("2")).is_err());
    }

    #[test]
    fn what_is_printed_instead_of_results_has_a_form_too() {
        let settled = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let mut globals = Globals::default();
            let mut at = 0;
            while let Some(arg) = words.get(at) {
                let form = known(arg).unwrap();
                globals.take(arg, words.get(at + 1).copied()).unwrap();
                at += if form == Known::TakesNext { 2 } else { 1 };
            }
            globals.settle(&mut Output::kept()).map(|()| globals.form.format)
        };
        for line in [
            "-p -o csv",
            "-s --ndjson",
            "-render map -o json",
            "-render geojson --csv",
            "--columns name",
            "--dry-run -o table --sort agent",
            "--no-follow --columns agent",
        ] {
            assert_eq!(settled(line).unwrap_err().code, 2, "{line}");
        }
        for (line, format) in [
            ("-p -o json", Format::Text),
            ("-render map -o text", Format::Text),
            ("-o table --columns agent,line --sort -agent", Format::Table),
            ("--dry-run --columns name,os", Format::Table),
            ("--no-follow -o json", Format::Json),
        ] {
            assert_eq!(settled(line).unwrap(), format, "{line}");
        }
    }

    #[test]
    fn one_and_two_dashes_and_both_value_forms_are_the_same() {
        for (arg, next) in [("-e", Some("2d")), ("--e", Some("48h")), ("-e=2880m", None)] {
            let mut globals = Globals::default();
            globals.take(arg, next).unwrap();
            assert_eq!(globals.validity, Duration::from_hours(48), "{arg}");
        }
    }
}
