//! Runs the tests of a document.

use std::collections::HashMap;

use mig_module::{Budget, ModuleError};

use crate::check::dependencies;
use crate::elements::{SubResult, TestResult};
use crate::files::Fact;
use crate::params::{Document, Test};
use crate::shelf::Shelf;
use crate::survey::Survey;
use crate::version::{self, Operation};

/// Bytes of a sub-result's keys and punctuation, and of a result's.
const SUB_BYTES: usize = 32;
const RESULT_BYTES: usize = 200;
/// Characters of an error.
const MAX_REASON: usize = 1_000;

/// Whether a value is what a test wants.
type Criterion<'t> = Box<dyn Fn(&str) -> Result<bool, String> + 't>;

/// How a test came out.
#[derive(Debug, Clone, Default)]
struct Outcome {
    error: Option<String>,
    has_true: bool,
    master: bool,
    sub: Vec<SubResult>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Running,
    Done,
}

/// The results of all tests, and errors.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) results: Vec<TestResult>,
    pub(crate) errors: Vec<String>,
    pub(crate) notreturned: u64,
}

struct Judge<'a, 'd> {
    document: &'d Document,
    survey: &'a mut Survey<'d>,
    budget: &'a Budget,
    onlytrue: bool,
    /// Per test, the tests it depends on.
    edges: Vec<Vec<usize>>,
    states: Vec<State>,
    outcomes: Vec<Outcome>,
    shelf: Shelf,
    /// Bytes of the result document left for sub-results.
    room: usize,
    notreturned: u64,
}

/// Runs every test once, in the order of the document; those that others depend
/// on before them.
pub(crate) fn judge<'d>(
    document: &'d Document,
    survey: &mut Survey<'d>,
    budget: &Budget,
    onlytrue: bool,
) -> Verdict {
    let count = document.tests.len();
    // Each test has its line before any has its details.
    let lines: usize = document.tests.iter().map(line_bytes).sum();
    let mut judge = Judge {
        document,
        survey,
        budget,
        onlytrue,
        edges: dependencies(document),
        states: vec![State::New; count],
        outcomes: vec![Outcome::default(); count],
        shelf: Shelf::default(),
        room: budget.result_bytes().saturating_sub(lines),
        notreturned: 0,
    };
    // Of tests with one identifier the first one counts, in every place.
    let mut places = HashMap::new();
    let firsts: Vec<usize> = document
        .tests
        .iter()
        .enumerate()
        .map(|(place, test)| *places.entry(&*test.test).or_insert(place))
        .collect();
    for place in &firsts {
        judge.run(*place);
    }
    judge.verdict(&firsts)
}

fn line_bytes(test: &Test) -> usize {
    let tags: usize = test.tags.iter().map(|tag| 32 + tag.key.len() + tag.value.len()).sum();
    RESULT_BYTES + test.test.len() + test.name.len() + test.description.len() + tags
}

impl Judge<'_, '_> {
    fn state(&self, place: usize) -> State {
        self.states.get(place).copied().unwrap_or(State::Done)
    }

    fn set(&mut self, place: usize, state: State) {
        if let Some(slot) = self.states.get_mut(place) {
            *slot = state;
        }
    }

    /// Runs a test after those it depends on. Not recursive: chains of tests can
    /// be longer than the stack.
    fn run(&mut self, start: usize) {
        if self.state(start) != State::New {
            return;
        }
        self.set(start, State::Running);
        let mut path = vec![(start, 0)];
        while let Some((place, next)) = path.last_mut() {
            let dependency = self.edges.get(*place).and_then(|all| all.get(*next)).copied();
            *next += 1;
            match dependency {
                Some(dependency) if self.state(dependency) == State::New => {
                    self.set(dependency, State::Running);
                    path.push((dependency, 0));
                }
                Some(_) => {}
                None => {
                    let place = *place;
                    let outcome = self.outcome(place);
                    if let Some(slot) = self.outcomes.get_mut(place) {
                        *slot = outcome;
                    }
                    self.set(place, State::Done);
                    path.pop();
                }
            }
        }
    }

