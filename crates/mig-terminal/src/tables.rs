//! What a search found, in columns.

use crate::text::{cut, left, right, seconds, width};
use mig_client::Found;
use mig_types::{ActionStatus, AgentStatus, InvestigatorStatus, Timestamp};

use crate::dashboard::names;
use crate::permissions;

/// A name is not cut below this.
const MIN_NAME: usize = 16;
/// Except where there is nothing else to cut.
const LEAST_NAME: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
    /// As it is; only in the last place.
    Open,
}

/// One column.
pub(crate) struct Column {
    heading: &'static str,
    width: usize,
    side: Side,
    /// The first to go where there is no room; 0 stays.
    expendable: u8,
}

pub(crate) const fn column(
    heading: &'static str,
    width: usize,
    side: Side,
    expendable: u8,
) -> Column {
    Column { heading, width, side, expendable }
}

/// Columns and the cells below them.
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// Which column holds the name.
    pub(crate) name: usize,
    /// Between columns.
    pub(crate) gap: &'static str,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Heading and rows in so many columns of a terminal.
    pub(crate) fn lines(mut self, room: usize) -> Vec<String> {
        self.fit(room);
        let gap = self.gap.len();
        let heading = self.columns.iter().map(|column| column.heading);
        let heading = heading.collect::<Vec<_>>().join(" + ");
        let heading = if width(&heading) > room { cut(heading.trim_end(), room) } else { heading };
        let last = self.columns.len().saturating_sub(1);
        let mut lines = vec![heading];
        for row in &self.rows {
            let mut line = String::new();
            for (at, (column, cell)) in self.columns.iter().zip(row).enumerate() {
                line.push_str(&match column.side {
                    Side::Left => left(cell, column.width),
                    Side::Right => right(cell, column.width),
                    Side::Open => cut(cell, column.width.max(width(cell) + 1)),
                });
                if at < last {
                    line.push_str(&" ".repeat(gap));
                }
            }
            lines.push(line);
        }
        lines
    }

    fn width(&self) -> usize {
        let gaps = self.gap.len() * self.columns.len().saturating_sub(1);
        self.columns.iter().map(|column| column.width).sum::<usize>() + gaps
    }

    /// What is left to do when nothing can be given up: numbers without blanks
    /// before them, and very short names.
    fn squeeze(&mut self, room: usize) {
        for at in 0..self.columns.len() {
            let widest = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            let widest = widest.max().unwrap_or(0);
            let too_much = self.width().saturating_sub(room);
            if let Some(column) = self.columns.get_mut(at)
                && column.side == Side::Right
            {
                column.width -= too_much.min(column.width.saturating_sub(widest));
            }
        }
        let too_much = self.width().saturating_sub(room);
        if let Some(name) = self.columns.get_mut(self.name) {
            name.width = name.width.saturating_sub(too_much).max(LEAST_NAME);
        }
    }

    /// Gives columns up, and cuts the name, until the rest fits.
    fn fit(&mut self, room: usize) {
        loop {
            let name = self.columns.get(self.name).map_or(0, |column| column.width);
            let too_much = self.width().saturating_sub(room);
            if too_much <= name.saturating_sub(MIN_NAME) {
                if let Some(column) = self.columns.get_mut(self.name) {
                    column.width -= too_much;
                }
                return;
            }
            let goes = self.columns.iter().enumerate().max_by_key(|(_, column)| column.expendable);
            let Some((at, Column { expendable: 1.., .. })) = goes else {
                self.squeeze(room);
                return;
            };
            self.columns.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
    }
}

/// The table of what was found, as wide as allowed.
pub fn lines(found: &Found, room: usize) -> Vec<String> {
    table(found).lines(room)
}

