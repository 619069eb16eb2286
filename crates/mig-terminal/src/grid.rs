//! Things as rows: as a table that fits a terminal, and as CSV.

use mig_module::text::printable;
use mig_types::ActionId;
use unicode_width::UnicodeWidthStr as _;

use crate::failure::Failure;
use crate::format::{Form, Format};

/// A column that things of one kind have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// In which formats it stands when nobody chooses columns.
    usual: Usual,
    /// Sorted as a number, and shown on the right.
    is_number: bool,
    /// The first to go where a terminal has no room; 0 stays.
    expendable: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    Always,
    Csv,
    Never,
}

impl Field {
    /// One that stands in tables and in CSV.
    pub const fn new(name: &'static str) -> Self {
        Self { name, usual: Usual::Always, is_number: false, expendable: 0 }
    }

    /// One that tables have on demand only.
    pub const fn csv(name: &'static str) -> Self {
        Self { name, usual: Usual::Csv, is_number: false, expendable: 0 }
    }

    /// One that stands nowhere unless it is asked for.
    pub const fn hidden(name: &'static str) -> Self {
        Self { name, usual: Usual::Never, is_number: false, expendable: 0 }
    }

    #[must_use]
    pub const fn number(mut self) -> Self {
        self.is_number = true;
        self
    }

    /// The higher, the sooner it is left out of a narrow table.
    #[must_use]
    pub const fn expendable(mut self, rank: u8) -> Self {
        self.expendable = rank;
        self
    }
}

/// A thing that can be a row.
pub trait Row {
    /// Its columns, in their order.
    const FIELDS: &'static [Field];

    /// The cell of one of them, as it is: not yet made printable.
    fn cell(&self, field: &str) -> String;

    /// What the next program of a pipe wants to know of it.
    fn name(&self) -> String;

    /// The action it is, if it is one.
    fn action(&self) -> Option<ActionId> {
        None
    }
}

/// That the columns a form names are there.
///
/// # Errors
///
/// [`Failure`] for wrong usage, with the columns there are.
pub fn check<T: Row>(form: &Form) -> Result<(), Failure> {
    selected(T::FIELDS, form)?;
    sorted_by(T::FIELDS, form).map(|_| ())
}

fn find(fields: &[Field], name: &str) -> Result<Field, Failure> {
    let found = fields.iter().find(|field| field.name == name).copied();
    found.ok_or_else(|| {
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        Failure::usage(format!("there is no column {name:?}, only {}", known.join(", ")))
    })
}

/// The columns of a form, in their order.
fn selected(fields: &[Field], form: &Form) -> Result<Vec<Field>, Failure> {
    if let Some(names) = &form.columns {
        // Asked for by name, none of them is left out.
        let kept = |field: Field| field.expendable(0);
        return names.iter().map(|name| find(fields, name).map(kept)).collect();
    }
    let usual = |field: &&Field| match form.format {
        Format::Csv => field.usual != Usual::Never,
        _ => field.usual == Usual::Always,
    };
    Ok(fields.iter().filter(usual).copied().collect())
}

fn sorted_by(fields: &[Field], form: &Form) -> Result<Option<(Field, bool)>, Failure> {
    let Some(sort) = &form.sort else { return Ok(None) };
    Ok(Some((find(fields, &sort.column)?, sort.descending)))
}

/// Puts things in the order a form asks for; equal ones stay as they came.
///
/// # Errors
///
/// As [`check`].
pub fn sort<T: Row>(things: &mut Vec<T>, form: &Form) -> Result<(), Failure> {
    let Some((field, descending)) = sorted_by(T::FIELDS, form)? else { return Ok(()) };
    let key = |thing: &T| Key::of(thing.cell(field.name), field.is_number);
    let mut keyed: Vec<(Key, T)> =
        std::mem::take(things).into_iter().map(|thing| (key(&thing), thing)).collect();
    keyed.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
    things.extend(keyed.into_iter().map(|(_, thing)| thing));
    Ok(())
}

/// A cell, in an order people expect.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(bool, u128),
    Text(String),
}

impl Key {
    fn of(cell: String, is_number: bool) -> Self {
        if !is_number {
            return Self::Text(cell);
        }
        let (sign, digits) = cell.strip_prefix('-').map_or((true, cell.as_str()), |d| (false, d));
        match digits.parse::<u128>() {
            // Of those below zero the larger digits are the smaller number.
            Ok(number) => Self::Number(sign, if sign { number } else { u128::MAX - number }),
            Err(_) => Self::Text(cell),
        }
    }
}

