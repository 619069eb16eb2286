//! The process of a persistent module, from its start to its end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use mig_host::LocalHost;
use mig_types::{ModuleResult, wire};

use super::{Briefing, MAX_LINE, Message, Outlet, Said};
use crate::budget::Stop;
use crate::process::{ServeOptions, read_parameters, run};
use crate::registry::Registry;

/// Longest time one question may take.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Questions answered at a time.
const QUESTIONS: usize = 8;

/// A connection of somebody with a question. Who makes it limits how long it may
/// be silent.
pub trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

/// What makes the process do something.
enum Event {
    Line(Vec<u8>),
    /// The agent is gone, or wants us gone.
    Closed,
    /// The module's work ended.
    Ended(Result<(), String>),
}

/// Registers as `sockpath`, then lives until the agent closes `input` or the
/// module's work ends. Connections come from whoever listens at `sockpath`.
///
/// # Errors
///
/// Why the module cannot go on; the agent has been told.
pub fn session(
    registry: &Arc<Registry>,
    name: &str,
    sockpath: &str,
    input: impl Read + Send + 'static,
    outlet: &Outlet,
    connections: Receiver<Box<dyn Connection>>,
) -> Result<(), String> {
    let outcome = live(registry, name, sockpath, input, outlet, connections);
    if let Some(module) = registry.get(name).and_then(|module| module.persistent()) {
        module.tidy();
    }
    if let Err(reason) = &outcome {
        outlet.log(reason);
    }
    outcome
}

fn live(
    registry: &Arc<Registry>,
    name: &str,
    sockpath: &str,
    input: impl Read + Send + 'static,
    outlet: &Outlet,
    connections: Receiver<Box<dyn Connection>>,
) -> Result<(), String> {
    let module = registry.get(name).and_then(|module| module.persistent());
    let module = module.ok_or_else(|| format!("module {name} is not a persistent module"))?;
    let (events, happened) = channel();
    let lines = events.clone();
    spawn(move || read_lines(BufReader::new(input), &lines))?;
    let (asked, own_name) = (Arc::clone(registry), name.to_owned());
    spawn(move || answer_all(&asked, &own_name, &connections))?;
    outlet.say(Said::Register(sockpath.to_owned()));
    let mut working = false;
    for event in happened {
        let line = match event {
            Event::Line(line) => line,
            Event::Closed => return Ok(()),
            Event::Ended(Ok(())) => return Err("the module's work has ended".to_owned()),
            Event::Ended(Err(reason)) => return Err(reason),
        };
        match Message::read(&line).map(Message::said) {
            Ok(Said::Ping) => {
                let echoed = outlet.write(&Message::from(Said::Ping));
                echoed.map_err(|error| format!("cannot answer the agent: {error}"))?;
            }
            Ok(Said::Config(briefing)) if !working => {
                working = true;
                start_work(registry, name, *briefing, outlet, events.clone())?;
            }
            Ok(Said::Alert(text)) => module.alerted(&text, outlet),
            Ok(_) => {}
            Err(error) => outlet.log(&format!("a message of the agent is not understood: {error}")),
        }
    }
    Ok(())
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new().spawn(work);
    started.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

fn start_work(
    registry: &Arc<Registry>,
    name: &str,
    briefing: Briefing,
    outlet: &Outlet,
    events: Sender<Event>,
) -> Result<(), String> {
    let (registry, name, outlet) = (Arc::clone(registry), name.to_owned(), outlet.clone());
    outlet.log("module received configuration");
    spawn(move || {
        let module = registry.get(&name).and_then(|module| module.persistent());
        let work = || module.map_or(Ok(()), |module| module.work(&briefing, &outlet));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let ended = ended.unwrap_or_else(|_| Err("the module failed".to_owned()));
        // Nobody listens when the process is about to end anyway.
        let _ = events.send(Event::Ended(ended));
    })
}

fn read_lines(mut input: impl BufRead, events: &Sender<Event>) {
    // A broken or endless line leaves no way to find the next one.
    while let Ok(Some(line)) = read_line(&mut input) {
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Closed);
}

/// One line without its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = input.take(MAX_LINE as u64 + 1);
    limited.read_until(b'\n', &mut line)?;
    if line.len() > MAX_LINE {
        return Err(io::Error::other(format!("a line exceeds {MAX_LINE} bytes")));
    }
    Ok(Some(line).filter(|line| !line.is_empty()))
}

fn answer_all(registry: &Arc<Registry>, name: &str, connections: &Receiver<Box<dyn Connection>>) {
    let busy = Arc::new(AtomicUsize::new(0));
    for connection in connections {
        if busy.fetch_add(1, Ordering::SeqCst) >= QUESTIONS {
            busy.fetch_sub(1, Ordering::SeqCst);
            // Closed unanswered: the one who asks says so.
            continue;
        }
        let (registry, name, done) = (Arc::clone(registry), name.to_owned(), Arc::clone(&busy));
        let started = spawn(move || {
            // A peer that does not listen misses its answer, no more.
            let _ = answer(&registry, &name, connection);
            done.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// One question and its answer.
fn answer(registry: &Registry, name: &str, mut connection: Box<dyn Connection>) -> io::Result<()> {
    let limited = BufReader::new((&mut connection).take(MAX_LINE as u64));
    let asked = read_parameters(limited);
    let document = asked.map_err(ModuleResult::failed).and_then(|(params, _)| {
        let Some(module) = registry.get(name) else {
            return Err(ModuleResult::failed(format!("module '{name}' is not available")));
        };
        // Masked by the one who asks, if at all.
        let options =
            ServeOptions { deadline: Some(ANSWER_WITHIN), threads: 1, ..ServeOptions::default() };
        run(module, &LocalHost::default(), params, &options, &Stop::default())
    });
    let mut document =
        document.or_else(|failure| wire::to_vec(&failure)).map_err(io::Error::other)?;
    document.push(b'\n');
    connection.write_all(&document)?;
    connection.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_longest() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(read_line(&mut endless).is_err());
        let mut lines = b"one\ntwo".as_slice();
        assert_eq!(read_line(&mut lines).unwrap().unwrap(), b"one\n");
        assert_eq!(read_line(&mut lines).unwrap().unwrap(), b"two");
        assert_eq!(read_line(&mut lines).unwrap(), None);
    }

    #[test]
    fn a_module_that_is_none_says_so() {
        let (said, outlet) = crate::persist::tests_support::outlet();
        let (_, connections) = channel();
        let registry = Arc::new(Registry::default());
        let outcome = session(&registry, "nosuch", "unix:/x", io::empty(), &outlet, connections);
        assert_eq!(outcome.unwrap_err(), "module nosuch is not a persistent module");
        let text = said.lock().unwrap().clone();
        assert!(String::from_utf8(text).unwrap().contains("is not a persistent module"));
    }
}
