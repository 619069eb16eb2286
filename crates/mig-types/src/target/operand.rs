//! Target text to tree: values.

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, Interval as SqlInterval, UnaryOperator, Value as SqlValue,
};

use super::ast::{JsonBase, JsonPath, Operand, OperandType, Value};
use super::columns::{Column, ColumnType};
use super::json_path;
use super::number::Number;
use super::parse::{Scope, TargetError};
use super::when::{Instant, InstantBase, Interval, parse_time};

/// Casts of casts; each level doubles the SQL.
const MAX_CASTS: usize = 4;

/// Reads a value.
pub(super) fn operand(expr: &Expr, scope: Scope<'_>) -> Result<Operand, TargetError> {
    let scope = scope.deeper(expr)?;
    match expr {
        Expr::Nested(inner) => operand(inner, scope),
        Expr::Value(value) => literal(expr, &value.value),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match operand(inner, scope)? {
            Operand::Value(Value::Number(number)) => Ok(number_operand(number.negated())),
            _ => Err(TargetError::in_expr(expr, "a minus can only stand before a number")),
        },
        Expr::Identifier(name) => column(expr, None, name, scope),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, name] => column(expr, Some(table), name, scope),
            _ => Err(TargetError::in_expr(expr, "a column is written name or agents.name")),
        },
        Expr::BinaryOp { op, .. } if json_path::is_access(op) => json_access(expr, scope),
        Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            shifted(left, right, false, scope)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => {
            shifted(left, right, true, scope)
        }
        Expr::BinaryOp { op, .. } => Err(TargetError::in_expr(
            expr,
            format!(
                "the operator {op} is not supported here; use = <> < <= > >= LIKE ILIKE ~ ~* IN \
                 -> ->> #> #>>"
            ),
        )),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: inner,
            data_type,
            format: None,
        } => cast(expr, inner, data_type, scope),
        Expr::TypedString(typed) => match type_named(&typed.data_type) {
            Some(CastTarget::Time) => {
                let text = typed.value.value.clone().into_string().unwrap_or_default();
                time_literal(expr, &text)
            }
            _ => Err(TargetError::in_expr(expr, "of typed literals only TIMESTAMP is supported")),
        },
        Expr::Interval(_) => {
            Err(TargetError::in_expr(expr, "an interval can only follow NOW() + or NOW() -"))
        }
        Expr::Function(function) => call(expr, function, scope),
        Expr::Subquery(_) | Expr::Exists { .. } => {
            Err(TargetError::in_expr(expr, "a sub-select can only stand after IN"))
        }
        _ => Err(TargetError::in_expr(expr, "this is not supported in a target")),
    }
}

fn number_operand(number: Number) -> Operand {
    Operand::Value(Value::Number(number))
}

fn literal(expr: &Expr, value: &SqlValue) -> Result<Operand, TargetError> {
    Ok(Operand::Value(match value {
        SqlValue::Null => Value::Null,
        SqlValue::Boolean(value) => Value::Bool(*value),
        SqlValue::SingleQuotedString(text) | SqlValue::EscapedStringLiteral(text) => {
            // An escape may spell the character that no database text holds.
            if text.contains('\0') {
                return Err(TargetError::in_expr(expr, "a text cannot hold a zero character"));
            }
            Value::Text(text.clone())
        }
        SqlValue::Number(digits, false) => {
            Value::Number(Number::parse(digits).ok_or_else(|| {
                let message = "a number has up to 18 digits, or up to 9 before and 6 after a point";
                TargetError::in_expr(expr, message)
            })?)
        }
        _ => return Err(TargetError::in_expr(expr, "texts are written 'in single quotes'")),
    }))
}

/// The text of a quoted literal.
pub(super) fn text_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(expr) => text_literal(expr),
        Expr::Value(value) => match &value.value {
            SqlValue::SingleQuotedString(text) | SqlValue::EscapedStringLiteral(text)
                if !text.contains('\0') =>
            {
                Some(text)
            }
            _ => None,
        },
        _ => None,
    }
}