#[expect(clippy::too_many_lines, reason = "a table of tables")]
fn table(found: &Found) -> Table {
    match found {
        Found::Actions(actions) => Table {
            columns: vec![
                column("----- ID -----", 14, Side::Left, 0),
                column("--------   Action Name -------", 30, Side::Left, 0),
                column("----------- Target  ----------", 30, Side::Left, 4),
                column("---- Investigators ----", 23, Side::Left, 3),
                column("- Sent -", 8, Side::Right, 1),
                column("- Status -", 10, Side::Left, 0),
                column("--- Last Updated --- ", 20, Side::Open, 2),
            ],
            name: 1,
            gap: "   ",
            rows: rows(actions, |action| {
                vec![
                    action.id.to_string(),
                    action.name.clone(),
                    action.target.clone(),
                    names(action),
                    action.counters.sent.to_string(),
                    action.status.map_or("", ActionStatus::as_str).to_owned(),
                    seconds(action.lastupdatetime),
                ]
            }),
        },
        Found::Commands(commands) => Table {
            columns: vec![
                column("----  ID  ----", 14, Side::Right, 0),
                column("----         Name         ----", 30, Side::Left, 0),
                column("--- Last Updated ---", 20, Side::Open, 1),
            ],
            name: 1,
            gap: "   ",
            rows: rows(commands, |command| {
                let finished = seconds(command.finishtime);
                vec![command.id.to_string(), command.action.name.clone(), finished]
            }),
        },
        Found::Agents(agents) => Table {
            columns: vec![
                column("---   ID  ----", 20, Side::Right, 0),
                column("----         Name         ----", 30, Side::Left, 0),
                column("-- Status --", 12, Side::Left, 0),
                column("-- Last Heartbeat --", 20, Side::Open, 1),
            ],
            name: 1,
            gap: "   ",
            rows: rows(agents, |agent| {
                vec![
                    agent.id.to_string(),
                    agent.name.clone(),
                    agent.status.map_or("", AgentStatus::as_str).to_owned(),
                    seconds(agent.heartbeatts),
                ]
            }),
        },
        Found::Investigators(investigators) => Table {
            columns: vec![
                column("- ID -", 6, Side::Right, 0),
                column("----         Name         ----", 30, Side::Left, 0),
                column("--- Status ---", 14, Side::Left, 0),
                column("--- Permissions ---", 41, Side::Open, 1),
            ],
            name: 1,
            gap: "   ",
            rows: rows(investigators, |one| {
                vec![
                    one.id.to_string(),
                    one.name.clone(),
                    one.status.map_or("", InvestigatorStatus::as_str).to_owned(),
                    permissions::text(one.permissions),
                ]
            }),
        },
        Found::Manifests(manifests) => Table {
            columns: vec![
                column("- ID -", 6, Side::Right, 0),
                column("----      Name      ----", 24, Side::Left, 0),
                column("-- Status --", 12, Side::Left, 0),
                column("-------------- Target --------", 30, Side::Left, 1),
                column("---- Timestamp ---", 20, Side::Open, 2),
            ],
            name: 1,
            gap: "   ",
            rows: rows(manifests, |manifest| {
                vec![
                    manifest.id.to_string(),
                    manifest.name.clone(),
                    manifest.status.map_or("", |status| status.as_str()).to_owned(),
                    manifest.target.clone(),
                    seconds(manifest.timestamp),
                ]
            }),
        },
        Found::Loaders(loaders) => Table {
            columns: vec![
                column("- ID -", 6, Side::Right, 0),
                column("----      Name      ----", 24, Side::Left, 0),
                column("----   Agent Name   ----", 24, Side::Left, 1),
                column("-- Enabled -", 12, Side::Left, 0),
                column("-- Last Used ---", 20, Side::Open, 2),
            ],
            name: 1,
            gap: "   ",
            rows: rows(loaders, |loader| {
                let unset = "unset".to_owned();
                let agent = Some(loader.agentname.clone()).filter(|name| !name.is_empty());
                let used = if loader.lastseen == Timestamp::ZERO {
                    unset.clone()
                } else {
                    seconds(loader.lastseen)
                };
                vec![
                    loader.id.to_string(),
                    loader.name.clone(),
                    agent.unwrap_or(unset),
                    loader.enabled.to_string(),
                    used,
                ]
            }),
        },
    }
}

pub(crate) fn rows<T>(things: &[T], cells: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    things.iter().map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::{Action, ActionId, Agent, AgentId, Counters, Investigator};

    fn action() -> Action {
        Action {
            id: ActionId::new(28_059_862_040_578).unwrap(),
            name: "file -path /etc -name ^passwd$ -content ^root ".into(),
            target: "status='online'".into(),
            investigators: vec![Investigator {
                name: "Bob The Investigator".into(),
                ..Investigator::default()
            }],
            status: Some(ActionStatus::Completed),
            lastupdatetime: Timestamp::parse("2026-11-23T07:12:05.63Z").unwrap(),
            counters: Counters { sent: 2, ..Counters::default() },
            ..Action::default()
        }
    }

    #[test]
    fn actions_and_agents_look_as_they_always_have() {
        let found = lines(&Found::Actions(vec![action()]), usize::MAX);
        assert_eq!(
            found,
            [
                "----- ID ----- + --------   Action Name ------- + ----------- Target  ---------- + \
                 ---- Investigators ---- + - Sent - + - Status - + --- Last Updated --- ",
                "28059862040578   file -path /etc -name ^pass...   status='online'                  \
                 Bob The Investigator             2   completed    2026-11-23T07:12:05Z",
            ]
        );
        let agent = Agent {
            id: AgentId::new(28_059_836_614_015).unwrap(),
            name: "vm".into(),
            status: Some(AgentStatus::Online),
            heartbeatts: Timestamp::parse("2026-11-23T07:14:42Z").unwrap(),
            ..Agent::default()
        };
        let found = lines(&Found::Agents(vec![agent]), usize::MAX);
        let row = "      28059836614015   vm                               online         \
                   2026-11-23T07:14:42Z";
        assert_eq!(found[1], row);
    }

    #[test]
    fn a_table_fits_the_terminal() {
        for room in [40, 60, 80, 100, 132, 153, 200] {
            let found = lines(&Found::Actions(vec![action(), action()]), room);
            for line in &found {
                assert!(width(line) <= room, "{room}: {line:?}");
            }
            // What is needed to go on is always there.
            assert!(found[1].contains("28059862040578") && found[1].contains("completed"));
        }
        let agent = Agent {
            id: AgentId::new(28_059_836_614_015).unwrap(),
            name: "a-long-name.example.net".into(),
            status: Some(AgentStatus::Destroyed),
            ..Agent::default()
        };
        for line in &lines(&Found::Agents(vec![agent]), 40) {
            assert!(width(line) <= 40, "{line:?}");
        }
    }
}
