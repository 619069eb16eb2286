//! Targets as SQL, for a query in which the table `agents` (for conditions about
//! loaders: `loaders`) stands under its own name.
//!
//! Every constant is a bind parameter and every other word is from this file
//! or the column list, so nothing an investigator wrote reaches the SQL text.
//!
//! **`SQLite`** keeps times as text of one width, see [`sqlite_time`], JSON as
//! text, and needs the `REGEXP` function of
//! [`sqlx::sqlite::SqliteConnectOptions::with_regexp`]: it makes `LIKE` and
//! `~` mean what they mean in `PostgreSQL`, in linear time.

use std::fmt::Write as _;

use mig_types::Timestamp;
use mig_types::target::{
    Column, CompareOp, Condition, FALSE_WORDS, JsonBase, JsonPath, Number, Operand, OperandType,
    Step, SubSelect, TRUE_WORDS, Value,
};
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, error::BoxDynError};

/// Longest condition in bytes. JSON paths and casts multiply in `SQLite`.
const MAX_SQL: usize = 400_000;

/// Shape of texts that a cast to integer accepts; others become null.
const INTEGER_SHAPE: &str = "^[-+]?[0-9]{1,18}$";
/// Shape of texts that a cast to a decimal accepts.
const DECIMAL_SHAPE: &str = r"^[-+]?[0-9]{1,9}(\.[0-9]{1,6})?$";

/// Whose SQL to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
}

/// A condition ready for a `WHERE` clause, in parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub sql: String,
    /// Values of `$first_bind` and what follows, in order.
    pub binds: Vec<Bind>,
}

/// The value of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Bind {
    Text(String),
    Integer(i64),
    /// `SQLite` only.
    Real(f64),
    Bool(bool),
    /// `PostgreSQL` only.
    Time(Timestamp),
}

/// Why a target has no SQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetSqlError {
    #[error("the target is too complex")]
    TooComplex,
}

impl Rendered {
    /// Adds the parameters to those of a `PostgreSQL` query.
    ///
    /// # Errors
    ///
    /// When the driver cannot encode a value.
    pub fn bind_postgres(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        for bind in &self.binds {
            match bind {
                Bind::Text(text) => arguments.add(text.as_str())?,
                Bind::Integer(value) => arguments.add(*value)?,
                Bind::Real(value) => arguments.add(*value)?,
                Bind::Bool(value) => arguments.add(*value)?,
                Bind::Time(time) => arguments.add(time.datetime())?,
            }
        }
        Ok(())
    }

    /// Adds the parameters to those of a `SQLite` query.
    ///
    /// # Errors
    ///
    /// When the driver cannot encode a value.
    pub fn bind_sqlite(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        for bind in &self.binds {
            match bind {
                Bind::Text(text) => arguments.add(text.clone())?,
                Bind::Integer(value) => arguments.add(*value)?,
                Bind::Real(value) => arguments.add(*value)?,
                Bind::Bool(value) => arguments.add(*value)?,
                Bind::Time(time) => arguments.add(sqlite_time(*time))?,
            }
        }
        Ok(())
    }
}

