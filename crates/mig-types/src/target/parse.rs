//! Target text to tree: conditions.

use sqlparser::ast::{BinaryOperator, Expr, Query, Spanned as _, UnaryOperator, Value as SqlValue};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::MAX_CHARS;
use super::ast::{CompareOp, Condition, Operand, OperandType, Value};
use super::columns::Table;
use super::operand::{coerce_pair, operand, text_literal};
use super::pattern::{LikePattern, RegexPattern};
use super::sub_select::sub_select;

/// Parentheses and operators inside each other. `AND` and `OR` chains count
/// once, so real targets stay far below.
const MAX_DEPTH: usize = 50;

/// Why a text is not a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TargetError {
    /// 1-based.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    pub message: String,
}

impl TargetError {
    pub(super) fn at(location: Location, message: impl Into<String>) -> Self {
        // The parser gives line 0 to what it has no place for.
        let (line, column) = (location.line.max(1), location.column.max(1));
        Self { line, column, message: message.into() }
    }

    /// A fault at the beginning of an expression.
    pub(super) fn in_expr(expr: &Expr, message: impl Into<String>) -> Self {
        Self::at(expr.span().start, message)
    }
}

/// The tables whose columns an expression may name.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) tables: &'a [Table],
    /// The alias of `json_array_elements(commands.results)`.
    pub(super) element: Option<&'a str>,
    /// Sub-selects around this one.
    pub(super) selects: usize,
    /// Expressions around this one.
    pub(super) depth: usize,
}

