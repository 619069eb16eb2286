//! The platform at a glance.

use mig_client::Collection;
use mig_module::text::printable;
use mig_types::{Action, wire};
use serde::Serialize;
use serde_json::Value;

use crate::grid::{Field, Row};
use crate::link::Links;
use crate::output::Paint;
use crate::tables::{Side, Table, column, rows};
use crate::text::seconds;

/// The block of lines, painted by `paint`, its table in so many columns; and the
/// actions in it.
pub fn block(
    answer: &Collection,
    room: usize,
    paint: impl Fn(Paint, &str) -> String,
) -> (Vec<String>, Vec<Action>) {
    let (lines, actions) = lines(answer, room);
    let edge = paint(Paint::BoldRed, "+------");
    let bar = paint(Paint::BoldRed, "|");
    let mut shown = vec![edge.clone()];
    shown.extend(lines.into_iter().map(|line| match line {
        Line::Plain(text) => format!("{bar}{text}"),
        Line::Red(text) => paint(Paint::BoldRed, &format!("|{text}")),
    }));
    shown.push(edge);
    (shown, actions)
}

/// A line after its bar.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Plain(String),
    Red(String),
}

fn lines(answer: &Collection, room: usize) -> (Vec<Line>, Vec<Action>) {
    let data = || answer.items.iter().flat_map(|item| &item.data);
    let value = |name: &str| data().find(|datum| datum.name == name).map(|datum| &datum.value);
    // Nothing computed yet is zero of everything.
    let count = |name: &str| value(name).and_then(Value::as_f64).unwrap_or(0.0);
    let versions = |name: &str| {
        let all = value(name).and_then(Value::as_array).into_iter().flatten();
        all.map(|entry| {
            let version = entry.get("version").and_then(Value::as_str).unwrap_or_default();
            let count = entry.get("count").and_then(Value::as_f64).unwrap_or(0.0);
            let word = if count > 1.0 { "agents" } else { "agent" };
            Line::Plain(format!(" * version {}: {count} {word}", printable(version)))
        })
        .collect::<Vec<_>>()
    };
    let plain = |text: String| Line::Plain(format!(" * {text}"));
    let mut lines = vec![
        Line::Red(" Agents & Endpoints summary:".to_owned()),
        plain(format!(
            "{} online agents on {} endpoints",
            count("online agents"),
            count("online endpoints")
        )),
        plain(format!(
            "{} idle agents on {} endpoints",
            count("idle agents"),
            count("idle endpoints")
        )),
        plain(format!(
            "{} endpoints are running 2 or more agents",
            count("endpoints running 2 or more agents")
        )),
        plain(format!("{} endpoints appeared over the last 7 days", count("new endpoints"))),
        plain(format!(
            "{} endpoints disappeared over the last 7 days",
            count("disappeared endpoints")
        )),
        plain(format!("{} endpoints have been flapping", count("flapping endpoints"))),
        Line::Red(" Online agents by version:".to_owned()),
    ];
    lines.extend(versions("online agents by version"));
    lines.push(Line::Red(" Idle agents by version:".to_owned()));
    lines.extend(versions("idle agents by version"));
    lines.push(Line::Red(String::new()));
    lines.push(Line::Plain(" Latest Actions:".to_owned()));
    let actions: Vec<Action> = data()
        .filter(|datum| datum.name == "action")
        .filter_map(|datum| wire::from_value(datum.value.clone()).ok())
        .collect();
    // After the bar and a blank.
    let table = table(&actions).lines(room.saturating_sub(2));
    lines.extend(table.into_iter().map(|line| Line::Plain(format!(" {line}"))));
    (lines, actions)
}

/// A number of the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: u64,
}

impl Row for Figure {
    const FIELDS: &'static [Field] = &[Field::new("name"), Field::new("value").number()];

