//! The child's side of a module process.
//!
//! One message comes in on one line, one result document goes out; the exit
//! code is 0 whatever the result says.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mig_host::{Host, LocalHost};
use mig_types::{ModuleResult, wire};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{Budget, Stop};
use crate::module::DynModule;
use crate::registry::Registry;

/// Longest message accepted: far above what compressed parameters may unpack to.
const MAX_MESSAGE: u64 = 256 << 20;

/// How a module process was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// Extra privacy mode: the result is masked before it leaves.
    pub privacy: bool,
    /// When the parent will kill us, from now. The module stops a little earlier.
    pub deadline: Option<Duration>,
    /// Threads to compute with; 0 means half of the machine.
    pub threads: usize,
    /// Print lines for people instead of the result document.
    pub print: bool,
}

/// A message on the standard input of a module.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Message {
    class: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    parameters: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    persistsock: String,
}

/// The message that starts a module, without the final newline.
pub fn parameters_message(params: &Value) -> Vec<u8> {
    let message = Message {
        class: "parameters".to_owned(),
        parameters: params.clone(),
        persistsock: String::new(),
    };
    // Text keys and plain values: this cannot fail.
    wire::to_vec(&message).unwrap_or_default()
}

/// [`parameters_message`] for a persistent module that answers at `persistsock`.
pub fn question_message(params: &Value, persistsock: &str) -> Vec<u8> {
    let message = Message {
        class: "parameters".to_owned(),
        parameters: params.clone(),
        persistsock: persistsock.to_owned(),
    };
    wire::to_vec(&message).unwrap_or_default()
}

/// Reads one parameters message, runs the module on this machine, and writes
/// exactly one result document without a newline. With `print`, lines instead.
///
/// # Errors
///
/// Only when `output` cannot be written: everything else is a result.
pub fn serve(
    registry: &Registry,
    name: &str,
    options: ServeOptions,
    input: impl Read,
    output: impl Write,
) -> std::io::Result<()> {
    serve_on(&LocalHost::default(), registry, name, &options, input, output)
}

/// [`serve`] with an ear for a stop message after the parameters, which ends the
/// run early. Whoever waits for it on `input` is left behind when the run is
/// over.
///
/// # Errors
///
/// Those of [`serve`].
pub fn serve_until_stopped(
    registry: &Registry,
    name: &str,
    options: ServeOptions,
    input: impl Read + Send + 'static,
    output: impl Write,
) -> std::io::Result<()> {
    let mut input = BufReader::new(input.take(MAX_MESSAGE));
    let params = read_parameters(&mut input);
    let stop = Stop::default();
    let ordered = stop.clone();
    // Without it the run cannot be stopped, and no more than that.
    let _ = std::thread::Builder::new().spawn(move || listen(input, &ordered));
    answer(&LocalHost::default(), registry, name, &options, (params, &stop), output)
}

/// [`serve`] on any host.
pub fn serve_on(
    host: &dyn Host,
    registry: &Registry,
    name: &str,
    options: &ServeOptions,
    input: impl Read,
    output: impl Write,
) -> std::io::Result<()> {
    let params = read_parameters(BufReader::new(input.take(MAX_MESSAGE)));
    answer(host, registry, name, options, (params, &Stop::default()), output)
}

fn answer(
    host: &dyn Host,
    registry: &Registry,
    name: &str,
    options: &ServeOptions,
    (params, stop): (Result<(Value, String), String>, &Stop),
    mut output: impl Write,
) -> std::io::Result<()> {
    let Some(module) = registry.get(name) else {
        let text = serde_json::to_string(&format!("module '{name}' is not available"))?;
        output.write_all(format!("{{\"errors\": [{text}]}}").as_bytes())?;
        return output.flush();
    };
    let document = params
        .map_err(ModuleResult::failed)
        .and_then(|(params, persistsock)| match module.persistent() {
            Some(_) => ask(module, &params, &persistsock, options.privacy),
            None => run(module, host, params, options, stop),
        })
        .or_else(|failure| wire::to_vec(&failure))
        .map_err(std::io::Error::other)?;
    if options.print {
        for line in lines(module, &document) {
            writeln!(output, "{line}")?;
        }
    } else {
        output.write_all(&document)?;
    }
    output.flush()
}

/// Lets the process of a persistent module answer.
fn ask(
    module: &dyn DynModule,
    params: &Value,
    persistsock: &str,
    privacy: bool,
) -> Result<Vec<u8>, ModuleResult> {
    module.validate_json(params).map_err(|error| ModuleResult::failed(error.one_line()))?;
    if persistsock.is_empty() {
        return Err(ModuleResult::failed("no persistsock set in message".to_owned()));
    }
    let answer = crate::persist::query(persistsock, params)?;
    if !privacy {
        return Ok(answer);
    }
    let masked =
        wire::from_slice::<ModuleResult>(answer.trim_ascii_end()).and_then(|mut result| {
            module.mask(&mut result);
            wire::to_vec(&result)
        });
    masked.map_err(|_| ModuleResult::failed("the module answered what is not a result".to_owned()))
}

pub(crate) fn run(
    module: &dyn DynModule,
    host: &dyn Host,
    params: Value,
    options: &ServeOptions,
    stop: &Stop,
) -> Result<Vec<u8>, ModuleResult> {
    let deadline = options.deadline.map(|limit| {
        // Time to write the result before the parent's patience ends.
        let margin = (limit / 10).min(Duration::from_secs(5));
        Instant::now() + limit.saturating_sub(margin)
    });
    let threads = match options.threads {
        0 => crate::budget::default_threads(),
        threads => threads,
    };
    let budget = Budget::new(deadline, threads).with_stop(stop);
    // A fault in one module must look like an answer, not like a dead process.
    let run = || module.run_document(host, params, &budget, options.privacy);
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no reason given".to_owned());
        let text = if options.privacy { "masked" } else { text.as_str() };
        ModuleResult::failed(format!("module '{}' failed: {text}", module.name()))
    })
}

/// Waits for a stop message until the end of the input.
fn listen(mut input: impl BufRead, stop: &Stop) {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let message = wire::from_slice::<Message>(line.trim_ascii_end());
        if message.is_ok_and(|message| message.class == "stop") {
            stop.order();
            return;
        }
        line.clear();
    }
}

/// Parameters, and where to ask.
pub(crate) fn read_parameters(mut input: impl BufRead) -> Result<(Value, String), String> {
    let mut line = Vec::new();
    input
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("cannot read the parameters: {error}"))?;
    let ended = line.last() == Some(&b'\n');
    if !ended && line.len() as u64 == MAX_MESSAGE {
        return Err(format!("the parameters message exceeds {MAX_MESSAGE} bytes"));
    }
    let text = line.trim_ascii_end();
    if text.is_empty() {
        let end = if ended { "unexpected end of JSON input" } else { "EOF" };
        return Err(format!("ReadInputParameters() -> ReadInput() -> {end}"));
    }
    let message: Message = wire::from_slice(text).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("ReadInputParameters() -> ReadInput() -> {}", source.unwrap_or_default())
    })?;
    if message.class != "parameters" {
        return Err("unexpected input is not module parameters".to_owned());
    }
    Ok((message.parameters, message.persistsock))
}

fn lines(module: &dyn DynModule, document: &[u8]) -> Vec<String> {
    let printed = wire::from_slice::<ModuleResult>(document)
        .map_err(|error| error.to_string())
        .and_then(|result| module.print(&result, false).map_err(|error| error.one_line()));
    printed.unwrap_or_else(|error| vec![error])
}
