//! Which processes belong to a run, where no control group keeps them together:
//! by descent, group, session, and a mark in their environment.
//!
//! A module that means to get away from all four at once can; one that starts a
//! program which puts itself into the background cannot.

use std::collections::BTreeSet;
use std::path::Path;

use mig_child::MARK;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Rounds in which whoever is still being started is looked for.
const ROUNDS: usize = 50;
/// Environments are read no further than that.
const ENVIRON_BYTES: u64 = 1 << 20;
/// Looks at environments that are empty, a millisecond apart, each at all of them: who
/// never has one does not use up the looks at somebody else.
const LOOKS: u32 = 50;

/// A process and when it was started: ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Birth {
    pub(super) pid: i32,
    /// Clock ticks since the machine was started.
    pub(super) ticks: u64,
}

/// One line of `/proc/<pid>/stat`, as far as it is of interest.
///
/// **Shape** `pid (name) state ppid pgrp session … starttime`, the name being
/// anything, parentheses included. **Source** `proc_pid_stat(5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    birth: Birth,
    state: u8,
    parent: i32,
    group: i32,
    session: i32,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
        Some(Self {
            birth: Birth { pid, ticks: fields.get(19)?.parse().ok()? },
            state: *fields.first()?.as_bytes().first()?,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
        })
    }

    fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn is_stopped(self) -> bool {
        matches!(self.state, b'T' | b't')
    }
}

/// The processes of one run.
#[derive(Debug)]
pub(super) struct Family {
    /// The module process; also the id of its group and, were it to make one,
    /// of its session.
    head: i32,
    born: u64,
    mark: Vec<u8>,
    /// Everybody seen so far.
    seen: BTreeSet<Birth>,
    /// What is left of [`LOOKS`].
    looks: u32,
}

impl Family {
    pub(super) fn of(head: i32, mark: &str) -> Self {
        let born = Stat::read(head).map_or(u64::MAX, |stat| stat.birth.ticks);
        let mark = format!("{MARK}={mark}").into_bytes();
        Self { head, born, mark, seen: BTreeSet::new(), looks: LOOKS }
    }

    /// The module process and those below it, at most `limit`. Whoever leaves
    /// its parent is handed to the module process while that lives.
    pub(super) fn descendants(&mut self, limit: usize) -> Vec<i32> {
        let mut found = vec![self.head];
        let mut at = 0;
        while let Some(pid) = found.get(at).copied() {
            at += 1;
            for child in children(pid) {
                if found.len() >= limit {
                    return found;
                }
                if !found.contains(&child) {
                    found.push(child);
                }
            }
        }
        let births = found.iter().filter_map(|pid| Stat::read(*pid)).map(|stat| stat.birth);
        self.seen.extend(births);
        found
    }

    /// Kills everybody there is. Returns how many there were beside the module
    /// process.
    pub(super) fn kill(&mut self) -> usize {
        let mut killed = BTreeSet::new();
        for _ in 0..ROUNDS {
            let living = self.living();
            killed.extend(living.iter().map(|stat| stat.birth));
            // Nobody starts another one while all are held.
            let held = living.iter().filter(|stat| stat.is_stopped()).count();
            let order = if held == living.len() { Signal::KILL } else { Signal::STOP };
            for stat in &living {
                send(stat.birth, order);
            }
            if living.is_empty() {
                break;
            }
            // For the signals to arrive.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        for birth in &killed {
            send(*birth, Signal::KILL);
        }
        killed.iter().filter(|birth| birth.pid != self.head).count()
    }

    /// Every living process of the run, wherever it is.
    fn living(&mut self) -> Vec<Stat> {
        let all: Vec<Stat> = pids().into_iter().filter_map(Stat::read).collect();
        let mut members: BTreeSet<i32> = BTreeSet::new();
        let mut marked = Vec::new();
        for stat in &all {
            if self.seen.contains(&stat.birth)
                || [stat.birth.pid, stat.group, stat.session].contains(&self.head)
                    && stat.birth.ticks >= self.born
            {
                members.insert(stat.birth.pid);
            } else if stat.birth.ticks >= self.born {
                marked.push(*stat);
            }
        }
        keep_marked(&mut marked, &self.mark, &mut self.looks);
        members.extend(marked.iter().map(|stat| stat.birth.pid));
        loop {
            let before = members.len();
            for stat in &all {
                if members.contains(&stat.parent) && stat.birth.ticks >= self.born {
                    members.insert(stat.birth.pid);
                }
            }
            if members.len() == before {
                break;
            }
        }
        let living: Vec<Stat> = all
            .into_iter()
            .filter(|stat| members.contains(&stat.birth.pid) && !stat.is_dead())
            .collect();
        self.seen.extend(living.iter().map(|stat| stat.birth));
        living
    }
}

