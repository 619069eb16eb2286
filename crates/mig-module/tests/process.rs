//! A module process, driven as an agent drives it.
#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use mig_host::{Host, LocalHost};
use mig_module::args::{self, Kind};
use mig_module::process::{ServeOptions, parameters_message, serve, serve_on, serve_until_stopped};
use mig_module::{
    Budget, Module, ModuleError, ModuleResult, Parsed, ParsedArgs, Registry, Report, UsageError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Echoes its words; panics, fails or waits for its deadline when told to.
struct Echo;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Params {
    words: Vec<String>,
}

impl Module for Echo {
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "echoes its words";
    type Params = Params;
    type Elements = Vec<String>;
    type Statistics = Value;

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        if params.words.iter().any(String::is_empty) {
            return Err(ModuleError::invalid("empty words are not permitted"));
        }
        Ok(())
    }

    fn run(
        &self,
        _: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Vec<String>, Value>, ModuleError> {
        match params.words.first().map(String::as_str) {
            Some("panic") => panic!("told to"),
            Some("wait") => while budget.check().is_ok() {},
            Some("fail") => return Err(ModuleError::Failed("told to fail".to_owned())),
            _ => {}
        }
        budget.check()?;
        Ok(Report {
            foundanything: !params.words.is_empty(),
            success: true,
            elements: Some(params.words.clone()),
            ..Report::default()
        })
    }

    fn mask(&self, report: &mut Report<Vec<String>, Value>) {
        report.elements.iter_mut().flatten().for_each(|word| "masked".clone_into(word));
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        Ok(match args::parse(&[("word", Kind::List)], args)? {
            args::Outcome::Help => Parsed::Help,
            args::Outcome::Options(options) => {
                Parsed::Params(Params { words: options.list("word") })
            }
        })
    }

    fn print(&self, report: &Report<Vec<String>, Value>, found_only: bool) -> Vec<String> {
        let mut lines = report.elements.clone().unwrap_or_default();
        if !found_only {
            lines.extend(report.errors.clone());
        }
        lines
    }

    fn help(&self) -> String {
        "-word <text>  a word to echo".to_owned()
    }
}

fn registry() -> Registry {
    Registry::new(vec![Box::new(Echo)])
}

fn run(input: &[u8], options: ServeOptions) -> String {
    let mut output = Vec::new();
    serve(&registry(), "echo", options, input, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

fn result(input: &[u8]) -> ModuleResult {
    serde_json::from_str(&run(input, ServeOptions::default())).unwrap()
}

const OK: &str =
    r#"{"foundanything":true,"success":true,"elements":["a"],"statistics":null,"errors":null}"#;

#[test]
fn the_message_is_what_the_peers_send() {
    let message = parameters_message(&json!({"someparam": "foo"}));
    assert_eq!(message, br#"{"class":"parameters","parameters":{"someparam":"foo"}}"#);
}

#[test]
fn reads_one_line_and_answers_with_one_document() {
    let line = r#"{"class":"parameters","parameters":{"words":["a"],"unknown":1}}"#;
    for input in [
        line.to_owned(),
        format!("{line}\r\n{{\"class\":\"stop\"}}\n"),
        line.replace("class", "CLASS").replace("\"parameters\":{", "\"Parameters\":{"),
    ] {
        assert_eq!(run(input.as_bytes(), ServeOptions::default()), OK, "{input}");
    }
}

#[test]
fn a_stop_message_ends_a_run() {
    let input = "{\"class\":\"parameters\",\"parameters\":{\"words\":[\"wait\"]}}\n\
                 garbage\n{\"class\":\"stop\"}\n";
    let mut output = Vec::new();
    let options = ServeOptions::default();
    serve_until_stopped(&registry(), "echo", options, input.as_bytes(), &mut output).unwrap();
    let result: ModuleResult = serde_json::from_slice(&output).unwrap();
    assert!(!result.success && result.elements.is_null());
    assert_eq!(result.errors.unwrap(), ["stop message received, terminating early"]);
}

#[test]
fn broken_input_is_an_error_result() {
    let wrong_type = r#"{"class":"parameters","parameters":{"words":"x"}}"#;
    for (input, text) in [
        ("", "ReadInputParameters() -> ReadInput() -> EOF"),
        ("\n", "ReadInputParameters() -> ReadInput() -> unexpected end"),
        ("garbage", "ReadInputParameters() -> ReadInput() -> expected value"),
        (r#"{"class":"stop"}"#, "unexpected input is not module parameters"),
        (wrong_type, "cannot read the parameters"),
        (r#"{"class":"parameters","parameters":{"words":[""]}}"#, "empty words"),
    ] {
        let result = result(input.as_bytes());
        assert!(!result.success && !result.foundanything);
        let errors = result.errors.unwrap();
        assert!(errors.len() == 1 && errors[0].starts_with(text), "{input:?}: {errors:?}");
    }
}

#[test]
fn an_unknown_module_is_named() {
    let mut output = Vec::new();
    serve(&registry(), "Echo", ServeOptions::default(), &b""[..], &mut output).unwrap();
    assert_eq!(output, br#"{"errors": ["module 'Echo' is not available"]}"#);
}

#[test]
fn twenty_megabytes_of_parameters_are_fine() {
    let word = "x".repeat(20 << 20);
    let input = parameters_message(&json!({ "words": [word] }));
    let result = result(&input);
    assert_eq!(result.elements[0].as_str().map(str::len), Some(20 << 20));
}

#[test]
fn a_panic_is_a_readable_error() {
    let result = result(&parameters_message(&json!({ "words": ["panic"] })));
    assert_eq!(result, ModuleResult::failed("module 'echo' failed: told to"));
}

#[test]
fn a_module_stops_before_its_parent_kills_it() {
    let options =
        ServeOptions { deadline: Some(Duration::from_millis(50)), ..ServeOptions::default() };
    let output = run(&parameters_message(&json!({ "words": ["wait"] })), options);
    assert!(output.contains("the run was cut short by its time limit"), "{output}");
}

#[test]
fn privacy_masks_the_document_and_the_printed_lines() {
    let input = parameters_message(&json!({ "words": ["a", "b"] }));
    let private = ServeOptions { privacy: true, ..ServeOptions::default() };
    assert_eq!(run(&input, private), OK.replace("\"a\"", "\"masked\",\"masked\""));
    let printed = ServeOptions { print: true, ..private };
    assert_eq!(run(&input, printed), "masked\nmasked\n");
    let module = registry();
    let module = module.get("echo").unwrap();
    let mut foreign = ModuleResult { elements: json!({"a": 1}), ..ModuleResult::default() };
    module.mask(&mut foreign);
    assert_eq!(foreign.elements, Value::Null);
    assert!(module.print(&ModuleResult { elements: json!(1), ..foreign }, true).is_err());
}

#[test]
fn printed_lines_are_safe_for_a_terminal() {
    let host = LocalHost::new(Path::new("/nonexistent"));
    let input = parameters_message(&json!({ "words": ["\u{1b}[2Jx"] }));
    let options = ServeOptions { print: true, ..ServeOptions::default() };
    let mut output = Vec::new();
    serve_on(&host, &registry(), "echo", &options, input.as_slice(), &mut output).unwrap();
    assert_eq!(output, b"\\x1b[2Jx\n");
}

#[test]
fn a_command_line_becomes_validated_parameters() {
    let registry = registry();
    let module = registry.get("echo").unwrap();
    let args = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let params = ParsedArgs::Params(json!({"words": ["a", "b"]}));
    assert_eq!(module.parse_args(&args("-word a --word=b")), Ok(params));
    assert!(matches!(module.parse_args(&[]), Ok(ParsedArgs::Help(_))));
    assert!(module.parse_args(&args("-word=")).is_err());
    assert!(module.validate_json(&json!({"words": [""]})).is_err());
    assert!(module.validate_json(&json!({"WORDS": ["x"], "more": 1})).is_ok());
}

#[test]
#[should_panic(expected = "registered twice")]
fn a_name_cannot_be_registered_twice() {
    Registry::new(vec![Box::new(Echo), Box::new(Echo)]);
}