/// A time as `SQLite` columns hold it: RFC 3339, UTC, microseconds, one width,
/// so that the order of texts is the order of times.
pub fn sqlite_time(time: Timestamp) -> String {
    time.datetime().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Renders a condition with parameters numbered from `first_bind`.
///
/// # Errors
///
/// When the SQL would become too long.
pub fn render(
    condition: &Condition,
    dialect: Dialect,
    now: Timestamp,
    first_bind: usize,
) -> Result<Rendered, TargetSqlError> {
    let mut renderer = Renderer { dialect, now, first_bind, binds: Vec::new(), size: 0 };
    let sql = renderer.condition(condition)?;
    Ok(Rendered { sql, binds: renderer.binds })
}

struct Renderer {
    dialect: Dialect,
    now: Timestamp,
    first_bind: usize,
    binds: Vec<Bind>,
    /// Bytes produced, to stop before memory is wasted.
    size: usize,
}

type Sql = Result<String, TargetSqlError>;

impl Renderer {
    fn is_postgres(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    fn bind(&mut self, value: Bind) -> String {
        let cast = match &value {
            _ if !self.is_postgres() => "",
            Bind::Text(_) => "::text",
            Bind::Integer(_) => "::bigint",
            Bind::Real(_) => "::double precision",
            Bind::Bool(_) => "::boolean",
            Bind::Time(_) => "::timestamptz",
        };
        self.binds.push(value);
        format!("${}{cast}", self.first_bind + self.binds.len() - 1)
    }

    fn bind_text(&mut self, text: impl Into<String>) -> String {
        self.bind(Bind::Text(text.into()))
    }

    fn checked(&mut self, sql: String) -> Sql {
        self.size += sql.len();
        // Each level repeats the inner text; chains are flat, so this counts
        // the final text a few dozen times at most.
        if sql.len() > MAX_SQL || self.size > 64 * MAX_SQL {
            return Err(TargetSqlError::TooComplex);
        }
        Ok(sql)
    }

    fn condition(&mut self, condition: &Condition) -> Sql {
        let sql = match condition {
            Condition::Literal(None) if self.is_postgres() => "(NULL::boolean)".to_owned(),
            Condition::Literal(None) => "(NULL)".to_owned(),
            Condition::Literal(Some(true)) => "(TRUE)".to_owned(),
            Condition::Literal(Some(false)) => "(FALSE)".to_owned(),
            Condition::And(members) => self.joined(members, " AND ")?,
            Condition::Or(members) => self.joined(members, " OR ")?,
            Condition::Not(inner) => format!("(NOT {})", self.condition(inner)?),
            Condition::Holds(operand) => format!("({})", self.operand(operand)?),
            Condition::Compare { op, left, right } => self.compare(left, *op, right)?,
            Condition::Like { operand, pattern, negated } => {
                let value = self.collated(operand)?;
                if self.is_postgres() {
                    let word = if pattern.ignores_case() { "ILIKE" } else { "LIKE" };
                    let pattern = self.bind_text(pattern.sql());
                    negate(*negated, &format!("{value} {word} {pattern}"))
                } else {
                    let pattern = self.bind_text(pattern.regex());
                    negate(*negated, &format!("{value} REGEXP {pattern}"))
                }
            }
            Condition::Matches { operand, pattern, negated } => {
                let value = self.collated(operand)?;
                if self.is_postgres() {
                    let word = if pattern.ignores_case() { "~*" } else { "~" };
                    let pattern = self.bind_text(pattern.source());
                    negate(*negated, &format!("{value} {word} {pattern}"))
                } else {
                    let pattern = self.bind_text(pattern.regex());
                    negate(*negated, &format!("{value} REGEXP {pattern}"))
                }
            }
            Condition::IsNull { operand, negated } => {
                let not = if *negated { "NOT " } else { "" };
                format!("({} IS {not}NULL)", self.operand(operand)?)
            }
            Condition::IsTruth { condition, value, negated } => {
                let word = match value {
                    Some(true) => "TRUE",
                    Some(false) => "FALSE",
                    None => "NULL",
                };
                let not = if *negated { "NOT " } else { "" };
                format!("({} IS {not}{word})", self.condition(condition)?)
            }
            Condition::In { operand, list, negated } => {
                let value = self.operand(operand)?;
                let members =
                    list.iter().map(|m| self.operand(m)).collect::<Result<Vec<_>, _>>()?;
                negate(*negated, &format!("{value} IN ({})", members.join(", ")))
            }
            Condition::InSelect { operand, select, negated } => {
                let value = self.operand(operand)?;
                let select = self.select(select)?;
                negate(*negated, &format!("{value} IN ({select})"))
            }
        };
        self.checked(sql)
    }

    fn joined(&mut self, members: &[Condition], word: &str) -> Sql {
        let members = members.iter().map(|m| self.condition(m)).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("({})", members.join(word)))
    }

    fn compare(&mut self, left: &Operand, op: CompareOp, right: &Operand) -> Sql {
        let texts = [left, right].iter().any(|o| o.operand_type() == Some(OperandType::Text));
        if op.is_ordering() && texts {
            let (left, right) = (self.collated(left)?, self.collated(right)?);
            return Ok(format!("({left} {} {right})", op.sql()));
        }
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        Ok(format!("({left} {} {right})", op.sql()))
    }

    /// A text that compares and changes case byte by byte.
    fn collated(&mut self, operand: &Operand) -> Sql {
        let sql = self.operand(operand)?;
        let plain = !self.is_postgres() || *operand == Operand::Value(Value::Null);
        Ok(if plain { sql } else { format!("({sql} COLLATE \"C\")") })
    }

    fn operand(&mut self, operand: &Operand) -> Sql {
        let sql = match operand {
            Operand::Value(Value::Null) => "NULL".to_owned(),
            Operand::Value(Value::Bool(value)) => self.bind(Bind::Bool(*value)),
            Operand::Value(Value::Text(text)) => self.bind_text(text.as_str()),
            Operand::Value(Value::Number(number)) => self.number(*number),
            Operand::Instant(instant) => {
                let time = instant.resolve(self.now);
                self.bind(if self.is_postgres() {
                    Bind::Time(time)
                } else {
                    Bind::Text(sqlite_time(time))
                })
            }
            Operand::Column(column) => column_name(*column),
            Operand::Json(path) => self.json(path)?,
            Operand::Cast { operand, from, to } => self.cast(operand, *from, *to)?,
            Operand::Lower(inner) => format!("lower({})", self.collated(inner)?),
            Operand::Upper(inner) => format!("upper({})", self.collated(inner)?),
            Operand::Length(inner) => format!("length({})", self.collated(inner)?),
        };
        self.checked(sql)
    }

    fn number(&mut self, number: Number) -> String {
        match (number.integer(), self.dialect) {
            (Some(value), _) => self.bind(Bind::Integer(value)),
            (None, Dialect::Postgres) => {
                let text = self.bind_text(number.to_string());
                format!("({text}::numeric)")
            }
            // At most fifteen digits: the double prints as the same decimal.
            (None, Dialect::Sqlite) => match number.to_string().parse() {
                Ok(value) => self.bind(Bind::Real(value)),
                Err(_) => "NULL".to_owned(),
            },
        }
    }

    fn cast(&mut self, operand: &Operand, from: OperandType, to: OperandType) -> Sql {
        use OperandType::{Bool, Decimal, Integer, Json, Text};
        let value = self.operand(operand)?;
        let postgres = self.is_postgres();
        Ok(match (from, to) {
            (Text, Integer) => {
                let name = if postgres { "bigint" } else { "INTEGER" };
                self.guarded(&value, INTEGER_SHAPE, name)
            }
            (Text, Decimal) => {
                let name = if postgres { "numeric" } else { "REAL" };
                self.guarded(&value, DECIMAL_SHAPE, name)
            }
            (Text, Bool) => {
                let lower = if postgres {
                    format!("lower({value} COLLATE \"C\")")
                } else {
                    format!("lower({value})")
                };
                let list = |words: [&str; 6]| format!("'{}'", words.join("', '"));
                format!(
                    "(CASE WHEN {lower} IN ({}) THEN TRUE WHEN {lower} IN ({}) THEN FALSE END)",
                    list(TRUE_WORDS),
                    list(FALSE_WORDS)
                )
            }
            (Bool, Text) => {
                format!("(CASE WHEN {value} THEN 'true' WHEN NOT {value} THEN 'false' END)")
            }
            (Bool, Integer) => format!("(CASE WHEN {value} THEN 1 WHEN NOT {value} THEN 0 END)"),
            (Integer, Decimal) => value,
            (Json, Text) if !postgres => value,
            (_, Text) => format!("CAST({value} AS text)"),
            // The parser makes no other cast.
            _ => "NULL".to_owned(),
        })
    }

    fn guarded(&mut self, value: &str, shape: &str, name: &str) -> String {
        let (operator, cast_value) =
            if self.is_postgres() { ("~", "::text") } else { ("REGEXP", "") };
        let shape = self.bind_text(shape);
        format!(
            "(CASE WHEN ({value}){cast_value} {operator} {shape} THEN CAST({value} AS {name}) END)"
        )
    }

    fn json(&mut self, path: &JsonPath) -> Sql {
        if self.is_postgres() { Ok(self.json_postgres(path)) } else { self.json_sqlite(path) }
    }

    fn json_postgres(&mut self, path: &JsonPath) -> String {
        let mut sql = match path.base {
            JsonBase::Column(column) => column_name(column),
            JsonBase::Element => "element.value".to_owned(),
        };
        let last = path.steps.len();
        for (position, step) in path.steps.iter().enumerate() {
            let text = path.as_text && position + 1 == last;
            sql = match step {
                Step::Key(key) => {
                    let key = self.bind_text(key.as_str());
                    format!("({sql} {} {key})", if text { "->>" } else { "->" })
                }
                Step::Index(index) => {
                    let index = self.bind(Bind::Integer(i64::from(*index)));
                    format!("({sql} {} ({index})::integer)", if text { "->>" } else { "->" })
                }
                Step::KeyOrIndex(index) => {
                    let key = self.bind_text(index.to_string());
                    format!("({sql} {} ARRAY[{key}])", if text { "#>>" } else { "#>" })
                }
            };
        }
        if last == 0 && path.as_text { format!("({sql} #>> ARRAY[]::text[])") } else { sql }
    }

    fn json_sqlite(&mut self, path: &JsonPath) -> Sql {
        let base = match path.base {
            JsonBase::Column(column) if path.steps.is_empty() && !path.as_text => {
                return Ok(column_name(column));
            }
            JsonBase::Column(column) => column_name(column),
            // Scalars appear unquoted there; no path leads into them anyway.
            JsonBase::Element => {
                "(CASE WHEN element.type IN ('object', 'array') THEN element.value END)".to_owned()
            }
        };
        let lookups: Vec<String> = sqlite_paths(&path.steps)
            .into_iter()
            .map(|path| format!("{base} -> {}", self.bind_text(path)))
            .collect();
        let found = match lookups.as_slice() {
            [one] => format!("({one})"),
            several => format!("COALESCE({})", several.join(", ")),
        };
        if !path.as_text {
            return self.checked(found);
        }
        // `->>` alone would turn true into 1 and rewrite numbers.
        self.checked(format!(
            "(CASE json_type({found}) WHEN 'null' THEN NULL WHEN 'text' THEN {found} ->> '$' \
             ELSE {found} END)"
        ))
    }

    fn select(&mut self, select: &SubSelect) -> Sql {
        let mut sql = format!("SELECT {} FROM ", column_name(select.column));
        let names: Vec<&str> = select.tables.iter().map(|table| table.name()).collect();
        sql.push_str(&names.join(", "));
        if select.elements {
            // What is no array would be an error that fails the whole query.
            sql.push_str(if self.is_postgres() {
                ", LATERAL json_array_elements(CASE json_typeof(commands.results) \
                 WHEN 'array' THEN commands.results END) AS element(value)"
            } else {
                ", json_each(CASE json_type(commands.results) \
                 WHEN 'array' THEN commands.results END) AS element"
            });
        }
        if let Some(condition) = &select.condition {
            let condition = self.condition(condition)?;
            // Writing to a string cannot fail.
            let _ = write!(sql, " WHERE {condition}");
        }
        Ok(sql)
    }
}

fn negate(negated: bool, sql: &str) -> String {
    if negated { format!("(NOT ({sql}))") } else { format!("({sql})") }
}

fn column_name(column: Column) -> String {
    format!("{}.{}", column.table.name(), column.name)
}

/// The paths that together cover the steps: a number that may be a key or an
/// index needs both, of which at most one leads anywhere.
fn sqlite_paths(steps: &[Step]) -> Vec<String> {
    let mut paths = vec!["$".to_owned()];
    for step in steps {
        // Keys hold no quote and no backslash.
        let key = |key: &str| format!(".\"{key}\"");
        let index =
            |index: i32| if index < 0 { format!("[#{index}]") } else { format!("[{index}]") };
        let endings = match step {
            Step::Key(name) => vec![key(name)],
            Step::Index(at) => vec![index(*at)],
            Step::KeyOrIndex(at) => vec![key(&at.to_string()), index(*at)],
        };
        paths = paths
            .iter()
            .flat_map(|path| endings.iter().map(move |ending| format!("{path}{ending}")))
            .collect();
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Target;

    fn rendered(text: &str, dialect: Dialect) -> Rendered {
        let target: Target = text.parse().unwrap();
        render(target.condition(), dialect, Timestamp::from_unix(0, 0).unwrap(), 3).unwrap()
    }

    #[test]
    fn no_text_of_the_target_reaches_the_sql() {
        let text =
            "name = 'xyzzy' AND tags->>'xyzzy' LIKE 'xyzzy' AND mode ~ 'xyzzy' AND pid = '777'
            AND environment#>>'{xyzzy,777}' ILIKE '%xyzzy' AND id IN (SELECT agentid FROM commands,
            json_array_elements(commands.results) AS xyzzy WHERE xyzzy#>>'{xyzzy}' = 'xyzzy')";
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let rendered = rendered(text, dialect);
            assert!(!rendered.sql.contains("xyzzy") && !rendered.sql.contains("777"));
            assert!(rendered.binds.len() >= 10);
        }
    }

    #[test]
    fn numbers_parameters_from_the_given_one() {
        let postgres =
            rendered("name < 'b' AND starttime > NOW() - INTERVAL '1 hour'", Dialect::Postgres);
        assert_eq!(
            postgres.sql,
            "(((agents.name COLLATE \"C\") < ($3::text COLLATE \"C\")) AND \
             (agents.starttime > $4::timestamptz))"
        );
        let sqlite = rendered("starttime > NOW() - INTERVAL '1 hour'", Dialect::Sqlite);
        assert_eq!(sqlite.sql, "(agents.starttime > $3)");
        assert_eq!(sqlite.binds, [Bind::Text("1969-12-31T23:00:00.000000Z".to_owned())]);
    }

    #[test]
    fn the_most_complex_target_stays_bounded() {
        let one = "(tags#>>'{1,2}')::int::text::int IN ((tags#>>'{1,2}')::int::text::int) OR ";
        let text = one.repeat(2000 / one.len()) + "1=1";
        assert!(rendered(&text, Dialect::Sqlite).sql.len() < MAX_SQL);
    }
}
