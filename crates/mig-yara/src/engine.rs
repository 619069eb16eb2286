//! The engine: `yara-x` as the module wants it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mig_module_yara::{Engine, Rules, ScanError, Scanner, entrypoint};
use yara_x::errors::CompileError;
use yara_x::{Compiler, SourceCode};

/// Faults of rules that are named.
const MAX_FAULTS: usize = 20;
/// Longest description of one of them, in characters.
const MAX_FAULT: usize = 400;

/// `yara-x`.
pub(crate) struct YaraX;

impl Engine for YaraX {
    fn compile(&self, rules: &str) -> Result<Box<dyn Rules>, Vec<String>> {
        let mut compiler = Compiler::new();
        // As YARA reads them, and nothing on any output of ours.
        compiler.relaxed_re_syntax(true).enable_includes(false).colorize_errors(false);
        compiler.switch_all_warnings(false);
        let substituted = entrypoint::substitute(rules);
        let source = substituted.as_deref().unwrap_or(rules);
        if substituted.is_some() {
            for name in [entrypoint::OFFSET, entrypoint::DEFINED] {
                compiler.define_global(name, 0).map_err(|error| vec![error.to_string()])?;
            }
        }
        if compiler.add_source(SourceCode::from(source)).is_err() {
            return Err(faults(compiler.errors(), rules));
        }
        let rules = compiler.build();
        let order = rules.iter().enumerate();
        let order = order.map(|(index, rule)| (rule.identifier().to_owned(), index)).collect();
        Ok(Box::new(Compiled { rules, order, uses_entrypoint: substituted.is_some() }))
    }
}

/// A line for each fault: `line 3, column 7: syntax error: unexpected ...`.
fn faults(errors: &[CompileError], rules: &str) -> Vec<String> {
    let mut lines: Vec<String> = errors.iter().take(MAX_FAULTS).map(|e| fault(e, rules)).collect();
    if errors.len() > MAX_FAULTS {
        lines.push(format!("{} faults more", errors.len() - MAX_FAULTS));
    }
    lines
}

fn fault(error: &CompileError, rules: &str) -> String {
    let mut line = String::new();
    let mut details = error.title().to_owned();
    if let Some(label) = error.labels().next() {
        let at = label.span().start();
        let before = rules.get(..at).unwrap_or(rules);
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count());
        line = format!("line {}, column {}: ", before.matches('\n').count() + 1, column + 1);
        details = format!("{details}: {}", label.text());
    }
    let text = line + &details;
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(MAX_FAULT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

struct Compiled {
    rules: yara_x::Rules,
    /// The place of each rule in the text; the engine tells matches in none.
    order: HashMap<String, usize>,
    uses_entrypoint: bool,
}

impl Rules for Compiled {
    fn scanner(&self) -> Box<dyn Scanner + '_> {
        Box::new(OneThread { compiled: self, scanner: None })
    }
}

struct OneThread<'r> {
    compiled: &'r Compiled,
    /// Made when it is needed, and anew after it failed.
    scanner: Option<yara_x::Scanner<'r>>,
}

impl Scanner for OneThread<'_> {
    fn scan(&mut self, data: &[u8], limit: Duration) -> Result<Vec<String>, ScanError> {
        // The parsers of the engine's modules read what hostile hosts have: one file
        // that makes one of them panic must not cost the others.
        let scanned = catch_unwind(AssertUnwindSafe(|| self.scan_once(data, limit)));
        if !matches!(scanned, Ok(Ok(_))) {
            self.scanner = None;
        }
        scanned.unwrap_or_else(|_| Err(ScanError::Failed("the engine failed".to_owned())))
    }
}

impl OneThread<'_> {
    fn scan_once(&mut self, data: &[u8], limit: Duration) -> Result<Vec<String>, ScanError> {
        let compiled = self.compiled;
        let scanner = self.scanner.get_or_insert_with(|| {
            let mut scanner = yara_x::Scanner::new(&compiled.rules);
            // Nobody asks where: where a pattern only has to occur, once is enough.
            scanner.fast_scan(true);
            scanner
        });
        // The engine counts whole seconds.
        scanner.set_timeout(limit.max(Duration::from_secs(1)));
        if compiled.uses_entrypoint {
            let offset = entrypoint::of(data).and_then(|offset| i64::try_from(offset).ok());
            let set = |scanner: &mut yara_x::Scanner<'_>, name, value: i64| {
                let set = scanner.set_global(name, value).map(|_| ());
                set.map_err(|error| ScanError::Failed(error.to_string()))
            };
            set(scanner, entrypoint::OFFSET, offset.unwrap_or(0))?;
            set(scanner, entrypoint::DEFINED, i64::from(offset.is_some()))?;
        }
        let results = scanner.scan(data).map_err(|error| match error {
            yara_x::ScanError::Timeout => ScanError::TimedOut,
            other => ScanError::Failed(other.to_string()),
        })?;
        let mut names: Vec<&str> = results.matching_rules().map(|rule| rule.identifier()).collect();
        names.sort_by_key(|name| compiled.order.get(*name));
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}
