//! The audit daemon's office: taken, held, and given back.

use std::io;
use std::time::{Duration, Instant};

use mig_host::audit::{Link, Status, Waker};
use mig_module::persist::Outlet;

use crate::inbox::{Inbox, Lost};
use crate::rules::Rules;
use crate::settings::Settings;

/// How often the kernel is asked what it lost.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Pause after the system had no memory for us.
const BREATH: Duration = Duration::from_millis(10);

/// Why the office was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another process has it; its id, or 0 when that is not known.
    Taken(u32),
    Failed(String),
}

/// The office, and what was there before.
#[derive(Debug)]
pub(crate) struct Office {
    /// Registered: records come here, and nothing else.
    records: Link,
    /// Answers come here, and wait behind no records.
    control: Link,
    found: Status,
    /// The rules that were there before us, until they are back.
    rules: Vec<Vec<u8>>,
    lost: u32,
    is_given_back: bool,
}

impl Office {
    /// Becomes the audit daemon, switches auditing on and loads the rules. Who has
    /// the office already keeps it, and nothing was touched.
    pub(crate) fn take(
        settings: &Settings,
        rules: &Rules,
        outlet: &Outlet,
    ) -> Result<Self, Refusal> {
        let open = || Link::open().map_err(|error| Refusal::Failed(no_link(&error)));
        let (mut records, mut control) = (open()?, open()?);
        let asked = control.status();
        let found = asked.map_err(|error| Refusal::Failed(not_allowed("asked", &error)))?;
        // Before anything else: of two that look at the same time, one gets it.
        match records.register() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Refusal::Taken(found.pid));
            }
            Err(error) => return Err(Refusal::Failed(not_allowed("taken over", &error))),
        }
        let mut office = Self {
            records,
            control,
            found,
            rules: Vec::new(),
            lost: found.lost,
            is_given_back: false,
        };
        match office.furnish(settings, rules, outlet) {
            Ok(()) => Ok(office),
            Err(reason) => {
                office.give_back(outlet);
                Err(Refusal::Failed(reason))
            }
        }
    }

    fn furnish(
        &mut self,
        settings: &Settings,
        rules: &Rules,
        outlet: &Outlet,
    ) -> Result<(), String> {
        let refused = |what: &'static str| {
            move |error: io::Error| format!("cannot {what}: {}", mig_host::fs::reason(&error))
        };
        if self.found.enabled > 1 {
            return Err(
                "auditing is locked until the next boot: its rules cannot be changed".into()
            );
        }
        self.control.enable(1).map_err(refused("enable auditing"))?;
        let status = self.control.status().map_err(refused("ask whether auditing is enabled"))?;
        if status.enabled == 0 {
            return Err("auditing is still off after it was enabled".to_owned());
        }
        outlet.log("auditing enabled");
        self.control.limit_rate(settings.ratelimit).map_err(refused("set the rate limit"))?;
        self.control
            .limit_backlog(settings.backloglimit)
            .map_err(refused("set the backlog limit"))?;
        self.rules =
            self.control.remove_rules().map_err(refused("remove the rules that are there"))?;
        for warning in &rules.warnings {
            outlet.log(&format!("ruleset warning: {warning}"));
        }
        for (number, rule) in &rules.rules {
            match self.control.add_rule(rule) {
                Ok(()) => {}
                // Twice the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    outlet.log(&format!("ruleset warning: rule {number} is there already"));
                }
                Err(error) => {
                    let reason = mig_host::fs::reason(&error);
                    return Err(format!("the kernel refuses rule {number}: {reason}"));
                }
            }
        }
        // Left behind by a module that could not tidy up: nobody else's.
        self.rules.retain(|found| !rules.rules.iter().any(|(_, rule)| found.starts_with(rule)));
        outlet.log("auditing configured");
        Ok(())
    }

    /// Receives records until `waker` is awake or the kernel says no more.
    pub(crate) fn receive(&mut self, inbox: &Inbox, waker: &Waker, is_over: &dyn Fn() -> bool) {
        let mut asked = Instant::now();
        while !is_over() {
            match self.records.records(ASK_EVERY, waker) {
                Ok(records) if records.is_empty() => {}
                Ok(records) => inbox.put(records),
                Err(error) if is_full(&error) => {
                    inbox.lose(Lost { socket: 1, ..Lost::default() });
                    std::thread::sleep(BREATH);
                }
                Err(error) => {
                    let reason = mig_host::fs::reason(&error);
                    return inbox.close(Err(format!("cannot receive from the kernel: {reason}")));
                }
            }
            if asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                if let Err(reason) = self.count_lost(inbox) {
                    return inbox.close(Err(reason));
                }
            }
        }
        // What was lost until the end is a gap, too.
        let _ = self.count_lost(inbox);
        inbox.close(Ok(()));
    }

    fn count_lost(&mut self, inbox: &Inbox) -> Result<(), String> {
        let status = self.control.status();
        let status = status.map_err(|error| not_allowed("asked", &error))?;
        let lost = status.lost.wrapping_sub(self.lost);
        self.lost = status.lost;
        inbox.lose(Lost { kernel: lost.into(), inbox: self.records.take_dropped(), socket: 0 });
        if status.pid != std::process::id() {
            return Err(format!("process {} is the audit daemon now", status.pid));
        }
        Ok(())
    }

    /// Leaves auditing as it was found. Once.
    pub(crate) fn give_back(&mut self, outlet: &Outlet) {
        if std::mem::replace(&mut self.is_given_back, true) {
            return;
        }
        let mut failed = Vec::new();
        let mut note = |what: &str, done: io::Result<()>| {
            if let Err(error) = done {
                failed.push(format!("{what}: {}", mig_host::fs::reason(&error)));
            }
        };
        if self.found.enabled <= 1 {
            // First of all: it ends what there may be too much of.
            note("state", self.control.enable(self.found.enabled));
            note("rules", self.control.remove_rules().map(drop));
            for rule in std::mem::take(&mut self.rules) {
                note("an earlier rule", self.control.add_rule(&rule));
            }
            note("rate limit", self.control.limit_rate(self.found.rate_limit));
            note("backlog limit", self.control.limit_backlog(self.found.backlog_limit));
        }
        note("registration", self.control.resign());
        if failed.is_empty() {
            outlet.log("auditing given back");
        } else {
            outlet.log(&format!("auditing could not be given back: {}", failed.join(", ")));
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    /// `ENOBUFS` of Linux.
    const NO_BUFFERS: i32 = 105;
    error.raw_os_error() == Some(NO_BUFFERS)
}

/// Why there is nobody to talk to.
pub(crate) fn no_link(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::Unsupported {
        let system = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        return format!("audit module not supported on {system}");
    }
    format!("cannot reach the kernel's auditing: {}", mig_host::fs::reason(error))
}

fn not_allowed(what: &str, error: &io::Error) -> String {
    let reason = mig_host::fs::reason(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("auditing cannot be {what}: {reason} (CAP_AUDIT_CONTROL is needed)")
        }
        // What the kernel tells everybody outside of the first namespaces.
        io::ErrorKind::ConnectionRefused => {
            format!("auditing cannot be {what}: {reason} (it is off, or this is a container)")
        }
        _ => format!("auditing cannot be {what}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let told = not_allowed("asked", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(told.contains("CAP_AUDIT_CONTROL"), "{told}");
        let told = not_allowed("asked", &io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(told.contains("container"), "{told}");
        let told = no_link(&io::Error::from(io::ErrorKind::Unsupported));
        assert!(told.starts_with("audit module not supported on "), "{told}");
    }
}