/// Children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Keeps the processes that were given the mark when they, or the program they were
/// forked from, were started.
fn keep_marked(processes: &mut Vec<Stat>, mark: &[u8], looks: &mut u32) {
    let mut marked = Vec::new();
    loop {
        processes.retain(|stat| match carries(*stat, mark) {
            Some(true) => {
                marked.push(*stat);
                false
            }
            Some(false) => false,
            None => true,
        });
        if processes.is_empty() || *looks == 0 {
            break;
        }
        *looks -= 1;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    *processes = marked;
}

/// Whether a process has the mark; `None` while it has no environment at all, as one
/// that is just starting a program, for a moment.
fn carries(stat: Stat, mark: &[u8]) -> Option<bool> {
    let environ = environment(stat.birth.pid);
    if !environ.is_empty() {
        return Some(environ.split(|byte| *byte == 0).any(|variable| variable == mark));
    }
    // What is dead, and a thread of the kernel, never have one.
    let program = format!("/proc/{}/exe", stat.birth.pid);
    let never = stat.is_dead() || std::fs::read_link(program).is_err();
    never.then_some(false)
}

/// The variables a process was started with; empty if it cannot be read.
fn environment(pid: i32) -> Vec<u8> {
    use std::io::Read as _;
    let mut environ = Vec::new();
    let path = format!("/proc/{pid}/environ");
    let read = std::fs::File::open(Path::new(&path))
        .and_then(|file| file.take(ENVIRON_BYTES).read_to_end(&mut environ));
    if read.is_err() {
        environ.clear();
    }
    environ
}

/// Signals a process unless its id is another's by now.
fn send(birth: Birth, signal: Signal) {
    let Some(pid) = Pid::from_raw(birth.pid) else { return };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => {
            if Stat::read(birth.pid).is_some_and(|stat| stat.birth == birth) {
                let _ = pidfd_send_signal(process, signal);
            }
        }
        // Kernels before 5.3.
        Err(rustix::io::Errno::NOSYS) => {
            let _ = rustix::process::kill_process(pid, signal);
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_may_be_anything() {
        let text = b"7 (a) S 1 (b) ) S 3 7 8 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 9";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!(stat.birth, Birth { pid: 7, ticks: 123_456 });
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 3, 7, 8));
        for text in [&b""[..], b"7 (a)", b"7 (a) S 1 2 3", b") S", b"\xff) \xff"] {
            assert_eq!(Stat::parse(7, text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_is_found_and_its_children_too() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Stat::read(own).is_some_and(|stat| !stat.is_dead()));
        assert!(pids().contains(&own));
        let mut family = Family::of(own, "no such mark");
        assert!(family.descendants(100).contains(&own));
        assert_eq!(family.descendants(1), [own]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "needs other processes")]
    fn who_carries_the_mark_is_kept_whoever_has_no_environment_beside_it() {
        let spawn = |variable: Option<(&str, &str)>| {
            let mut command = std::process::Command::new("sleep");
            command.arg("600").env_clear().envs(variable).spawn().unwrap()
        };
        // One that has none, before and after one that has the mark.
        let mut children = [spawn(None), spawn(Some(("MARK", "7"))), spawn(None)];
        let stat =
            |child: &std::process::Child| Stat::read(i32::try_from(child.id()).unwrap()).unwrap();
        let mut looks = 50;
        let mut processes: Vec<Stat> = children.iter().map(stat).collect();
        let wanted = processes[1];
        keep_marked(&mut processes, b"MARK=7", &mut looks);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!((processes, looks), (vec![wanted], 0));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(1, &text);
        }
    }
}
