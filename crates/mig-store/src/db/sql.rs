//! A statement and its bound values, spelled for one of the databases.

use chrono::Datelike as _;
use mig_types::Timestamp;
use serde_json::Value;

use crate::target_sql::Dialect;

/// A value to bind.
#[derive(Debug, Clone)]
pub(crate) enum Bind {
    Int(Option<i64>),
    Float(f64),
    Bool(bool),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Time(Timestamp),
    Ints(Vec<i64>),
    Texts(Vec<Option<String>>),
    Times(Vec<Timestamp>),
}

/// A column of a batch of rows; all columns of a batch are equally long.
pub(crate) enum Column {
    Int(&'static str, Vec<i64>),
    Text(&'static str, Vec<Option<String>>),
    /// JSON as text.
    Json(&'static str, Vec<Option<String>>),
    Time(&'static str, Vec<Timestamp>),
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Int(name, _)
            | Self::Text(name, _)
            | Self::Json(name, _)
            | Self::Time(name, _) => name,
        }
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Int(_, values) => values.get(row).copied().into(),
            Self::Text(_, values) | Self::Json(_, values) => {
                values.get(row).cloned().flatten().into()
            }
            Self::Time(_, values) => values.get(row).map(|time| time_text(*time)).into(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(_, values) => values.len(),
            Self::Text(_, values) | Self::Json(_, values) => values.len(),
            Self::Time(_, values) => values.len(),
        }
    }
}

/// A statement under construction. Text comes from this crate only; every
/// value is bound.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    dialect: Dialect,
    text: String,
    binds: Vec<Bind>,
    once: bool,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect, text: &str) -> Self {
        Self { dialect, text: text.to_owned(), binds: Vec::new(), once: false }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Keeps the statement out of the cache of prepared ones.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Has the statement planned for what it is about, each time, where the database would
    /// keep a plan. A table that is a queue, or new, has no rows when such a plan is made,
    /// and thousands when it is used: each is then compared with each.
    pub(crate) fn planned_anew(self) -> Self {
        match self.dialect {
            Dialect::Postgres => self.once(),
            Dialect::Sqlite => self,
        }
    }

    pub(crate) const fn is_once(&self) -> bool {
        self.once
    }

    pub(crate) fn into_parts(self) -> (String, Vec<Bind>) {
        (self.text, self.binds)
    }

    pub(crate) fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// The number the next bound value gets.
    pub(crate) fn next_bind(&self) -> usize {
        self.binds.len() + 1
    }

    /// Text whose placeholders start at [`Sql::next_bind`], and its values.
    pub(crate) fn push_bound(mut self, text: &str, binds: impl IntoIterator<Item = Bind>) -> Self {
        self.text.push_str(text);
        self.binds.extend(binds);
        self
    }

    pub(crate) fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        let number = self.binds.len().to_string();
        self.push("$").push(&number)
    }

    pub(crate) fn int(self, value: i64) -> Self {
        self.bind(Bind::Int(Some(value)))
    }

    pub(crate) fn text(self, value: impl Into<String>) -> Self {
        self.bind(Bind::Text(Some(value.into())))
    }

    pub(crate) fn time(self, value: Timestamp) -> Self {
        self.bind(Bind::Time(value))
    }

    pub(crate) fn bytes(self, value: Option<Vec<u8>>) -> Self {
        self.bind(Bind::Bytes(value))
    }

    /// JSON given as text.
    pub(crate) fn json(self, value: String) -> Self {
        let bound = self.text(value);
        match bound.dialect {
            Dialect::Postgres => bound.push("::json"),
            Dialect::Sqlite => bound,
        }
    }

    /// ` = any(…)` or its like, after a column of ids.
    pub(crate) fn among(self, ids: impl IntoIterator<Item = i64>) -> Self {
        let ids = ids.into_iter().collect();
        match self.dialect {
            Dialect::Postgres => self.push(" = any(").bind(Bind::Ints(ids)).push(")"),
            Dialect::Sqlite => self
                .push(" in (select value from json_each(")
                .text(Value::from(ids).to_string())
                .push("))"),
        }
    }

    /// A batch of rows as something to select from, called `alias`.
    pub(crate) fn rows(self, alias: &str, columns: Vec<Column>) -> Self {
        let names: Vec<_> = columns.iter().map(Column::name).collect();
        match self.dialect {
            Dialect::Postgres => {
                let picks: Vec<_> = columns
                    .iter()
                    .map(|column| match column {
                        Column::Json(name, _) => format!("{name}::json as {name}"),
                        other => other.name().to_owned(),
                    })
                    .collect();
                let mut sql = self.push("(select ").push(&picks.join(", ")).push(" from unnest(");
                for (index, column) in columns.into_iter().enumerate() {
                    sql = if index == 0 { sql } else { sql.push(", ") };
                    sql = match column {
                        Column::Int(_, values) => sql.bind(Bind::Ints(values)),
                        Column::Text(_, values) | Column::Json(_, values) => {
                            sql.bind(Bind::Texts(values))
                        }
                        Column::Time(_, values) => sql.bind(Bind::Times(values)),
                    };
                }
                sql.push(") as batch (").push(&names.join(", ")).push(")) as ").push(alias)
            }
            Dialect::Sqlite => {
                let picks: Vec<_> = names
                    .iter()
                    .enumerate()
                    .map(|(index, name)| format!("value ->> {index} as {name}"))
                    .collect();
                let count = columns.first().map_or(0, Column::len);
                let rows: Vec<Value> = (0..count)
                    .map(|row| columns.iter().map(|column| column.value(row)).collect())
                    .collect();
                self.push("(select ")
                    .push(&picks.join(", "))
                    .push(" from json_each(")
                    .text(Value::from(rows).to_string())
                    .push(")) as ")
                    .push(alias)
            }
        }
    }

