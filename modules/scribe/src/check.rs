//! What a document has to be, before anything is looked at.

use std::collections::{HashMap, HashSet};

use crate::bounds::{MAX_OBJECTS, MAX_TESTS, MAX_VARIABLES};
use crate::params::{Document, Object, Source, Test};
use crate::shelf::{Shelf, without_bang};

/// Checks a document; the first problem is the one that is named.
///
/// Objects of tests, operations and expressions of tests are not checked: those
/// tests fail when they run, the others do not.
///
/// # Errors
///
/// A sentence for the investigator.
pub(crate) fn check(document: &Document) -> Result<(), String> {
    for (what, count, most) in [
        ("variables", document.variables.len(), MAX_VARIABLES),
        ("objects", document.objects.len(), MAX_OBJECTS),
        ("tests", document.tests.len(), MAX_TESTS),
    ] {
        if count > most {
            return Err(format!("the document has {count} {what}, at most {most} are accepted"));
        }
    }
    let names: HashSet<&str> = document.objects.iter().map(|object| &*object.object).collect();
    let mut shelf = Shelf::default();
    for object in &document.objects {
        if object.object.is_empty() {
            return Err("an object in document has no identifier".to_owned());
        }
        check_object(object, &names, &mut shelf)
            .map_err(|reason| format!("{}: {reason}", object.object))?;
    }
    let tests: HashSet<&str> = document.tests.iter().map(|test| &*test.test).collect();
    document.tests.iter().try_for_each(|test| check_test(test, &tests))
}

fn check_object(object: &Object, names: &HashSet<&str>, shelf: &mut Shelf) -> Result<(), String> {
    let present = |source: &str, what: &str, text: &str| {
        if text.is_empty() { Err(format!("{source} must specify {what}")) } else { Ok(()) }
    };
    match object.source().ok_or("no valid source interface")? {
        Source::Package(package) => {
            if !package.collectmatch.is_empty() {
                shelf.get(&package.collectmatch)?;
            }
        }
        Source::Content(content) => {
            present("filecontent", "file", &content.file)?;
            present("filecontent", "expression", &content.expression)?;
            shelf.get(without_bang(&content.file))?;
            shelf.get(&content.expression)?;
            if let Some(unknown) =
                content.import_chain.iter().find(|name| !names.contains(&***name))
            {
                return Err(format!("unknown object {unknown:?} in import-chain"));
            }
        }
        // Its expression is looked at when it is used, as ever.
        Source::Name(name) => present("filename", "file", &name.file)?,
        Source::Raw(raw) => {
            for entry in &raw.identifiers {
                present("raw", "identifiers", &entry.identifier)?;
                present("raw", "values", &entry.value)?;
            }
        }
        Source::Line(line) => {
            present("hasline", "file", &line.file)?;
            present("hasline", "expression", &line.expression)?;
            shelf.get(without_bang(&line.file))?;
            shelf.get(&line.expression)?;
        }
    }
    Ok(())
}

fn check_test(test: &Test, tests: &HashSet<&str>) -> Result<(), String> {
    let id = &test.test;
    if id.is_empty() {
        return Err("a test in document has no identifier".to_owned());
    }
    for dependency in &test.dependencies {
        if dependency == id {
            return Err(format!("{id}: test cannot reference itself"));
        }
        if !tests.contains(&**dependency) {
            return Err(format!("{id}: unknown test {dependency:?}"));
        }
    }
    let quoted = |tag: &crate::params::Tag| tag.key.contains('"') || tag.value.contains('"');
    if test.tags.iter().any(quoted) {
        return Err(format!("{id}: tags cannot contain double quotes"));
    }
    Ok(())
}

/// The tests of a document, by position: which tests each depends on. Of tests
/// with one identifier the first one is meant.
pub(crate) fn dependencies(document: &Document) -> Vec<Vec<usize>> {
    let mut places = HashMap::new();
    for (place, test) in document.tests.iter().enumerate() {
        places.entry(&*test.test).or_insert(place);
    }
    let of = |test: &Test| {
        test.dependencies.iter().filter_map(|name| places.get(&**name).copied()).collect()
    };
    document.tests.iter().map(of).collect()
}