/// A name as `PostgreSQL` sees it.
pub(super) fn folded(name: &Ident) -> String {
    match name.quote_style {
        None => name.value.to_ascii_lowercase(),
        Some(_) => name.value.clone(),
    }
}

fn column(
    expr: &Expr,
    table: Option<&Ident>,
    name: &Ident,
    scope: Scope<'_>,
) -> Result<Operand, TargetError> {
    let name = folded(name);
    if table.is_none() && scope.element == Some(name.as_str()) {
        let path = JsonPath { base: JsonBase::Element, steps: Vec::new(), as_text: false };
        return Ok(Operand::Json(path));
    }
    let qualifier = table.map(folded);
    let wanted = |name_of: &str| qualifier.as_ref().is_none_or(|q| q == name_of);
    let tables = scope.tables.iter().filter(|table| wanted(table.name()));
    let found: Vec<Column> = tables.filter_map(|table| table.column(&name)).collect();
    match found.as_slice() {
        [column] if column.kind == ColumnType::Json => Ok(Operand::Json(JsonPath {
            base: JsonBase::Column(*column),
            steps: Vec::new(),
            as_text: false,
        })),
        [column] => Ok(Operand::Column(*column)),
        [] => {
            let known: Vec<String> = scope
                .tables
                .iter()
                .map(|table| format!("{} has {}", table.name(), table.column_names()))
                .collect();
            let message = format!("no column {expr} here; {}", known.join("; "));
            Err(TargetError::in_expr(expr, message))
        }
        [first, ..] => {
            let message = format!("{name} is ambiguous; write {}.{name}", first.table.name());
            Err(TargetError::in_expr(expr, message))
        }
    }
}

fn json_access(expr: &Expr, scope: Scope<'_>) -> Result<Operand, TargetError> {
    let (base, steps, as_text) = json_path::read(expr)?;
    match operand(base, scope)? {
        Operand::Json(path) if path.steps.is_empty() && !path.as_text => {
            if steps.is_empty() && path.base == JsonBase::Element {
                return Err(TargetError::in_expr(expr, "the path needs at least one key"));
            }
            Ok(Operand::Json(JsonPath { base: path.base, steps, as_text }))
        }
        _ => {
            let message = "-> ->> #> #>> read environment or tags only";
            Err(TargetError::in_expr(base, message))
        }
    }
}

fn shifted(
    left: &Expr,
    right: &Expr,
    minus: bool,
    scope: Scope<'_>,
) -> Result<Operand, TargetError> {
    let mut base = operand(left, scope)?;
    if let (Operand::Value(Value::Text(_)), Ok(_)) = (&base, interval(right)) {
        return Err(TargetError::in_expr(left, "cast the time: '2016-01-01'::timestamptz"));
    }
    let Operand::Instant(instant) = &mut base else {
        let message = "only NOW() and time literals can be added to; \
                       write heartbeattime > NOW() - INTERVAL '5 minutes'";
        return Err(TargetError::in_expr(left, message));
    };
    let shift = interval(right)?;
    if instant.shifts.len() >= 8 {
        return Err(TargetError::in_expr(right, "too many intervals"));
    }
    instant.shifts.push(if minus { shift.negated() } else { shift });
    Ok(base)
}

fn interval(expr: &Expr) -> Result<Interval, TargetError> {
    let wrong = |expr: &Expr| {
        TargetError::in_expr(expr, "expected an interval such as INTERVAL '5 minutes'")
    };
    match expr {
        Expr::Nested(inner) => interval(inner),
        Expr::Cast { expr: inner, data_type: DataType::Interval { .. }, .. } => {
            text_literal(inner).and_then(Interval::parse).ok_or_else(|| wrong(inner))
        }
        Expr::Interval(SqlInterval {
            value,
            leading_field,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }) => {
            let text = text_literal(value);
            let parsed = match leading_field {
                None => text.and_then(Interval::parse),
                Some(unit) => text.and_then(|text| Interval::of(text.trim(), &unit.to_string())),
            };
            parsed.ok_or_else(|| wrong(value))
        }
        expr => Err(wrong(expr)),
    }
}

