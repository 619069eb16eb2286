//! `${key}` in texts.

use crate::bounds::MAX_TEXT;
use crate::params::Variable;

/// Puts the values of variables in, variable after variable: a later one is
/// found inside the value of an earlier one, not the other way round.
///
/// # Errors
///
/// A sentence when the text becomes too long.
pub(crate) fn expand(text: &str, variables: &[Variable]) -> Result<String, String> {
    let mut text = text.to_owned();
    for variable in variables {
        if !text.contains("${") {
            break;
        }
        let mark = format!("${{{}}}", variable.key);
        let count = text.matches(&mark).count();
        if count == 0 {
            continue;
        }
        // Values that hold other variables could double with each of them.
        let grown = count.saturating_mul(variable.value.len()).saturating_add(text.len());
        if grown > MAX_TEXT {
            return Err(format!("variables make a text longer than {MAX_TEXT} bytes"));
        }
        text = text.replace(&mark, &variable.value);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<Variable> {
        let variable = |(key, value): &(&str, &str)| Variable {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        pairs.iter().map(variable).collect()
    }

    #[test]
    fn later_variables_are_found_in_earlier_ones() {
        let forth = variables(&[("a", "x${b}"), ("b", "y")]);
        assert_eq!(expand("${a}/${b}/${c}/$a", &forth).unwrap(), "xy/y/${c}/$a");
        let back = variables(&[("b", "y"), ("a", "x${b}")]);
        assert_eq!(expand("${a}", &back).unwrap(), "x${b}");
        let odd = variables(&[("a.c*", "1"), ("(", "2"), ("", "3")]);
        assert_eq!(expand("${abc}${a.c*}${(}${}", &odd).unwrap(), "${abc}123");
    }

    #[test]
    fn doubling_ends_early() {
        let doubling: Vec<Variable> = (0..100)
            .map(|at| Variable {
                key: format!("v{at}"),
                value: format!("${{v{0}}}${{v{0}}}", at + 1),
            })
            .collect();
        assert!(expand("${v0}", &doubling).unwrap_err().contains("longer than"));
    }
}
