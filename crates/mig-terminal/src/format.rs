//! In which form data is printed: the options, and what they mean together.

use mig_module::args::{Flag, Kind, Options};

use crate::failure::Failure;
use crate::output::Output;
use crate::settings::environment;

/// A form of data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people, in the layout of the original.
    #[default]
    Text,
    /// Columns as wide as the terminal has room for.
    Table,
    /// One document.
    Json,
    /// One document a line.
    NdJson,
    /// Rows with the quoting of RFC 4180.
    Csv,
    /// One name or identifier a line, for pipes.
    Name,
}

impl Format {
    pub const ALL: [Self; 6] =
        [Self::Text, Self::Table, Self::Json, Self::NdJson, Self::Csv, Self::Name];

    /// What there is nothing to choose of.
    pub const ONLY_TEXT: [Self; 1] = [Self::Text];

    /// A file to be, which is JSON in any case.
    pub const FILE: [Self; 2] = [Self::Text, Self::Json];

    /// One thing without rows.
    pub const DOCUMENT: [Self; 3] = [Self::Text, Self::Json, Self::NdJson];

    /// Things without names.
    pub const UNNAMED: [Self; 5] = [Self::Text, Self::Table, Self::Json, Self::NdJson, Self::Csv];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Table => "table",
            Self::Json => "json",
            Self::NdJson => "ndjson",
            Self::Csv => "csv",
            Self::Name => "name",
        }
    }

    /// The most like it among those that are there.
    fn nearest(self, offers: &[Self]) -> Self {
        let other = match self {
            Self::Json => Self::NdJson,
            Self::NdJson => Self::Json,
            _ => Self::Text,
        };
        [self, other].into_iter().find(|format| offers.contains(format)).unwrap_or_default()
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// `text, table or json`.
fn listed(formats: &[Format]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// What rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    pub column: String,
    pub descending: bool,
}

/// Options of every program that prints data.
pub const FLAGS: [Flag; 10] = [
    ("o", Kind::Text),
    ("output", Kind::Text),
    ("json", Kind::Bool),
    ("ndjson", Kind::Bool),
    ("csv", Kind::Bool),
    ("columns", Kind::Text),
    ("sort", Kind::Text),
    ("no-header", Kind::Bool),
    ("wide", Kind::Bool),
    ("csv-safe", Kind::Bool),
];

/// What options say about the form of data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The format, and the option that asked for it.
    given: Option<(Format, String)>,
    columns: Option<Vec<String>>,
    sort: Option<Sort>,
    no_header: bool,
    wide: bool,
    csv_safe: bool,
}

/// The form that data gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    pub format: Format,
    /// Names of the columns wanted; `None` for the usual ones.
    pub columns: Option<Vec<String>>,
    pub sort: Option<Sort>,
    pub header: bool,
    /// Do not cut what is wider than the terminal.
    pub wide: bool,
    /// Cells must not be formulas to a spreadsheet.
    pub csv_safe: bool,
}

impl Layout {
    /// Reads the [`FLAGS`] of a command line; `-o` too, unless it means
    /// something else there.
    ///
    /// # Errors
    ///
    /// [`Failure`] for wrong usage.
    pub fn read(options: &Options, short: bool) -> Result<Self, Failure> {
        let mut layout = Self::default();
        for (name, kind) in FLAGS {
            match kind {
                Kind::Bool if options.has(name) => {
                    layout.take_flag(name, options.boolean(name, false))?;
                }
                Kind::Bool => {}
                _ if name == "o" && !short => {}
                _ => {
                    for value in options.list(name) {
                        layout.take_value(name, &value)?;
                    }
                }
            }
        }
        Ok(layout)
    }

    /// Takes an option that is on or off.
    ///
    /// # Errors
    ///
    /// [`Failure`] when two options disagree.
    pub fn take_flag(&mut self, name: &str, on: bool) -> Result<(), Failure> {
        match name {
            "no-header" => self.no_header = on,
            "wide" => self.wide = on,
            "csv-safe" => self.csv_safe = on,
            name => {
                if let Some(format) = Format::parse(name).filter(|_| on) {
                    return self.choose(format, format!("--{name}"));
                }
            }
        }
        Ok(())
    }