/// Rows of one kind on their way out: CSV as they come, tables once all came.
#[derive(Debug)]
pub struct Rows {
    fields: Vec<Field>,
    format: Format,
    header: bool,
    csv_safe: bool,
    held: Vec<Vec<String>>,
}

impl Rows {
    /// Rows in the form of a table or of CSV.
    ///
    /// # Errors
    ///
    /// As [`check`].
    pub fn new<T: Row>(form: &Form) -> Result<Self, Failure> {
        Ok(Self {
            fields: selected(T::FIELDS, form)?,
            format: form.format,
            header: form.header,
            csv_safe: form.csv_safe,
            held: Vec::new(),
        })
    }

    /// The line above all others, once, if it is wanted.
    pub fn heading(&mut self) -> Option<String> {
        let wanted = self.format == Format::Csv && std::mem::take(&mut self.header);
        let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
        wanted.then(|| csv(names, false))
    }

    /// The line of one thing; a table holds it back.
    pub fn add<T: Row>(&mut self, thing: &T) -> Option<String> {
        let cells: Vec<String> = self.fields.iter().map(|field| thing.cell(field.name)).collect();
        if self.format == Format::Csv {
            return Some(csv(&cells, self.csv_safe));
        }
        self.held.push(cells.iter().map(|cell| printable(cell)).collect());
        None
    }

    /// The lines of a table in so many columns of a terminal.
    pub fn table(&mut self, room: usize) -> Vec<String> {
        let rows = std::mem::take(&mut self.held);
        table(&self.fields, &rows, room, std::mem::take(&mut self.header))
    }
}

/// Cells as RFC 4180 wants them, without the end of the line. Control characters
/// are escapes: files are looked at on terminals. With `safe` no cell is a
/// formula to a spreadsheet.
pub fn csv<T: AsRef<str>>(cells: impl IntoIterator<Item = T>, safe: bool) -> String {
    let mut line = String::new();
    let mut count = 0;
    for cell in cells {
        let mut text = printable(cell.as_ref());
        if safe && text.starts_with(['=', '+', '-', '@']) {
            text.insert(0, '\'');
        }
        if count > 0 {
            line.push(',');
        }
        count += 1;
        if text.contains([',', '"']) {
            line.extend(["\"", &text.replace('"', "\"\""), "\""]);
        } else {
            line.push_str(&text);
        }
    }
    // An empty line is no row to some readers.
    if line.is_empty() && count == 1 { "\"\"".to_owned() } else { line }
}

/// Between columns.
const GAP: usize = 2;
/// No column is cut below this while there is another way.
const LEAST: usize = 8;

fn table(fields: &[Field], rows: &[Vec<String>], room: usize, header: bool) -> Vec<String> {
    let headings: Vec<String> = fields.iter().map(|field| field.name.to_uppercase()).collect();
    let widest = |(at, heading): (usize, &String)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
        let widest = cells.max().unwrap_or(0);
        if header { widest.max(heading.width()) } else { widest }
    };
    let natural: Vec<usize> = headings.iter().enumerate().map(widest).collect();
    let shown = fit(fields, &natural, room);
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (place, (at, width)) in shown.iter().enumerate() {
            let (Some(cell), Some(field)) = (cells.get(*at), fields.get(*at)) else { continue };
            let cell = clip(cell, *width);
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            if place > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            if field.is_number {
                line.extend([blanks.as_str(), &cell]);
            } else if place + 1 < shown.len() {
                line.extend([cell.as_str(), &blanks]);
            } else {
                line.push_str(&cell);
            }
        }
        clip(line.trim_end(), room)
    };
    let heading = header.then(|| line(&headings));
    heading.into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

