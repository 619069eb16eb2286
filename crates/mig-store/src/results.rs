//! Makes texts of foreign documents fit for a JSON column.

use mig_types::{ModuleResult, Tags};
use serde_json::{Map, Value};

/// PostgreSQL cannot process U+0000 inside JSON: one such text would break
/// every later query that looks into the column.
const NUL: char = '\0';
const REPLACEMENT: &str = "NULL";

/// Replaces U+0000 in every text of the results by `NULL`.
pub(crate) fn clean_results(results: &mut [ModuleResult]) {
    for result in results {
        clean_value(&mut result.elements);
        clean_value(&mut result.statistics);
        for error in result.errors.iter_mut().flatten() {
            clean_text(error);
        }
    }
}

pub(crate) fn clean_text(text: &mut String) {
    if text.contains(NUL) {
        *text = text.replace(NUL, REPLACEMENT);
    }
}

/// Texts and keys, however deep. The depth is bounded by the JSON reader.
pub(crate) fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => clean_text(text),
        Value::Array(list) => list.iter_mut().for_each(clean_value),
        Value::Object(map) => clean_map(map),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub(crate) fn clean_tags(tags: &mut Tags) {
    clean_map(tags);
}

fn clean_map(map: &mut Map<String, Value>) {
    map.values_mut().for_each(clean_value);
    if map.keys().any(|key| key.contains(NUL)) {
        *map = std::mem::take(map)
            .into_iter()
            .map(|(key, value)| (key.replace(NUL, REPLACEMENT), value))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn replaces_in_values_and_keys_and_leaves_literal_backslashes() {
        let mut value = json!({"a\0b": ["\0", {"deep\0": "x\0y"}], "plain": "\\u0000", "n": 1.5});
        clean_value(&mut value);
        assert_eq!(
            value,
            json!({"aNULLb": ["NULL", {"deepNULL": "xNULLy"}], "plain": "\\u0000", "n": 1.5})
        );
    }

    proptest::proptest! {
        #[test]
        fn no_nul_survives(text in "[a\\x00\\\\u0]{0,12}", key in "[b\\x00]{0,4}") {
            let mut results = [ModuleResult {
                elements: json!({ key: [text.clone()] }),
                errors: Some(vec![text]),
                ..ModuleResult::default()
            }];
            clean_results(&mut results);
            let [result] = results;
            for (key, list) in result.elements.as_object().unwrap() {
                proptest::prop_assert!(!key.contains(NUL));
                proptest::prop_assert!(!list[0].as_str().unwrap().contains(NUL));
            }
            proptest::prop_assert!(!result.errors.unwrap()[0].contains(NUL));
        }
    }
}
