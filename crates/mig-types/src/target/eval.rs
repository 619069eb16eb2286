//! A target evaluated on one agent, without a database.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use super::Target;
use super::ast::{CompareOp, Condition, JsonBase, JsonPath, Operand, OperandType, Step, Value};
use super::columns::Column;
use super::number::Number;
use super::operand::bool_word;
use crate::agent::Agent;
use crate::time::Timestamp;
use crate::wire;

/// Whether an agent is meant by a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    True,
    /// False, or null: a database would not select the agent.
    False,
    /// Depends on what only the database knows.
    Unknown,
}

/// What is known about the agent a target is evaluated on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `name`, `queueloc`, `mode`, `version`, `pid`, `environment` and `tags`
    /// are known; the rest of the row is not.
    pub agent: &'a Agent,
    pub now: Timestamp,
}

impl Target {
    /// Whether the target holds for the agent, as far as the agent can know.
    ///
    /// [`Truth::Unknown`] only when both outcomes are possible, each unknown
    /// value taken on its own.
    pub fn evaluate(&self, facts: Facts<'_>) -> Truth {
        // Serialized once: paths are read from what the database would hold.
        let environment = serde_json::to_value(&facts.agent.environment).ok();
        let known = Known { facts, environment };
        let outcome = known.condition(&self.condition);
        if outcome == Outcomes::TRUE {
            Truth::True
        } else if outcome.includes(Outcomes::TRUE) {
            Truth::Unknown
        } else {
            Truth::False
        }
    }
}

/// The set of SQL truth values a condition can have.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outcomes(u8);

impl Outcomes {
    const NONE: Self = Self(0);
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const NULL: Self = Self(4);
    const ANY: Self = Self(7);

    const fn of(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }

    const fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    fn not(self) -> Self {
        Self::TRUE
            .when(self.includes(Self::FALSE))
            .with(Self::FALSE.when(self.includes(Self::TRUE)))
            .with(Self::NULL.when(self.includes(Self::NULL)))
    }

    fn and(self, other: Self) -> Self {
        let both = |value: Self| self.includes(value) && other.includes(value);
        let null = (self.includes(Self::NULL) && other.includes(Self::TRUE.with(Self::NULL)))
            || (other.includes(Self::NULL) && self.includes(Self::TRUE));
        Self::TRUE
            .when(both(Self::TRUE))
            .with(Self::FALSE.when(self.includes(Self::FALSE) || other.includes(Self::FALSE)))
            .with(Self::NULL.when(null))
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { self.not() } else { self }
    }
}

/// A value as far as the agent knows it.
enum Fact<'a> {
    Null,
    Unknown,
    Text(Cow<'a, str>),
    Number(Number),
    Bool(bool),
    Time(Timestamp),
    /// Exists, but cannot be compared.
    Json,
}

struct Known<'a> {
    facts: Facts<'a>,
    environment: Option<Json>,
}