/// Which columns are shown, and how wide.
fn fit(fields: &[Field], natural: &[usize], room: usize) -> Vec<(usize, usize)> {
    let mut shown: Vec<(usize, usize)> = natural.iter().copied().enumerate().collect();
    let is_number = |at: usize| fields.get(at).is_some_and(|field| field.is_number);
    let rank = |at: usize| fields.get(at).map_or(0, |field| field.expendable);
    let total = |shown: &[(usize, usize)]| {
        shown.iter().map(|(_, width)| width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while total(&shown) > room {
        // What could be cut, before whole columns go.
        let slack = |(at, width): &(usize, usize)| {
            if is_number(*at) { 0 } else { width.saturating_sub(LEAST) }
        };
        let too_much = total(&shown) - room;
        if shown.iter().map(slack).sum::<usize>() >= too_much {
            narrow(&mut shown, too_much, LEAST, &is_number);
            break;
        }
        let goes = shown.iter().enumerate().max_by_key(|(_, (at, _))| rank(*at));
        let Some(place) = goes.filter(|(_, (at, _))| rank(*at) > 0).map(|(place, _)| place) else {
            narrow(&mut shown, too_much, 1, &|_| false);
            break;
        };
        shown.remove(place);
    }
    shown
}

/// Takes columns off the widest ones, down to a least width.
fn narrow(
    shown: &mut [(usize, usize)],
    mut too_much: usize,
    least: usize,
    fixed: &impl Fn(usize) -> bool,
) {
    while too_much > 0 {
        let cut = |(at, width): &(usize, usize)| !fixed(*at) && *width > least;
        let mut widths: Vec<usize> =
            shown.iter().filter(|one| cut(one)).map(|(_, width)| *width).collect();
        widths.sort_unstable_by(|a, b| b.cmp(a));
        let Some(most) = widths.first().copied() else { return };
        let ties = widths.iter().take_while(|width| **width == most).count();
        let next = widths.get(ties).copied().unwrap_or(least).max(least);
        // All of the widest go down together, as far as the next one.
        let step = (most - next).min(too_much.div_ceil(ties)).max(1);
        for (at, width) in shown.iter_mut() {
            if too_much > 0 && !fixed(*at) && *width == most {
                let taken = step.min(too_much);
                *width -= taken;
                too_much -= taken;
            }
        }
    }
}

/// A printable text in at most so many columns, cut with dots where they fit.
fn clip(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let dots = if columns > 3 { "..." } else { "" };
    let room = columns - dots.len();
    let mut short = String::new();
    // Some characters take no column; they must not make this long.
    for c in text.chars().take(columns.saturating_mul(4)) {
        short.push(c);
        if short.width() > room {
            short.pop();
            break;
        }
    }
    short.push_str(dots);
    // A character may widen what stands before it.
    while short.width() > columns && short.pop().is_some() {}
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Sort;
    use proptest::prelude::*;

    /// A machine, as far as these tests go.
    #[derive(Debug, Clone, PartialEq)]
    struct Machine(u64, String, String);

    impl Row for Machine {
        const FIELDS: &'static [Field] = &[
            Field::new("id").number(),
            Field::new("name"),
            Field::new("note").expendable(1),
            Field::csv("both"),
            Field::hidden("secret"),
        ];

        fn cell(&self, field: &str) -> String {
            match field {
                "id" => self.0.to_string(),
                "name" => self.1.clone(),
                "note" => self.2.clone(),
                "both" => format!("{},{}", self.1, self.2),
                _ => "secret".to_owned(),
            }
        }

        fn name(&self) -> String {
            self.1.clone()
        }
    }

    fn machines() -> Vec<Machine> {
        [(10, "web10", "x"), (9, "web9", "a \"b\", c"), (9, "=db", "")]
            .map(|(id, name, note)| Machine(id, name.to_owned(), note.to_owned()))
            .to_vec()
    }

    fn form(format: Format, columns: &[&str], sort: Option<&str>) -> Form {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Form {
            format,
            columns: Some(columns).filter(|columns| !columns.is_empty()),
            sort: sort.map(|text| Sort {
                column: text.trim_start_matches('-').to_owned(),
                descending: text.starts_with('-'),
            }),
            header: true,
            ..Form::default()
        }
    }

    fn printed(form: &Form, room: usize) -> Vec<String> {
        let mut things = machines();
        sort(&mut things, form).unwrap();
        let mut rows = Rows::new::<Machine>(form).unwrap();
        let mut lines: Vec<String> = rows.heading().into_iter().collect();
        lines.extend(things.iter().filter_map(|thing| rows.add(thing)));
        if form.format == Format::Table {
            lines.extend(rows.table(room));
        }
        lines
    }

    #[test]
    fn unknown_columns_are_refused_with_those_there_are() {
        for unknown in [
            form(Format::Csv, &["name", "nam"], None),
            form(Format::Table, &[], Some("nam")),
            form(Format::Name, &[], Some("-nam")),
        ] {
            let failure = check::<Machine>(&unknown).unwrap_err();
            assert_eq!(failure.code, 2);
            let text = "there is no column \"nam\", only id, name, note, both, secret";
            assert_eq!(failure.message, text);
        }
        check::<Machine>(&form(Format::Csv, &["secret"], Some("-id"))).unwrap();
    }

    #[test]
    fn rows_of_csv_are_those_of_the_standard() {
        assert_eq!(
            printed(&form(Format::Csv, &[], None), 0),
            [
                "id,name,note,both",
                "10,web10,x,\"web10,x\"",
                "9,web9,\"a \"\"b\"\", c\",\"web9,a \"\"b\"\", c\"",
                "9,=db,,\"=db,\"",
            ]
        );
        let safe = Form { csv_safe: true, header: false, ..form(Format::Csv, &["name"], None) };
        assert_eq!(printed(&safe, 0), ["web10", "web9", "'=db"]);
        for (cell, line) in [
            ("+1", "'+1"),
            ("-1,2", "\"'-1,2\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("a=b", "a=b"),
            ("two\nlines\u{1b}[2J", "two\\nlines\\x1b[2J"),
            ("", "\"\""),
        ] {
            assert_eq!(csv([cell], true), line);
        }
        assert_eq!(csv(["", ""], false), ",");
    }

    #[test]
    fn a_table_is_aligned_and_has_its_headings_in_capitals() {
        assert_eq!(
            printed(&form(Format::Table, &[], None), usize::MAX),
            ["ID  NAME   NOTE", "10  web10  x", " 9  web9   a \"b\", c", " 9  =db",]
        );
        let bare = Form { header: false, ..form(Format::Table, &["name", "id"], None) };
        assert_eq!(printed(&bare, usize::MAX), ["web10  10", "web9    9", "=db     9"]);
    }

    #[test]
    fn what_is_expendable_goes_first_and_what_was_asked_for_stays() {
        let narrow = printed(&form(Format::Table, &[], None), 12);
        assert_eq!(narrow, ["ID  NAME", "10  web10", " 9  web9", " 9  =db"]);
        let asked = printed(&form(Format::Table, &["id", "name", "note"], None), 14);
        assert_eq!(asked[0], "ID  NAME  NOTE");
        assert_eq!(asked[1], "10  w...  x");
    }

    #[test]
    fn numbers_sort_as_numbers_and_equal_rows_stay_as_they_came() {
        for (column, order) in [
            ("id", ["web9", "=db", "web10"]),
            ("-id", ["web10", "web9", "=db"]),
            ("name", ["=db", "web10", "web9"]),
            ("-note", ["web10", "web9", "=db"]),
        ] {
            let sorted = Form { header: false, ..form(Format::Csv, &["name"], Some(column)) };
            assert_eq!(printed(&sorted, 0), order, "{column}");
        }
        let of = |text: &str| Key::of(text.to_owned(), true);
        assert!(of("-10") < of("-9") && of("-1") < of("0") && of("9") < of("10"));
        assert!(of("10") < of("none"));
    }

    /// What a reader of RFC 4180 makes of one record.
    fn read_back(line: &str) -> Vec<String> {
        let mut cells = vec![String::new()];
        let mut quoted = false;
        let mut letters = line.chars().peekable();
        while let Some(c) = letters.next() {
            let cell = cells.last_mut().unwrap();
            match c {
                '"' if quoted && letters.peek() == Some(&'"') => {
                    letters.next();
                    cell.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cell.push(c),
            }
        }
        assert!(!quoted, "{line}");
        cells
    }

    proptest! {
        #[test]
        fn csv_read_back_gives_the_cells(cells in prop::collection::vec("\\PC{0,12}", 1..6)) {
            let line = csv(&cells, false);
            prop_assert!(!line.contains(['\n', '\r']));
            let shown: Vec<String> = cells.iter().map(|cell| printable(cell)).collect();
            prop_assert_eq!(read_back(&line), shown);
        }

        #[test]
        fn no_cell_is_a_formula(cell in "[-=+@',\"a ]{0,6}") {
            let back = read_back(&csv([&cell], true)).remove(0);
            prop_assert!(!back.starts_with(['=', '+', '-', '@']), "{}", back);
            prop_assert_eq!(back.strip_prefix('\'').filter(|_| !cell.starts_with('\'')).unwrap_or(&back), &cell);
        }

        #[test]
        fn no_table_is_wider_than_the_terminal(
            cells in prop::collection::vec((any::<u64>(), any::<String>(), any::<String>()), 0..5),
            room in 0_usize..120,
            asked in any::<bool>(),
            header in any::<bool>(),
        ) {
            let columns: &[&str] = if asked { &["id", "note", "name"] } else { &[] };
            let form = Form { header, ..form(Format::Table, columns, None) };
            let mut rows = Rows::new::<Machine>(&form).unwrap();
            for (id, name, note) in cells {
                prop_assert_eq!(rows.add(&Machine(id, name, note)), None);
            }
            for line in rows.table(room) {
                prop_assert!(line.width() <= room, "{}: {:?}", room, line);
            }
        }
    }
}