    fn cell(&self, field: &str) -> String {
        if field == "name" { self.name.clone() } else { self.value.to_string() }
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// The numbers of the summary, by the names the API gives them.
pub fn figures(answer: &Collection) -> Vec<Figure> {
    let data = answer.items.iter().flat_map(|item| &item.data);
    let mut figures = Vec::new();
    for datum in data {
        if let Some(value) = datum.value.as_u64() {
            figures.push(Figure { name: datum.name.clone(), value });
        }
        for entry in datum.value.as_array().into_iter().flatten() {
            let version = entry.get("version").and_then(Value::as_str);
            let value = entry.get("count").and_then(Value::as_u64);
            if let (Some(version), Some(value)) = (version, value) {
                figures.push(Figure { name: format!("{}: {version}", datum.name), value });
            }
        }
    }
    figures
}

fn table(actions: &[Action]) -> Table {
    Table {
        columns: vec![
            column("----  ID  ----", 14, Side::Left, 0),
            column("----         Name         ----", 30, Side::Left, 0),
            column("-Sent-", 6, Side::Right, 1),
            column("----    Date    ----", 20, Side::Left, 2),
            column("---- Investigators ----", 23, Side::Left, 3),
        ],
        name: 1,
        gap: "   ",
        rows: rows(actions, |action| {
            vec![
                action.id.to_string(),
                action.name.clone(),
                action.counters.sent.to_string(),
                seconds(action.lastupdatetime),
                names(action),
            ]
        }),
    }
}

/// A line of [`block()`], in which actions lead to their pages.
pub fn linked(line: String, actions: &[Action], links: &Links) -> String {
    let mentioned = actions.iter().find(|action| line.contains(&action.id.to_string()));
    match mentioned {
        Some(action) => links.action(&line, action.id),
        None => line,
    }
}

/// Who signed an action.
pub fn names(action: &Action) -> String {
    let names: Vec<&str> = action.investigators.iter().map(|one| one.name.as_str()).collect();
    names.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::width;

    fn shown(answer: &str) -> String {
        let answer = Collection::from_slice(answer.as_bytes()).unwrap();
        let (lines, _) = lines(&answer, usize::MAX);
        let text = |line: Line| match line {
            Line::Plain(text) | Line::Red(text) => format!("|{text}\n"),
        };
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn a_fresh_platform_shows_zeros() {
        let text = shown(r#"{"collection":{"template":{},"error":{}}}"#);
        assert!(text.contains("| * 0 online agents on 0 endpoints\n"), "{text}");
        assert!(text.contains("| Idle agents by version:\n|\n| Latest Actions:\n"), "{text}");
    }

    #[test]
    fn the_original_answer_shows_as_the_original_shows_it() {
        let body = include_str!("../tests/samples/dashboard.json");
        let expected = include_str!("../tests/samples/dashboard.txt");
        assert_eq!(shown(body), expected);
    }

    #[test]
    fn the_numbers_are_rows_too() {
        let body = include_str!("../tests/samples/dashboard.json");
        let answer = Collection::from_slice(body.as_bytes()).unwrap();
        let figures = figures(&answer);
        let value = |name: &str| figures.iter().find(|one| one.name == name).map(|one| one.value);
        assert!(value("online agents").is_some(), "{figures:?}");
        assert!(figures.iter().any(|one| one.name.starts_with("online agents by version: ")));
        assert!(figures.iter().all(|one| one.name != "action"));
    }

    #[test]
    fn the_table_fits_a_narrow_terminal() {
        let body = include_str!("../tests/samples/dashboard.json");
        let answer = Collection::from_slice(body.as_bytes()).unwrap();
        for room in [40, 60, 80, 100] {
            let (lines, actions) = block(&answer, room, |_, text| text.to_owned());
            let from = lines.iter().position(|line| line.contains("Latest Actions:")).unwrap();
            for line in &lines[from..] {
                assert!(width(line) <= room, "{room}: {line:?}");
            }
            // What is needed to go on is always there.
            for action in &actions {
                assert!(lines.iter().any(|line| line.contains(&action.id.to_string())), "{room}");
            }
            assert!(!actions.is_empty());
        }
    }

    #[test]
    fn a_hostile_answer_does_no_harm() {
        let text = shown(
            "{\"collection\":{\"items\":[{\"data\":[{\"name\":\"online agents\",\"value\":\"x\"},\
             {\"name\":\"online agents by version\",\"value\":[{\"version\":\"\\u001b[2J\"},7]},\
             {\"name\":\"action\",\"value\":7}]}]}}",
        );
        assert!(text.contains("* version \\x1b[2J: 0 agent"), "{text}");
    }
}