    fn outcome(&mut self, place: usize) -> Outcome {
        let failed =
            |reason: String| Outcome { error: Some(shortened(&reason)), ..Outcome::default() };
        let Some(test) = self.document.tests.get(place) else { return Outcome::default() };
        let dependencies = self.edges.get(place).map(Vec::as_slice).unwrap_or_default();
        let mut all_true = true;
        for dependency in dependencies {
            let Some(outcome) = self.outcomes.get(*dependency) else { continue };
            if outcome.error.is_some() {
                let id = self.document.tests.get(*dependency).map_or("", |test| &test.test);
                return failed(format!("a test dependency failed (\"{id}\")"));
            }
            // One that is still running waits for this one: a cycle, never true.
            all_true &= outcome.master;
        }
        if self.budget.is_over() {
            return failed(ModuleError::Deadline.one_line());
        }
        let facts = match self.survey.facts(&test.object) {
            Ok(facts) => facts,
            Err(reason) => return failed(reason),
        };
        let hits = match self.compare(test, &facts) {
            Ok(hits) => hits,
            Err(reason) => return failed(reason),
        };
        let has_true = hits.contains(&true);
        let master = has_true && all_true;
        let mut outcome = Outcome { error: None, has_true, master, sub: Vec::new() };
        if self.onlytrue && !master {
            return outcome;
        }
        for (fact, result) in facts.iter().zip(hits) {
            if self.charge(SUB_BYTES + fact.identifier.len()) {
                outcome.sub.push(SubResult { result, identifier: fact.identifier.as_ref().into() });
            } else {
                self.notreturned += 1;
            }
        }
        outcome
    }

    /// Whether the criterion of a test holds, fact by fact.
    fn compare(&mut self, test: &Test, facts: &[Fact]) -> Result<Vec<bool>, String> {
        if facts.is_empty() {
            // Not even a bad criterion is noticed.
            return Ok(Vec::new());
        }
        let holds: Criterion<'_> = if !test.evr.value.is_empty() {
            let operation =
                Operation::parse(&test.evr.operation).map_err(|error| error.to_string())?;
            Box::new(move |value: &str| match version::compare(value, &test.evr.value) {
                Ok(order) => Ok(operation.holds(order)),
                Err(error) => Err(error.to_string()),
            })
        } else if !test.regexp.value.is_empty() {
            let regex = self.shelf.get(&test.regexp.value)?;
            Box::new(move |value: &str| Ok(regex.is_match(value.as_bytes())))
        } else if !test.exactmatch.value.is_empty() {
            Box::new(|value: &str| Ok(value == test.exactmatch.value))
        } else {
            Box::new(|_: &str| Ok(true))
        };
        facts.iter().map(|fact| holds(&fact.value)).collect()
    }

    fn charge(&mut self, bytes: usize) -> bool {
        match self.room.checked_sub(bytes) {
            Some(left) => self.room = left,
            // Full stays full, or short identifiers would be favoured.
            None => self.room = 0,
        }
        self.room > 0
    }

    fn verdict(mut self, firsts: &[usize]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut lines_left = self.budget.result_bytes();
        for (place, first) in firsts.iter().enumerate() {
            let (Some(test), Some(outcome)) =
                (self.document.tests.get(*first), self.outcomes.get(*first).cloned())
            else {
                continue;
            };
            let bytes = line_bytes(test) + outcome.error.as_ref().map_or(0, String::len);
            let Some(left) = lines_left.checked_sub(bytes) else {
                lines_left = 0;
                self.notreturned += 1;
                continue;
            };
            lines_left = left;
            if let Some(error) = &outcome.error {
                verdict.errors.push(format!("Error: {error} in \"{}\"", test.test));
            }
            if self.onlytrue && !outcome.master {
                continue;
            }
            let mut sub = outcome.sub;
            let again: usize = sub.iter().map(|sub| SUB_BYTES + sub.identifier.len()).sum();
            if place != *first && !self.charge(again) {
                self.notreturned += sub.len() as u64;
                sub.clear();
            }
            verdict.results.push(TestResult {
                testid: test.test.clone(),
                name: test.name.clone(),
                description: test.description.clone(),
                tags: test.tags.clone(),
                iserror: outcome.error.is_some(),
                error: outcome.error.unwrap_or_default(),
                masterresult: outcome.master,
                hastrueresults: outcome.has_true,
                results: sub,
            });
        }
        verdict.notreturned = self.notreturned;
        verdict
    }
}

/// Reasons quote what the document says, at any length.
fn shortened(reason: &str) -> String {
    if reason.len() <= MAX_REASON {
        return reason.to_owned();
    }
    let cut: String = reason.chars().take(MAX_REASON).collect();
    format!("{cut}…")
}