    /// Row locks for the rows selected, so that two writers queue up. SQLite
    /// has one writer and needs none.
    pub(crate) fn locked(self) -> Self {
        match self.dialect {
            Dialect::Postgres => self.push(" for no key update"),
            Dialect::Sqlite => self,
        }
    }

    /// Row locks that pass over what another writer holds.
    pub(crate) fn locked_of(self, table: &str) -> Self {
        match self.dialect {
            Dialect::Postgres => {
                self.push(" for no key update of ").push(table).push(" skip locked")
            }
            Dialect::Sqlite => self,
        }
    }

    /// `column` matches a pattern in any case; backslash escapes.
    pub(crate) fn like(self, column: &str, pattern: &str) -> Self {
        match self.dialect {
            Dialect::Postgres => self.push(column).push(" ilike ").text(pattern),
            Dialect::Sqlite => self.push(column).push(" like ").text(pattern).push(" escape '\\'"),
        }
    }

    /// [`Sql::like`] for a column with an index on `lower(column)`, which serves
    /// patterns that begin with letters.
    pub(crate) fn like_indexed(self, column: &str, pattern: &str) -> Self {
        match self.dialect {
            Dialect::Postgres => {
                self.push("lower(").push(column).push(") like lower(").text(pattern).push(")")
            }
            Dialect::Sqlite => self.like(column, pattern),
        }
    }

    /// Whether some result of a command `c` has `foundanything` as wanted: as noted, or
    /// as the results have it where nothing is.
    pub(crate) fn found_anything(self, wanted: bool) -> Self {
        let bit = if wanted { "1" } else { "2" };
        let sql = self.push("case when c.found is not null then c.found & ").push(bit);
        sql.push(" <> 0 else ").found_in("c.results", wanted).push(" end")
    }

    /// Whether some element of a JSON list has `foundanything` as wanted.
    fn found_in(self, column: &str, wanted: bool) -> Self {
        let list = |kind: &str, each: &str| {
            format!(
                "exists (select 1 from {each}(case when {kind}({column}) = 'array' \
                 then {column} else '[]' end) as r where r.value ->> 'foundanything' = "
            )
        };
        match self.dialect {
            // Most texts do not even hold the words, which is far cheaper to see
            // than to take the list apart. The planner is not to see it: it
            // would take the pattern for a rare one.
            Dialect::Postgres => self
                .push("case when cast(")
                .push(column)
                .push(" as text) ~ ")
                .text(format!(r#""foundanything"\s*:\s*{wanted}"#))
                .push(" then ")
                .push(&list("json_typeof", "json_array_elements"))
                .text(wanted.to_string())
                .push(") else false end"),
            Dialect::Sqlite => {
                self.push(&list("json_type", "json_each")).int(i64::from(wanted)).push(")")
            }
        }
    }
}

/// What both databases hold exactly: microseconds, years 1 to 9999. A foreign
/// offset can move a time beyond; it would not be readable again.
pub(crate) fn storable(time: Timestamp) -> Timestamp {
    let beyond = time.datetime().year() > 9999;
    if beyond { Timestamp::NEVER } else { time.max(Timestamp::ZERO).truncate_micros() }
}

/// A time as SQLite keeps it: fixed width, so that texts sort like times.
pub(crate) fn time_text(time: Timestamp) -> String {
    storable(time).datetime().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_times_sort_like_times() {
        let times = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "2026-01-01T00:00:00Z"]
            .map(|text| Timestamp::parse(text).unwrap());
        let texts = times.map(time_text);
        assert_eq!(texts[1], "1969-12-31T23:59:59.500000Z");
        assert!(texts.is_sorted());
        assert_eq!(time_text(Timestamp::NEVER), "9998-01-11T11:11:11.000000Z");
        for (foreign, kept) in [
            ("9999-12-31T23:59:59-23:59", "9998-01-11T11:11:11.000000Z"),
            ("0000-01-01T00:00:00+23:59", "0001-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(time_text(Timestamp::parse(foreign).unwrap()), kept);
        }
    }

    #[test]
    fn a_batch_is_one_value_or_one_array_each_column() {
        let batch = || {
            vec![Column::Int("id", vec![1, 2]), Column::Json("doc", vec![Some("{}".into()), None])]
        };
        let (text, binds) =
            Sql::new(Dialect::Postgres, "select * from ").rows("r", batch()).into_parts();
        assert_eq!(
            text,
            "select * from (select id, doc::json as doc from unnest($1, $2) \
             as batch (id, doc)) as r"
        );
        assert_eq!(binds.len(), 2);
        let (text, binds) =
            Sql::new(Dialect::Sqlite, "select * from ").rows("r", batch()).into_parts();
        assert_eq!(
            text,
            "select * from (select value ->> 0 as id, value ->> 1 as doc from json_each($1)) as r"
        );
        let Some(Bind::Text(Some(json))) = binds.first() else { panic!("{binds:?}") };
        assert_eq!(json, r#"[[1,"{}"],[2,null]]"#);
    }
}