impl Scope<'_> {
    /// Scope of an operand one level further in.
    pub(super) fn deeper(self, expr: &Expr) -> Result<Self, TargetError> {
        if self.depth >= MAX_DEPTH {
            return Err(TargetError::in_expr(expr, "the target is nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// Reads a condition about the rows of `table`.
pub(super) fn parse(text: &str, table: Table) -> Result<Condition, TargetError> {
    let start = Location::new(1, 1);
    if let Some((after, _)) = text.char_indices().nth(MAX_CHARS) {
        let message = format!("the target is longer than {MAX_CHARS} characters");
        return Err(TargetError::at(end_of(text.get(..after).unwrap_or_default()), message));
    }
    if text.contains('\0') {
        return Err(TargetError::at(start, "the target holds a zero character"));
    }
    if text.trim().is_empty() {
        return Err(TargetError::at(start, "the target is empty"));
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| TargetError::at(error.location, lower_first(&error.message)))?;
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
    let expr = match parser.parse_expr() {
        Ok(expr) => expr,
        Err(error) => {
            let place = match parser.peek_token().span.start {
                place if place.line == 0 => end_of(text),
                place => place,
            };
            return Err(parser_fault(&error, place));
        }
    };
    let rest = parser.next_token();
    match &rest.token {
        Token::EOF => {}
        Token::SemiColon => {
            let message = "a target is one condition; a semicolon cannot stand here";
            return Err(TargetError::at(rest.span.start, message));
        }
        Token::Word(word) if word.keyword == Keyword::WHERE => {
            let message = "a target is what follows WHERE, without the word";
            return Err(TargetError::at(rest.span.start, message));
        }
        token => {
            let message = format!("a target is one condition; {token} cannot follow it");
            return Err(TargetError::at(rest.span.start, message));
        }
    }
    let scope = Scope { tables: &[table], element: None, selects: 0, depth: 0 };
    condition(&expr, scope)
}

/// The place after the last character.
fn end_of(text: &str) -> Location {
    let lines = (1_u64..).zip(text.split('\n')).last();
    let (line, last) = lines.unwrap_or((1, text));
    Location::new(line, (1_u64..).zip(last.chars()).last().map_or(1, |(column, _)| column + 1))
}

/// The parser puts the place into its message only.
fn parser_fault(error: &ParserError, fallback: Location) -> TargetError {
    let message = match error {
        ParserError::RecursionLimitExceeded => {
            return TargetError::at(fallback, "the target is nested too deeply");
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    let placed = message.rsplit_once(" at Line: ").and_then(|(text, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((text, Location::new(line.parse().ok()?, column.parse().ok()?)))
    });
    let (text, location) = placed.unwrap_or((message, fallback));
    TargetError::at(location, lower_first(text))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// Reads a boolean expression.
pub(super) fn condition(expr: &Expr, scope: Scope<'_>) -> Result<Condition, TargetError> {
    let scope = scope.deeper(expr)?;
    let inner = |expr: &Expr| condition(expr, scope).map(Box::new);
    let truth = |expr: &Expr, value, negated| {
        Ok(Condition::IsTruth { condition: inner(expr)?, value, negated })
    };
    match expr {
        Expr::Nested(expr) => condition(expr, scope),
        Expr::BinaryOp { op: BinaryOperator::And, .. } => {
            chain(expr, &BinaryOperator::And, scope).map(Condition::And)
        }
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
            chain(expr, &BinaryOperator::Or, scope).map(Condition::Or)
        }
        Expr::BinaryOp { left, op, right } => binary(expr, left, op, right, scope),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => inner(expr).map(Condition::Not),
        Expr::Like { negated, any: false, expr, pattern, escape_char } => {
            like(expr, pattern, escape_char.as_deref(), false, *negated, scope)
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
            like(expr, pattern, escape_char.as_deref(), true, *negated, scope)
        }
        Expr::InList { expr, list, negated } => in_list(expr, list, *negated, scope),
        Expr::InSubquery { expr, subquery, negated } => in_select(expr, subquery, *negated, scope),
        Expr::Between { expr, negated, low, high } => between(expr, low, high, *negated, scope),
        Expr::IsNull(expr) => is_null(expr, false, scope),
        Expr::IsNotNull(expr) => is_null(expr, true, scope),
        Expr::IsTrue(expr) => truth(expr, Some(true), false),
        Expr::IsNotTrue(expr) => truth(expr, Some(true), true),
        Expr::IsFalse(expr) => truth(expr, Some(false), false),
        Expr::IsNotFalse(expr) => truth(expr, Some(false), true),
        Expr::IsUnknown(expr) => truth(expr, None, false),
        Expr::IsNotUnknown(expr) => truth(expr, None, true),
        Expr::Value(value) if value.value == SqlValue::Null => Ok(Condition::Literal(None)),
        Expr::Exists { .. } | Expr::Subquery(_) => {
            let message = "a sub-select can only stand after IN";
            Err(TargetError::in_expr(expr, message))
        }
        expr => match operand(expr, scope)? {
            Operand::Value(Value::Bool(value)) => Ok(Condition::Literal(Some(value))),
            value if value.operand_type() == Some(OperandType::Bool) => Ok(Condition::Holds(value)),
            other => {
                let found = other.operand_type().map_or("null", OperandType::name);
                let message = format!("expected a condition such as name = 'x', found {found}");
                Err(TargetError::in_expr(expr, message))
            }
        },
    }
}

/// Members of `a AND b AND c`, which the parser nests to the left.
fn chain(
    expr: &Expr,
    wanted: &BinaryOperator,
    scope: Scope<'_>,
) -> Result<Vec<Condition>, TargetError> {
    let mut members = Vec::new();
    let mut rest = expr;
    while let Expr::BinaryOp { left, op, right } = rest
        && op == wanted
    {
        members.push(condition(right, scope)?);
        rest = left;
    }
    members.push(condition(rest, scope)?);
    members.reverse();
    Ok(members)
}

fn binary(
    expr: &Expr,
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let compare = match op {
        BinaryOperator::Eq => CompareOp::Eq,
        BinaryOperator::NotEq => CompareOp::NotEq,
        BinaryOperator::Lt => CompareOp::Lt,
        BinaryOperator::LtEq => CompareOp::LtEq,
        BinaryOperator::Gt => CompareOp::Gt,
        BinaryOperator::GtEq => CompareOp::GtEq,
        BinaryOperator::PGRegexMatch => return regex(left, right, false, false, scope),
        BinaryOperator::PGRegexIMatch => return regex(left, right, true, false, scope),
        BinaryOperator::PGRegexNotMatch => return regex(left, right, false, true, scope),
        BinaryOperator::PGRegexNotIMatch => return regex(left, right, true, true, scope),
        _ => {
            // Either a good operand that is no condition, or a bad operator.
            let found = operand(expr, scope)?.operand_type().map_or("null", OperandType::name);
            let message = format!("expected a condition such as name = 'x', found {found}");
            return Err(TargetError::in_expr(expr, message));
        }
    };
    comparison((left, operand(left, scope)?), compare, (right, operand(right, scope)?))
}

fn comparison(
    left: (&Expr, Operand),
    op: CompareOp,
    right: (&Expr, Operand),
) -> Result<Condition, TargetError> {
    let place = left.0;
    let (left, right) = coerce_pair(left, right)?;
    let boolean = [&left, &right].iter().any(|o| o.operand_type() == Some(OperandType::Bool));
    if boolean && op.is_ordering() {
        return Err(TargetError::in_expr(place, "booleans can only be compared with = and <>"));
    }
    Ok(Condition::Compare { op, left, right })
}

/// An operand that must be text, or null.
fn text_operand(expr: &Expr, what: &str, scope: Scope<'_>) -> Result<Operand, TargetError> {
    let value = operand(expr, scope)?;
    match value.operand_type() {
        None | Some(OperandType::Text) => Ok(value),
        Some(other) => {
            let mut message = format!("{what} needs a text on its left, found {}", other.name());
            message.push_str(match other {
                OperandType::Json => "; use ->> instead of ->",
                OperandType::Integer => "; add ::text",
                _ => "",
            });
            Err(TargetError::in_expr(expr, message))
        }
    }
}

fn like(
    expr: &Expr,
    pattern: &Expr,
    escape: Option<&Expr>,
    ignore_case: bool,
    negated: bool,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let operand = text_operand(expr, "LIKE", scope)?;
    let escape = match escape {
        None => Some('\\'),
        Some(expr) => {
            let message = "ESCAPE takes one character, or none";
            let text = text_literal(expr).ok_or_else(|| TargetError::in_expr(expr, message))?;
            let mut chars = text.chars();
            let first = chars.next();
            if chars.next().is_some() {
                return Err(TargetError::in_expr(expr, message));
            }
            first
        }
    };
    let text = text_literal(pattern)
        .ok_or_else(|| TargetError::in_expr(pattern, "LIKE takes its pattern in quotes"))?;
    let pattern = LikePattern::new(text, escape, ignore_case)
        .map_err(|message| TargetError::in_expr(pattern, message))?;
    Ok(Condition::Like { operand, pattern, negated })
}

fn regex(
    expr: &Expr,
    pattern: &Expr,
    ignore_case: bool,
    negated: bool,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let operand = text_operand(expr, "~", scope)?;
    let text = text_literal(pattern)
        .ok_or_else(|| TargetError::in_expr(pattern, "~ takes its expression in quotes"))?;
    let pattern = RegexPattern::new(text, ignore_case)
        .map_err(|message| TargetError::in_expr(pattern, message))?;
    Ok(Condition::Matches { operand, pattern, negated })
}

fn in_list(
    expr: &Expr,
    list: &[Expr],
    negated: bool,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let value = operand(expr, scope)?;
    if list.is_empty() {
        return Err(TargetError::in_expr(expr, "IN needs at least one value"));
    }
    let mut members = Vec::with_capacity(list.len());
    for member in list {
        let (left, right) = coerce_pair((expr, value.clone()), (member, operand(member, scope)?))?;
        if left != value {
            // A literal would take on the type of each member in turn.
            let message = "a quoted value before IN can only be compared with texts";
            return Err(TargetError::in_expr(member, message));
        }
        members.push(right);
    }
    Ok(Condition::In { operand: value, list: members, negated })
}

fn in_select(
    expr: &Expr,
    query: &Query,
    negated: bool,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let value = operand(expr, scope)?;
    let select = sub_select(query, expr, scope)?;
    let column = Operand::Column(select.column);
    let (operand, _) = coerce_pair((expr, value), (expr, column))?;
    Ok(Condition::InSelect { operand, select: Box::new(select), negated })
}

fn between(
    expr: &Expr,
    low: &Expr,
    high: &Expr,
    negated: bool,
    scope: Scope<'_>,
) -> Result<Condition, TargetError> {
    let value = operand(expr, scope)?;
    let both = Condition::And(vec![
        comparison((expr, value.clone()), CompareOp::GtEq, (low, operand(low, scope)?))?,
        comparison((expr, value), CompareOp::LtEq, (high, operand(high, scope)?))?,
    ]);
    Ok(if negated { Condition::Not(Box::new(both)) } else { both })
}

fn is_null(expr: &Expr, negated: bool, scope: Scope<'_>) -> Result<Condition, TargetError> {
    Ok(Condition::IsNull { operand: operand(expr, scope)?, negated })
}

#[cfg(test)]
mod tests;