    /// Takes an option with a value.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the value makes no sense, or two options disagree.
    pub fn take_value(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let dashes = if name.len() > 1 { "--" } else { "-" };
        match name {
            "o" | "output" => {
                let format = Format::parse(value).ok_or_else(|| {
                    let known = listed(&Format::ALL);
                    Failure::usage(format!("{dashes}{name} must be {known}, not {value:?}"))
                })?;
                return self.choose(format, format!("{dashes}{name} {value}"));
            }
            "columns" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                let names: Vec<String> = names.map(str::to_owned).collect();
                if names.is_empty() {
                    return Err(Failure::usage("--columns names no column"));
                }
                self.columns = Some(names);
            }
            "sort" => {
                let (column, descending) =
                    value.strip_prefix('-').map_or((value, false), |column| (column, true));
                if column.is_empty() {
                    return Err(Failure::usage("--sort names no column"));
                }
                self.sort = Some(Sort { column: column.to_owned(), descending });
            }
            _ => {}
        }
        Ok(())
    }

    fn choose(&mut self, format: Format, by: String) -> Result<(), Failure> {
        if let Some((other, before)) = &self.given
            && *other != format
        {
            return Err(Failure::usage(format!("{before} and {by} disagree: give one of them")));
        }
        self.given = Some((format, by));
        Ok(())
    }

    /// The format that an option asked for.
    pub fn given(&self) -> Option<Format> {
        self.given.as_ref().map(|(format, _)| *format)
    }

    /// The form of data that comes in these formats; without an option what
    /// `MIG_OUTPUT` says, or what is most like it, with a note of that.
    ///
    /// # Errors
    ///
    /// [`Failure`] for a format that is not offered, and for columns where the
    /// format has none.
    pub fn form(&self, offers: &[Format], output: &mut Output) -> Result<Form, Failure> {
        let variable = environment("MIG_OUTPUT");
        let (form, note) = self.resolve(offers, variable.as_deref())?;
        if let Some(note) = note {
            output.say(&note);
        }
        Ok(form)
    }

    /// The form, and what is to be said about it.
    fn resolve(
        &self,
        offers: &[Format],
        variable: Option<&str>,
    ) -> Result<(Form, Option<String>), Failure> {
        // Where there is nothing to choose, nobody's default is meant.
        let is_fixed = offers == Format::ONLY_TEXT || offers == Format::FILE;
        let variable = variable.filter(|_| !is_fixed);
        let usual = variable.map(|text| {
            let known = listed(&Format::ALL);
            let odd = || Failure::usage(format!("MIG_OUTPUT must be {known}, not {text:?}"));
            Format::parse(text).ok_or_else(odd)
        });
        let usual = usual.transpose()?;
        let has_columns = |format| matches!(format, Format::Table | Format::Csv);
        let (format, by) = match (&self.given, usual) {
            (Some(given), _) => given.clone(),
            // A default is no wish: whoever wants columns wants them shown.
            (None, usual) if self.columns.is_some() => {
                let usual = usual.filter(|format| has_columns(*format));
                (usual.unwrap_or(Format::Table), "--columns".to_owned())
            }
            (None, usual) => (usual.unwrap_or_default().nearest(offers), String::new()),
        };
        let is_chosen = self.given.is_some() || self.columns.is_some();
        let other = usual.filter(|usual| !is_chosen && !offers.contains(usual));
        let note = other.map(|usual| {
            let (usual, format) = (usual.as_str(), format.as_str());
            format!("[notice] MIG_OUTPUT={usual} is not possible here: this is {format}")
        });
        if !offers.contains(&format) {
            let can = listed(offers);
            let message = format!("{by} is not possible here: this is printed as {can}");
            return Err(Failure::usage(message));
        }
        if self.columns.is_some() && !has_columns(format) {
            let message = format!("--columns is for the formats table and csv, not for {by}");
            return Err(Failure::usage(message));
        }
        if self.sort.is_some() && offers == Format::ONLY_TEXT {
            return Err(Failure::usage("--sort is not possible here: there are no columns"));
        }
        let form = Form {
            format,
            columns: self.columns.clone(),
            sort: self.sort.clone(),
            header: !self.no_header,
            wide: self.wide,
            csv_safe: self.csv_safe,
        };
        Ok((form, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_module::args::{Outcome, parse_or_empty};

    fn layout(line: &str) -> Result<Layout, Failure> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match parse_or_empty(&FLAGS, &words).unwrap() {
            Outcome::Options(options) => Layout::read(&options, true),
            Outcome::Help => panic!("{line}"),
        }
    }

    fn resolved(line: &str, offers: &[Format], variable: Option<&str>) -> Result<Form, Failure> {
        layout(line)?.resolve(offers, variable).map(|(form, _)| form)
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_what_can() {
        for (line, offers, variable, reason) in [
            ("-o yaml", &Format::ALL[..], None, "text, table, json, ndjson, csv or name"),
            ("-o json --csv", &Format::ALL, None, "-o json and --csv disagree"),
            ("--json --ndjson", &Format::ALL, None, "--json and --ndjson disagree"),
            ("-o csv --output name", &Format::ALL, None, "disagree"),
            ("-o csv", &Format::DOCUMENT, None, "-o csv is not possible here"),
            ("-o csv", &Format::DOCUMENT, None, "printed as text, json or ndjson"),
            ("-o csv", &Format::DOCUMENT, Some("json"), "-o csv is not possible here"),
            ("", &Format::ALL, Some("yaml"), "MIG_OUTPUT must be"),
            ("--json", &Format::ONLY_TEXT, None, "printed as text"),
            ("-o json --columns id", &Format::ALL, None, "not for -o json"),
            ("-o text --columns id", &Format::ALL, None, "table and csv"),
            ("--columns id", &Format::ONLY_TEXT, None, "--columns is not possible here"),
            ("--columns ,", &Format::ALL, None, "names no column"),
            ("--sort -", &Format::ALL, None, "names no column"),
            ("--sort id", &Format::ONLY_TEXT, None, "no columns"),
        ] {
            let failure = resolved(line, offers, variable).unwrap_err();
            assert_eq!(failure.code, 2, "{line}");
            assert!(failure.message.contains(reason), "{line}: {}", failure.message);
        }
    }

    #[test]
    fn an_option_comes_before_the_environment() {
        for (line, variable, format) in [
            ("", None, Format::Text),
            ("", Some("csv"), Format::Csv),
            ("-o name", Some("csv"), Format::Name),
            ("-o text", Some("csv"), Format::Text),
            ("--output=table", None, Format::Table),
            ("--json -o json --output json", None, Format::Json),
            ("--json=false --csv", None, Format::Csv),
            ("--columns id", None, Format::Table),
            ("--columns id", Some("json"), Format::Table),
            ("--columns id", Some("csv"), Format::Csv),
            ("-o csv --columns id", Some("json"), Format::Csv),
        ] {
            assert_eq!(resolved(line, &Format::ALL, variable).unwrap().format, format, "{line}");
        }
        for fixed in [&Format::ONLY_TEXT[..], &Format::FILE] {
            assert_eq!(resolved("", fixed, Some("csv")).unwrap().format, Format::Text);
        }
    }

    #[test]
    fn what_the_environment_prefers_is_had_as_nearly_as_can_be() {
        const LINES: [Format; 2] = [Format::Text, Format::NdJson];
        for (offers, variable, line, format, noted) in [
            (&Format::DOCUMENT[..], "name", "", Format::Text, true),
            (&Format::DOCUMENT, "csv", "", Format::Text, true),
            (&Format::DOCUMENT, "table", "", Format::Text, true),
            (&Format::DOCUMENT, "ndjson", "", Format::NdJson, false),
            (&Format::UNNAMED, "name", "", Format::Text, true),
            (&Format::UNNAMED, "name", "-o csv", Format::Csv, false),
            (&Format::UNNAMED, "name", "--columns id", Format::Table, false),
            (&LINES, "json", "", Format::NdJson, true),
            (&[Format::Json], "ndjson", "", Format::Json, true),
            // Nothing can be chosen there, so that nothing is amiss.
            (&Format::FILE, "ndjson", "", Format::Text, false),
            (&Format::ONLY_TEXT, "json", "", Format::Text, false),
        ] {
            let (form, note) = layout(line).unwrap().resolve(offers, Some(variable)).unwrap();
            assert_eq!(form.format, format, "{offers:?} {variable} {line}");
            let said = format!(
                "[notice] MIG_OUTPUT={variable} is not possible here: this is {}",
                format.as_str()
            );
            assert_eq!(note, noted.then_some(said), "{offers:?} {variable} {line}");
        }
    }

    #[test]
    fn a_dash_before_the_column_turns_the_order() {
        let form = resolved("--sort -id --no-header", &Format::ALL, None).unwrap();
        assert_eq!(form.sort, Some(Sort { column: "id".into(), descending: true }));
        assert!(!form.header);
        let form = resolved("--columns a,,b", &Format::ALL, None).unwrap();
        assert_eq!(form.columns.unwrap(), ["a", "b"]);
    }
}