fn time_literal(expr: &Expr, text: &str) -> Result<Operand, TargetError> {
    let time = parse_time(text).ok_or_else(|| {
        TargetError::in_expr(expr, "expected a time such as '2016-09-01 12:00:00' (UTC)")
    })?;
    Ok(Operand::Instant(Instant { base: InstantBase::At(time), shifts: Vec::new() }))
}

fn call(expr: &Expr, function: &Function, scope: Scope<'_>) -> Result<Operand, TargetError> {
    let unknown = || {
        let message = "the functions of a target are now(), lower(), upper() and length()";
        TargetError::in_expr(expr, message)
    };
    // Anything but a plain call prints differently.
    let name = function.name.to_string().to_ascii_lowercase();
    let arguments: Vec<&Expr> = match &function.args {
        FunctionArguments::None => Vec::new(),
        FunctionArguments::Subquery(_) => return Err(unknown()),
        FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
                _ => Err(unknown()),
            })
            .collect::<Result<_, _>>()?,
    };
    let printed: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let plain = format!("{}({})", function.name, printed.join(", "));
    let bare = function.args == FunctionArguments::None;
    if bare != (name == "current_timestamp") || (!bare && function.to_string() != plain) {
        return Err(unknown());
    }
    let text = |argument: &Expr| {
        let value = operand(argument, scope)?;
        match value.operand_type() {
            None | Some(OperandType::Text) => Ok(Box::new(value)),
            Some(other) => {
                let message = format!("{name}() needs a text, found {}", other.name());
                Err(TargetError::in_expr(argument, message))
            }
        }
    };
    match (name.as_str(), arguments.as_slice()) {
        ("now" | "current_timestamp", []) => {
            Ok(Operand::Instant(Instant { base: InstantBase::Now, shifts: Vec::new() }))
        }
        ("lower", [argument]) => text(argument).map(Operand::Lower),
        ("upper", [argument]) => text(argument).map(Operand::Upper),
        ("length" | "char_length", [argument]) => text(argument).map(Operand::Length),
        _ => Err(unknown()),
    }
}

enum CastTarget {
    Operand(OperandType),
    Time,
}

fn type_named(data_type: &DataType) -> Option<CastTarget> {
    let name = data_type.to_string().to_ascii_uppercase();
    Some(match name.as_str() {
        "TEXT" | "VARCHAR" | "CHARACTER VARYING" => CastTarget::Operand(OperandType::Text),
        "INT" | "INTEGER" | "BIGINT" | "INT4" | "INT8" => CastTarget::Operand(OperandType::Integer),
        "NUMERIC" | "DECIMAL" => CastTarget::Operand(OperandType::Decimal),
        "BOOL" | "BOOLEAN" => CastTarget::Operand(OperandType::Bool),
        "TIMESTAMPTZ"
        | "TIMESTAMP"
        | "TIMESTAMP WITH TIME ZONE"
        | "TIMESTAMP WITHOUT TIME ZONE" => CastTarget::Time,
        _ => return None,
    })
}