impl Known<'_> {
    fn condition(&self, condition: &Condition) -> Outcomes {
        match condition {
            Condition::Literal(value) => value.map_or(Outcomes::NULL, Outcomes::of),
            Condition::And(members) => {
                members.iter().fold(Outcomes::TRUE, |sum, member| sum.and(self.condition(member)))
            }
            Condition::Or(members) => {
                members.iter().fold(Outcomes::FALSE, |sum, member| sum.or(self.condition(member)))
            }
            Condition::Not(inner) => self.condition(inner).not(),
            Condition::Holds(operand) => match self.operand(operand) {
                Fact::Bool(value) => Outcomes::of(value),
                Fact::Unknown => Outcomes::ANY,
                _ => Outcomes::NULL,
            },
            Condition::Compare { op, left, right } => {
                compare(&self.operand(left), *op, &self.operand(right))
            }
            Condition::Like { operand, pattern, negated } => {
                self.text_test(operand, *negated, |text| pattern.matches(text))
            }
            Condition::Matches { operand, pattern, negated } => {
                self.text_test(operand, *negated, |text| pattern.matches(text))
            }
            Condition::IsNull { operand, negated } => match self.operand(operand) {
                Fact::Unknown => Outcomes::TRUE.with(Outcomes::FALSE),
                Fact::Null => Outcomes::of(!negated),
                _ => Outcomes::of(*negated),
            },
            Condition::IsTruth { condition, value, negated } => {
                let wanted = value.map_or(Outcomes::NULL, Outcomes::of);
                let found = self.condition(condition);
                Outcomes::TRUE
                    .when(found.includes(wanted))
                    .with(Outcomes::FALSE.when(found.with(wanted) != wanted))
                    .negated_if(*negated)
            }
            Condition::In { operand, list, negated } => {
                let value = self.operand(operand);
                let equal = |member| compare(&value, CompareOp::Eq, &self.operand(member));
                list.iter()
                    .fold(Outcomes::FALSE, |sum, member| sum.or(equal(member)))
                    .negated_if(*negated)
            }
            Condition::InSelect { operand, negated, .. } => match self.operand(operand) {
                // Null, or false when nothing is selected.
                Fact::Null => Outcomes::NULL.with(Outcomes::FALSE).negated_if(*negated),
                _ => Outcomes::ANY,
            },
        }
    }

    fn text_test(
        &self,
        operand: &Operand,
        negated: bool,
        matches: impl FnOnce(&str) -> bool,
    ) -> Outcomes {
        match self.operand(operand) {
            Fact::Text(text) => Outcomes::of(matches(&text) != negated),
            Fact::Unknown => Outcomes::ANY,
            _ => Outcomes::NULL,
        }
    }

    fn operand<'s>(&'s self, operand: &'s Operand) -> Fact<'s> {
        match operand {
            Operand::Value(Value::Null) => Fact::Null,
            Operand::Value(Value::Bool(value)) => Fact::Bool(*value),
            Operand::Value(Value::Text(text)) => Fact::Text(Cow::Borrowed(text)),
            Operand::Value(Value::Number(number)) => Fact::Number(*number),
            Operand::Instant(instant) => Fact::Time(instant.resolve(self.facts.now)),
            Operand::Column(column) => self.column(*column),
            Operand::Json(path) => self.json(path),
            Operand::Cast { operand, to, .. } => cast(self.operand(operand), *to),
            Operand::Lower(inner) => {
                map_text(self.operand(inner), |text| Fact::Text(text.to_ascii_lowercase().into()))
            }
            Operand::Upper(inner) => {
                map_text(self.operand(inner), |text| Fact::Text(text.to_ascii_uppercase().into()))
            }
            Operand::Length(inner) => map_text(self.operand(inner), |text| {
                i64::try_from(text.chars().count())
                    .map_or(Fact::Null, |length| Fact::Number(length.into()))
            }),
        }
    }

    fn column(&self, column: Column) -> Fact<'_> {
        let agent = self.facts.agent;
        let text = |text| Fact::Text(Cow::Borrowed(text));
        // Columns of a sub-select are never asked for here.
        match column.name {
            "name" => text(agent.name.as_str()),
            "queueloc" => text(agent.queueloc.as_str()),
            "mode" => text(agent.mode.as_str()),
            "version" => text(agent.version.as_str()),
            "pid" => Fact::Number(agent.pid.into()),
            _ => Fact::Unknown,
        }
    }

    fn json(&self, path: &JsonPath) -> Fact<'_> {
        let JsonBase::Column(column) = path.base else { return Fact::Unknown };
        // Whole columns: how the database spells them is not known here.
        let Some((first, rest)) = path.steps.split_first() else { return Fact::Unknown };
        let start = match (column.name, &self.environment) {
            ("environment", Some(environment)) => step(environment, first),
            ("tags", _) => match first {
                Step::Key(key) => self.facts.agent.tags.get(key),
                Step::KeyOrIndex(index) => self.facts.agent.tags.get(&index.to_string()),
                Step::Index(_) => None,
            },
            _ => return Fact::Unknown,
        };
        let found = rest.iter().try_fold(start, |at, next| at.map(|at| step(at, next)));
        match found.flatten() {
            None => Fact::Null,
            Some(json) if path.as_text => json_text(json),
            Some(_) => Fact::Json,
        }
    }
}

