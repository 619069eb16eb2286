//! The tree a target means.

use super::columns::{Column, ColumnType};
use super::number::Number;
use super::pattern::{LikePattern, RegexPattern};
use super::when::Instant;

/// A boolean condition about one agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `TRUE`, `FALSE`, or `NULL` as `None`.
    Literal(Option<bool>),
    /// At least two members.
    And(Vec<Condition>),
    /// At least two members.
    Or(Vec<Condition>),
    Not(Box<Condition>),
    /// An operand of type [`OperandType::Bool`].
    Holds(Operand),
    /// Both sides have comparable types.
    Compare {
        op: CompareOp,
        left: Operand,
        right: Operand,
    },
    Like {
        operand: Operand,
        pattern: LikePattern,
        negated: bool,
    },
    Matches {
        operand: Operand,
        pattern: RegexPattern,
        negated: bool,
    },
    IsNull {
        operand: Operand,
        negated: bool,
    },
    /// `IS [NOT] TRUE`, `FALSE` or, as `None`, `UNKNOWN`. Never null itself.
    IsTruth {
        condition: Box<Condition>,
        value: Option<bool>,
        negated: bool,
    },
    In {
        operand: Operand,
        list: Vec<Operand>,
        negated: bool,
    },
    InSelect {
        operand: Operand,
        select: Box<SubSelect>,
        negated: bool,
    },
}

/// A comparison. Texts compare byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl CompareOp {
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        }
    }

    /// Whether the answer depends on more than equality.
    pub const fn is_ordering(self) -> bool {
        !matches!(self, Self::Eq | Self::NotEq)
    }
}

/// A value inside a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Value(Value),
    Instant(Instant),
    /// A column that is not JSON.
    Column(Column),
    Json(JsonPath),
    /// A cast; what cannot be converted becomes null, so that no agent's data
    /// can make a target fail for all.
    Cast {
        operand: Box<Operand>,
        from: OperandType,
        to: OperandType,
    },
    /// ASCII letters only.
    Lower(Box<Operand>),
    /// ASCII letters only.
    Upper(Box<Operand>),
    /// In characters.
    Length(Box<Operand>),
}

impl Operand {
    /// The type, `None` for the null literal.
    pub fn operand_type(&self) -> Option<OperandType> {
        Some(match self {
            Self::Value(Value::Null) => return None,
            Self::Value(Value::Bool(_)) => OperandType::Bool,
            Self::Value(Value::Text(_)) | Self::Lower(_) | Self::Upper(_) => OperandType::Text,
            Self::Value(Value::Number(number)) if number.integer().is_some() => {
                OperandType::Integer
            }
            Self::Value(Value::Number(_)) => OperandType::Decimal,
            Self::Instant(_) => OperandType::Time,
            Self::Column(column) => match column.kind {
                ColumnType::Text => OperandType::Text,
                ColumnType::Integer => OperandType::Integer,
                ColumnType::Time => OperandType::Time,
                ColumnType::Json => OperandType::Json,
            },
            Self::Json(path) if path.as_text => OperandType::Text,
            Self::Json(_) => OperandType::Json,
            Self::Cast { to, .. } => *to,
            Self::Length(_) => OperandType::Integer,
        })
    }
}

/// What an operand yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandType {
    Text,
    /// 64 bits.
    Integer,
    /// At most nine digits before and six after the point.
    Decimal,
    Bool,
    Time,
    Json,
}

impl OperandType {
    /// How the type is called in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer | Self::Decimal => "a number",
            Self::Bool => "a boolean",
            Self::Time => "a time",
            Self::Json => "a JSON value",
        }
    }

    /// Whether values of both types can be compared.
    pub const fn comparable(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Text, Self::Text)
                | (Self::Integer | Self::Decimal, Self::Integer | Self::Decimal)
                | (Self::Bool, Self::Bool)
                | (Self::Time, Self::Time)
        )
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// Without U+0000.
    Text(String),
    Number(Number),
}

/// A place inside a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    pub base: JsonBase,
    /// Outermost first. Not empty when the base is an element.
    pub steps: Vec<Step>,
    /// `->>` and `#>>`: strings unquoted, JSON null as null.
    pub as_text: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonBase {
    Column(Column),
    /// One element of `commands.results`, see [`SubSelect::elements`].
    Element,
}

/// One step into a JSON document.
///
/// Keys hold no `"`, no `\` and no control character, so a path can quote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object only.
    Key(String),
    /// Into an array only; negative counts from the end.
    Index(i32),
    /// `#>` with a number: an array's index or an object's key.
    KeyOrIndex(i32),
}

/// `SELECT column FROM tables [, json_array_elements(commands.results) AS r]
/// [WHERE condition]`. Conditions inside see these tables only.
#[derive(Debug, Clone, PartialEq)]
pub struct SubSelect {
    pub column: Column,
    /// One or two different tables.
    pub tables: Vec<super::columns::Table>,
    /// Whether each row is joined with each element of `commands.results`;
    /// results that are no array have none.
    pub elements: bool,
    pub condition: Option<Condition>,
}