fn cast(
    expr: &Expr,
    inner: &Expr,
    data_type: &DataType,
    scope: Scope<'_>,
) -> Result<Operand, TargetError> {
    use OperandType::{Bool, Decimal, Integer, Json, Text};

    let Some(to) = type_named(data_type) else {
        let message = "casts are to text, int, bigint, numeric, bool and, of literals, \
                       timestamptz and interval";
        return Err(TargetError::in_expr(expr, message));
    };
    let value = operand(inner, scope)?;
    let to = match (to, &value) {
        (CastTarget::Time, Operand::Value(Value::Text(text))) => return time_literal(inner, text),
        (CastTarget::Time, _) if value.operand_type() == Some(OperandType::Time) => {
            return Ok(value);
        }
        (CastTarget::Time, _) => {
            let message = "only a quoted time can be cast to timestamptz";
            return Err(TargetError::in_expr(expr, message));
        }
        (CastTarget::Operand(to), _) => to,
    };
    if let Operand::Value(Value::Text(_)) = value {
        return coerce(inner, value, to);
    }
    let Some(from) = value.operand_type() else { return Ok(value) };
    let possible = matches!(
        (from, to),
        (Text, Integer | Decimal | Bool)
            | (Integer, Text | Decimal)
            | (Bool, Text | Integer)
            | (Json, Text)
    );
    if from == to {
        return Ok(value);
    }
    if !possible {
        let hint = if from == Json { "; use ->> instead of ->" } else { "" };
        let message = format!("{} cannot be cast to {}{hint}", from.name(), to.name());
        return Err(TargetError::in_expr(expr, message));
    }
    if casts(&value) >= MAX_CASTS {
        return Err(TargetError::in_expr(expr, "too many casts of one value"));
    }
    Ok(Operand::Cast { operand: Box::new(value), from, to })
}

fn casts(operand: &Operand) -> usize {
    match operand {
        Operand::Cast { operand, .. } => 1 + casts(operand),
        Operand::Lower(inner) | Operand::Upper(inner) | Operand::Length(inner) => casts(inner),
        _ => 0,
    }
}

/// Gives a quoted literal the type of what it is compared with, and refuses
/// pairs that some database would refuse.
pub(super) fn coerce_pair(
    (left_expr, mut left): (&Expr, Operand),
    (right_expr, mut right): (&Expr, Operand),
) -> Result<(Operand, Operand), TargetError> {
    let (Some(left_type), Some(right_type)) = (left.operand_type(), right.operand_type()) else {
        return Ok((left, right));
    };
    if let (Operand::Value(Value::Text(_)), false) = (&left, right_type == OperandType::Text) {
        left = coerce(left_expr, left, right_type)?;
    } else if let (Operand::Value(Value::Text(_)), false) = (&right, left_type == OperandType::Text)
    {
        right = coerce(right_expr, right, left_type)?;
    } else if !left_type.comparable(right_type) {
        let mut message =
            format!("{} cannot be compared with {}", left_type.name(), right_type.name());
        message.push_str(match (left_type, right_type) {
            (OperandType::Json, _) | (_, OperandType::Json) => "; use ->> instead of ->",
            (OperandType::Text, OperandType::Integer) => "; quote the number or add ::int",
            _ => "",
        });
        return Err(TargetError::in_expr(right_expr, message));
    }
    Ok((left, right))
}

/// Reads a quoted literal as a value of another type.
fn coerce(expr: &Expr, value: Operand, to: OperandType) -> Result<Operand, TargetError> {
    let Operand::Value(Value::Text(text)) = &value else { return Ok(value) };
    let trimmed = text.trim();
    let read = match to {
        OperandType::Text => return Ok(value),
        OperandType::Time => return time_literal(expr, text),
        OperandType::Integer => Number::parse_integer(trimmed).map(Value::Number),
        OperandType::Decimal => Number::parse(trimmed).map(Value::Number),
        OperandType::Bool => bool_word(trimmed).map(Value::Bool),
        OperandType::Json => {
            let message = "a JSON value cannot be compared with a text; use ->> instead of ->";
            return Err(TargetError::in_expr(expr, message));
        }
    };
    let wrong = || TargetError::in_expr(expr, format!("expected {}, found {text:?}", to.name()));
    read.map(Operand::Value).ok_or_else(wrong)
}

/// Words for true, as a cast to boolean takes them in any case.
pub const TRUE_WORDS: [&str; 6] = ["t", "true", "y", "yes", "on", "1"];
/// Words for false.
pub const FALSE_WORDS: [&str; 6] = ["f", "false", "n", "no", "off", "0"];

/// What a word means when cast to boolean.
pub(super) fn bool_word(word: &str) -> Option<bool> {
    let among = |words: [&str; 6]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    if among(TRUE_WORDS) { Some(true) } else { among(FALSE_WORDS).then_some(false) }
}
