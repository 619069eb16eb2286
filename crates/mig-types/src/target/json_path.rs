//! Paths into JSON columns: `-> 'key'`, `#>> '{key,0}'`.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value as SqlValue};

use super::ast::Step;
use super::operand::text_literal;
use super::parse::TargetError;

/// Longest path, and most steps that may be key or index: `SQLite` needs one
/// lookup for each combination.
const MAX_STEPS: usize = 8;
const MAX_AMBIGUOUS: usize = 2;

/// Whether the operator reads a part of a document.
pub(super) fn is_access(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Arrow
            | BinaryOperator::LongArrow
            | BinaryOperator::HashArrow
            | BinaryOperator::HashLongArrow
    )
}

/// Splits a chain of accesses into its base, the steps and whether it ends in
/// a text.
pub(super) fn read(expr: &Expr) -> Result<(&Expr, Vec<Step>, bool), TargetError> {
    let mut links = Vec::new();
    let mut base = expr;
    loop {
        match base {
            Expr::Nested(inner) => base = inner,
            Expr::BinaryOp { left, op, right } if is_access(op) => {
                if links.len() >= MAX_STEPS {
                    return Err(too_long(right));
                }
                links.push((op, right.as_ref()));
                base = left;
            }
            _ => break,
        }
    }
    let as_text = |op: &BinaryOperator| {
        matches!(op, BinaryOperator::LongArrow | BinaryOperator::HashLongArrow)
    };
    let mut steps = Vec::new();
    let mut text = false;
    for (op, right) in links.into_iter().rev() {
        if text {
            let message = "only the last step of a path can be ->> or #>>";
            return Err(TargetError::in_expr(right, message));
        }
        text = as_text(op);
        if matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow) {
            steps.push(arrow_step(right)?);
        } else {
            let list = text_literal(right).ok_or_else(|| {
                TargetError::in_expr(right, "#> and #>> take a path such as '{aws,instanceid}'")
            })?;
            for word in split_array(list).map_err(|m| TargetError::in_expr(right, m))? {
                steps.push(path_step(&word).map_err(|m| TargetError::in_expr(right, m))?);
            }
        }
        let ambiguous = steps.iter().filter(|step| matches!(step, Step::KeyOrIndex(_))).count();
        if steps.len() > MAX_STEPS || ambiguous > MAX_AMBIGUOUS {
            return Err(too_long(right));
        }
    }
    Ok((base, steps, text))
}

fn too_long(expr: &Expr) -> TargetError {
    let message = format!("a path has up to {MAX_STEPS} steps, {MAX_AMBIGUOUS} numbers among them");
    TargetError::in_expr(expr, message)
}

fn arrow_step(expr: &Expr) -> Result<Step, TargetError> {
    if let Some(key) = text_literal(expr) {
        let key = checked_key(key).map_err(|message| TargetError::in_expr(expr, message))?;
        return Ok(Step::Key(key));
    }
    let index = match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => digits(expr).map(|n| -n),
        expr => digits(expr),
    };
    index
        .map(Step::Index)
        .ok_or_else(|| TargetError::in_expr(expr, "-> and ->> take a quoted key or an index"))
}

fn digits(expr: &Expr) -> Option<i32> {
    match expr {
        Expr::Value(value) => match &value.value {
            SqlValue::Number(digits, false) if digits.len() <= 9 => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn checked_key(key: &str) -> Result<String, &'static str> {
    if key.chars().any(|c| matches!(c, '"' | '\\') || c.is_control()) {
        return Err("a key cannot hold quotes, backslashes or control characters");
    }
    Ok(key.to_owned())
}

fn path_step(word: &str) -> Result<Step, &'static str> {
    let number = word.trim().trim_start_matches(['+', '-']);
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return checked_key(word).map(Step::Key);
    }
    // Databases read other spellings of a number as an index too.
    match word.parse::<i32>() {
        Ok(index) if index.to_string() == word && number.len() <= 9 => Ok(Step::KeyOrIndex(index)),
        _ => Err("an index in a path is written in plain digits, at most nine"),
    }
}

/// Reads `PostgreSQL`'s array literal of texts, one dimension.
fn split_array(text: &str) -> Result<Vec<String>, &'static str> {
    const WRONG: &str = "a path is written '{key,key}'";
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or(WRONG)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    inner
        .split(',')
        .map(|word| {
            let word = word.trim();
            let quoted = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
            let plain = quoted.unwrap_or(word);
            let odd = plain.contains(['"', '\\', '{', '}']);
            let empty = quoted.is_none() && (word.is_empty() || word.eq_ignore_ascii_case("null"));
            if odd || empty { Err(WRONG) } else { Ok(plain.to_owned()) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_path() {
        for text in ["", "a", "{a", "{a,}", "{null}", "{\"a}", "{{a}}", "{a\\b}", "{,}", "{a b\"}"]
        {
            assert!(split_array(text).is_err(), "{text}");
        }
        for word in ["+1", " 1", "01", "-0", "9999999999"] {
            assert!(path_step(word).is_err(), "{word}");
        }
    }

    #[test]
    fn reads_paths() {
        assert_eq!(split_array("{}").unwrap(), Vec::<String>::new());
        assert_eq!(split_array(r#" { a , "b c",0} "#).unwrap(), ["a", "b c", "0"]);
        assert_eq!(path_step("-1").unwrap(), Step::KeyOrIndex(-1));
        assert_eq!(path_step("a1").unwrap(), Step::Key("a1".to_owned()));
    }
}
