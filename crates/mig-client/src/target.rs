//! Target texts before they are sent: macros and chaining of actions.

use std::collections::BTreeMap;

use mig_runtime::config::ConfigError;
use mig_types::ActionId;

/// Named targets of a `.migrc`, by name. The later of two equal names wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Macros(BTreeMap<String, String>);

impl Macros {
    /// Reads `name:target` lines.
    ///
    /// # Errors
    ///
    /// When a line has no colon, or nothing before it.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, ConfigError> {
        let mut macros = BTreeMap::new();
        for line in lines {
            let line = line.as_ref();
            // The first colon: targets may hold more of them.
            match line.split_once(':') {
                Some((name, body)) if !name.is_empty() => {
                    macros.insert(name.to_owned(), body.to_owned());
                }
                _ => {
                    let reason = format!("{line:?} is not of the form name:target");
                    return Err(ConfigError::invalid("targets.macro", reason));
                }
            }
        }
        Ok(Self(macros))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, body)| (name.as_str(), body.as_str()))
    }

    /// Replaces a target that is the name of a macro by its body, and `@name`
    /// inside an expression by the body in parentheses. Once, not recursively;
    /// anything else is returned as it is.
    ///
    /// ```
    /// # use mig_client::target::Macros;
    /// let macros = Macros::parse(&["web:name LIKE 'web%'"]).unwrap();
    /// assert_eq!(macros.expand("web"), "name LIKE 'web%'");
    /// assert_eq!(macros.expand("@web AND pid < 5"), "(name LIKE 'web%') AND pid < 5");
    /// assert_eq!(macros.expand("name = 'web'"), "name = 'web'");
    /// assert_eq!(macros.expand("name = '@web'"), "name = '@web'");
    /// ```
    pub fn expand(&self, target: &str) -> String {
        if let Some(body) = self.get(target) {
            return body.to_owned();
        }
        let mut out = String::with_capacity(target.len());
        let mut quoted = false;
        let mut rest = target;
        while let Some(character) = rest.chars().next() {
            let tail = rest.get(character.len_utf8()..).unwrap_or_default();
            quoted ^= character == '\'';
            let end = tail.find(|c: char| !is_name(c)).unwrap_or(tail.len());
            let (name, after) = tail.split_at(end);
            match self.get(name) {
                Some(body) if character == '@' && !quoted => {
                    out.extend(["(", body, ")"]);
                    rest = after;
                }
                _ => {
                    out.push(character);
                    rest = tail;
                }
            }
        }
        out
    }
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// Restricts `target` to agents on which action `id` found something, or did
/// not.
///
/// ```
/// # use mig_client::target::among_results;
/// let id = "123".parse().unwrap();
/// assert_eq!(
///     among_results(id, true, "a OR b"),
///     "id IN (select agentid from commands, json_array_elements(commands.results) as r \
///      where actionid=123 and r#>>'{foundanything}' = 'true') AND (a OR b)"
/// );
/// ```
pub fn among_results(id: ActionId, found: bool, target: &str) -> String {
    format!(
        "id IN (select agentid from commands, json_array_elements(commands.results) as r \
         where actionid={id} and r#>>'{{foundanything}}' = '{found}') AND ({target})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_macro_without_name_or_colon() {
        for line in ["foo", ":body", ""] {
            let error = Macros::parse(&[line]).unwrap_err();
            assert!(error.to_string().contains("name:target"), "{error}");
        }
    }

    #[test]
    fn the_later_of_two_equal_names_wins_and_bodies_keep_colons() {
        let macros = Macros::parse(&["a:1", "b:x::json", "a:2"]).unwrap();
        assert_eq!(macros.get("a"), Some("2"));
        assert_eq!(macros.get("b"), Some("x::json"));
        assert_eq!(macros.iter().count(), 2);
    }

    #[test]
    fn expansion_happens_once_and_only_for_names() {
        let macros = Macros::parse(&["a:@b", "b:x", "caf\u{e9}:y"]).unwrap();
        for (target, expanded) in [
            ("a", "@b"),
            ("@a", "(@b)"),
            ("@c AND @b", "@c AND (x)"),
            ("tags @> '@b' OR @b", "tags @> '@b' OR (x)"),
            ("\u{e9}@b\u{e9}", "\u{e9}(x)\u{e9}"),
            ("@bb", "@bb"),
            ("", ""),
            ("caf\u{e9}", "y"),
        ] {
            assert_eq!(macros.expand(target), expanded, "{target}");
        }
    }
}