fn step<'a>(json: &'a Json, step: &Step) -> Option<&'a Json> {
    match (json, step) {
        (Json::Object(map), Step::Key(key)) => map.get(key),
        (Json::Object(map), Step::KeyOrIndex(index)) => map.get(&index.to_string()),
        (Json::Array(list), Step::Index(index) | Step::KeyOrIndex(index)) => {
            let distance = usize::try_from(index.unsigned_abs()).ok()?;
            let at = if *index < 0 { list.len().checked_sub(distance)? } else { distance };
            list.get(at)
        }
        _ => None,
    }
}

/// What `->>` gives: strings plain, the rest as JSON.
fn json_text(json: &Json) -> Fact<'_> {
    match json {
        Json::Null => Fact::Null,
        Json::String(text) => Fact::Text(Cow::Borrowed(text)),
        other => wire::to_string(other).map_or(Fact::Unknown, |text| Fact::Text(text.into())),
    }
}

fn map_text<'a>(fact: Fact<'a>, map: impl FnOnce(&str) -> Fact<'a>) -> Fact<'a> {
    match fact {
        Fact::Text(text) => map(&text),
        Fact::Unknown => Fact::Unknown,
        _ => Fact::Null,
    }
}

fn cast(fact: Fact<'_>, to: OperandType) -> Fact<'_> {
    match (fact, to) {
        // How the database spells a JSON value is not known here.
        (Fact::Unknown, _) | (Fact::Json, OperandType::Text) => Fact::Unknown,
        (Fact::Text(text), OperandType::Integer) => {
            Number::parse_integer(&text).map_or(Fact::Null, Fact::Number)
        }
        (Fact::Text(text), OperandType::Decimal) => {
            Number::parse_decimal(&text).map_or(Fact::Null, Fact::Number)
        }
        (Fact::Text(text), OperandType::Bool) => bool_word(&text).map_or(Fact::Null, Fact::Bool),
        (Fact::Text(text), OperandType::Text) => Fact::Text(text),
        (Fact::Number(number), OperandType::Text) => Fact::Text(number.to_string().into()),
        (Fact::Number(number), OperandType::Integer | OperandType::Decimal) => Fact::Number(number),
        (Fact::Bool(value), OperandType::Text) => Fact::Text(value.to_string().into()),
        (Fact::Bool(value), OperandType::Integer) => Fact::Number(i64::from(value).into()),
        _ => Fact::Null,
    }
}

fn compare(left: &Fact<'_>, op: CompareOp, right: &Fact<'_>) -> Outcomes {
    let order = match (left, right) {
        (Fact::Null, _) | (_, Fact::Null) => return Outcomes::NULL,
        (Fact::Unknown, _) | (_, Fact::Unknown) => return Outcomes::ANY,
        (Fact::Text(a), Fact::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Fact::Number(a), Fact::Number(b)) => a.cmp(b),
        (Fact::Bool(a), Fact::Bool(b)) => a.cmp(b),
        (Fact::Time(a), Fact::Time(b)) => a.cmp(b),
        // The parser lets no other pair through.
        _ => return Outcomes::NULL,
    };
    Outcomes::of(match op {
        CompareOp::Eq => order == Ordering::Equal,
        CompareOp::NotEq => order != Ordering::Equal,
        CompareOp::Lt => order == Ordering::Less,
        CompareOp::LtEq => order != Ordering::Greater,
        CompareOp::Gt => order == Ordering::Greater,
        CompareOp::GtEq => order != Ordering::Less,
    })
}

#[cfg(test)]
mod tests;