/// A test that depends on itself, by way of others.
pub(crate) fn find_cycle(document: &Document) -> Option<&str> {
    let edges = dependencies(document);
    let mut is_done = vec![false; edges.len()];
    let mut is_open = vec![false; edges.len()];
    for start in 0..edges.len() {
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let place = *at;
            let (Some(done), Some(open)) = (is_done.get_mut(place), is_open.get_mut(place)) else {
                break;
            };
            let target = if *done { None } else { edges.get(place).and_then(|all| all.get(*next)) };
            *open = target.is_some();
            let Some(target) = target else {
                *done = true;
                path.pop();
                continue;
            };
            *next += 1;
            if is_open.get(*target).copied().unwrap_or(false) {
                return document.tests.get(*target).map(|test| &*test.test);
            }
            path.push((*target, 0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::wire;

    fn document(text: &str) -> Document {
        wire::from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_the_first_problem() {
        let many = (0..=MAX_VARIABLES).map(|_| "{}").collect::<Vec<_>>().join(",");
        let many = format!(r#"{{"variables":[{many}]}}"#);
        for (text, reason) in [
            (&*many, "the document has 1001 variables, at most 1000 are accepted"),
            (r#"{"objects":[{}]}"#, "an object in document has no identifier"),
            (r#"{"objects":[{"object":"a"}]}"#, "a: no valid source interface"),
            (
                r#"{"objects":[{"object":"a","package":{"name":"x","collectmatch":"("}}]}"#,
                "a: invalid regular expression",
            ),
            (
                r#"{"objects":[{"object":"a","package":{"collectmatch":"x"}}]}"#,
                "a: no valid source interface",
            ),
            (
                r#"{"objects":[{"object":"a","filecontent":{"path":"/"}}]}"#,
                "a: filecontent must specify file",
            ),
            (
                r#"{"objects":[{"object":"a","filecontent":{"path":"/","file":"b"}}]}"#,
                "a: filecontent must specify expression",
            ),
            (
                r#"{"objects":[{"object":"a","filecontent":{"path":"/","file":"(","expression":"b"}}]}"#,
                "a: invalid regular expression",
            ),
            (
                r#"{"objects":[{"object":"a","filecontent":{"path":"/","file":"b","expression":"["}}]}"#,
                "a: invalid regular expression",
            ),
            (
                r#"{"objects":[{"object":"a","filecontent":
                    {"path":"/","file":"b","expression":"c","import-chain":["a","z"]}}]}"#,
                r#"a: unknown object "z" in import-chain"#,
            ),
            (
                r#"{"objects":[{"object":"a","filename":{"path":"/"}}]}"#,
                "a: filename must specify file",
            ),
            (
                r#"{"objects":[{"object":"a","raw":{"identifiers":[{"identifier":"i"}]}}]}"#,
                "a: raw must specify values",
            ),
            (
                r#"{"objects":[{"object":"a","raw":{"identifiers":[{"value":"i"}]}}]}"#,
                "a: raw must specify identifiers",
            ),
            (
                r#"{"objects":[{"object":"a","hasline":{"path":"/","file":"f"}}]}"#,
                "a: hasline must specify expression",
            ),
            (r#"{"tests":[{"name":"a"}]}"#, "a test in document has no identifier"),
            (r#"{"tests":[{"test":"a","if":["b"]},{"test":""}]}"#, r#"a: unknown test "b""#),
            (r#"{"tests":[{"test":"a","if":["a"]}]}"#, "a: test cannot reference itself"),
            (
                r#"{"tests":[{"test":"a","tags":[{"key":"k","value":"a\"b"}]}]}"#,
                "a: tags cannot contain double quotes",
            ),
        ] {
            let found = check(&document(text)).unwrap_err();
            assert!(found.starts_with(reason), "{text}: {found}");
        }
    }

    #[test]
    fn leaves_the_rest_to_the_tests() {
        for text in [
            "{}",
            r#"{"objects":null,"tests":null,"variables":null}"#,
            r#"{"objects":[{"object":"a","filename":{"path":"/","file":"("}}]}"#,
            r#"{"objects":[{"object":"a","package":{"name":"x"}},{"object":"a","package":{"name":"y"}}]}"#,
            r#"{"tests":[{"test":"a","object":"none","regexp":{"value":"("},
                "evr":{"operation":"x","value":"1"}},{"test":"a"}]}"#,
            r#"{"tests":[{"test":"a","if":["b"]},{"test":"b","if":["a"]}]}"#,
        ] {
            assert_eq!(check(&document(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn finds_tests_that_wait_for_themselves() {
        for (text, found) in [
            (r#"{"tests":[{"test":"a","if":["b"]},{"test":"b","if":["a"]}]}"#, true),
            (
                r#"{"tests":[{"test":"x"},{"test":"a","if":["x","b"]},
                    {"test":"b","if":["x","c"]},{"test":"c","if":["b"]}]}"#,
                true,
            ),
            (
                r#"{"tests":[{"test":"a","if":["b","c"]},{"test":"b","if":["c"]},{"test":"c"}]}"#,
                false,
            ),
            // The second "b" is not the one that "a" means.
            (r#"{"tests":[{"test":"b"},{"test":"a","if":["b"]},{"test":"b","if":["a"]}]}"#, false),
        ] {
            assert_eq!(find_cycle(&document(text)).is_some(), found, "{text}");
        }
        let long: Vec<Test> = (0..MAX_TESTS)
            .map(|at| Test {
                test: at.to_string(),
                dependencies: vec![((at + 1) % MAX_TESTS).to_string()],
                ..Test::default()
            })
            .collect();
        assert!(find_cycle(&Document { tests: long, ..Document::default() }).is_some());
    }
}
