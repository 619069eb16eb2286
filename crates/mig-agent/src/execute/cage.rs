//! What holds the processes of one run together, counts them and ends them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Budgets;

#[cfg(target_os = "linux")]
use super::cgroup::{Cgroups, Group, Limits};
#[cfg(target_os = "linux")]
use super::family::Family;
#[cfg(target_os = "linux")]
use std::sync::{Mutex, PoisonError};

/// Where runs are kept apart.
#[derive(Debug, Default)]
pub struct Cages {
    #[cfg(target_os = "linux")]
    cgroups: Option<Cgroups>,
    next: AtomicU64,
}

impl Cages {
    /// With control groups where the system has them and lets us. Whatever
    /// modules of an earlier agent of the same run directory are still there is
    /// killed, so the caller must own the directory.
    pub fn open(rundir: &Path, budgets: &Budgets) -> Self {
        let mut cages = Self::default();
        if !budgets.cgroups {
            tracing::info!("modules run without control groups: agent.modulecgroups is off");
            return cages;
        }
        cages.use_cgroups(rundir);
        cages
    }

    #[cfg(target_os = "linux")]
    fn use_cgroups(&mut self, rundir: &Path) {
        match Cgroups::open(&name(rundir), crate::config::half_the_cores()) {
            Ok(cgroups) => {
                tracing::info!(
                    "modules run in control groups, controllers: {}",
                    cgroups.controllers()
                );
                self.cgroups = Some(cgroups);
            }
            Err(error) => tracing::warn!(
                "modules run without control groups, their processes are looked for one by one: \
                 {error}"
            ),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "the signature of the other system")]
    fn use_cgroups(&mut self, _rundir: &Path) {}

    /// Waits until what was killed is gone, as long as that takes when nothing is
    /// stuck.
    #[cfg(target_os = "linux")]
    pub(crate) async fn settle(&self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.settle().await;
        }
    }

    /// Nothing to wait for.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_async, clippy::unused_self, reason = "as on the other system")]
    pub(crate) async fn settle(&self) {}

    /// A cage for one run.
    ///
    /// # Errors
    ///
    /// When the control group cannot be made.
    pub(super) fn cage(&self, budgets: &Budgets) -> std::io::Result<Cage<'_>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}.{number}", std::process::id());
        #[cfg(target_os = "linux")]
        let group = match &self.cgroups {
            Some(cgroups) => Some(cgroups.group(Limits {
                memory_bytes: mig_child::hard_memory_limit(budgets.memory_bytes),
                processes: budgets.processes,
            })?),
            None => None,
        };
        Ok(Cage {
            mark,
            head: None,
            processes: budgets.processes,
            memory_bytes: budgets.memory_bytes,
            #[cfg(target_os = "linux")]
            group,
            #[cfg(target_os = "linux")]
            family: Mutex::new(None),
            #[cfg(not(target_os = "linux"))]
            _cages: std::marker::PhantomData,
        })
    }
}

/// A name for the agent's group that another agent of the machine does not have.
#[cfg(target_os = "linux")]
fn name(rundir: &Path) -> String {
    let rundir = std::fs::canonicalize(rundir).unwrap_or_else(|_| rundir.to_owned());
    // FNV-1a: short, and the same at every start.
    let hash = rundir
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("mig-modules-{hash:016x}")
}

/// What the processes of a run take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Private and shared memory, without files, in bytes.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) tasks: usize,
}

/// The processes of one run.
#[derive(Debug)]
pub(super) struct Cage<'a> {
    mark: String,
    head: Option<u32>,
    processes: usize,
    memory_bytes: u64,
    #[cfg(target_os = "linux")]
    group: Option<Group<'a>>,
    #[cfg(target_os = "linux")]
    family: Mutex<Option<Family>>,
    #[cfg(not(target_os = "linux"))]
    _cages: std::marker::PhantomData<&'a ()>,
}

impl Cage<'_> {
    /// What processes of the run are known by.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    pub(super) fn processes(&self) -> usize {
        self.processes
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The group a module process has to enter by itself.
    pub(super) fn entrance(&self) -> Option<&Path> {
        #[cfg(target_os = "linux")]
        return self.group.as_ref().map(Group::path);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Names the module process, the head of its own process group.
    pub(super) fn hold(&mut self, head: Option<u32>) {
        self.head = head;
        #[cfg(target_os = "linux")]
        if let Some(pid) = head.and_then(|head| i32::try_from(head).ok()) {
            *self.family.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Family::of(pid, &self.mark));
        }
    }

    /// Kills all of it, at once, as far as that can be done at once. Harmless
    /// when nothing is left.
    pub(super) fn kill(&self) {
        #[cfg(target_os = "linux")]
        if let Some(group) = &self.group {
            group.kill();
        }
        #[cfg(unix)]
        if let Some(pid) =
            self.head.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(target_os = "linux")]
impl Cage<'_> {
    /// What all processes take; `None` when there are none. With more processes
    /// than allowed only they are counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        let pids = if let Some(group) = &self.group {
            if group.is_crowded() {
                return Some(Usage { tasks: self.processes + 1, ..usage });
            }
            let mut pids = group.processes();
            // Not yet in.
            let head = self.head.and_then(|head| i32::try_from(head).ok());
            pids.extend(head.filter(|head| !pids.contains(head)));
            pids
        } else {
            let mut family = self.family.lock().unwrap_or_else(PoisonError::into_inner);
            family.as_mut()?.descendants(self.processes + 1)
        };
        if pids.len() > self.processes {
            return Some(Usage { tasks: pids.len(), ..usage });
        }
        for pid in pids {
            // Gone or unreadable: the other watchers see how it ended.
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let Some(memory) = private_bytes(&text) else { continue };
            usage.memory_bytes = usage.memory_bytes.saturating_add(memory);
            usage.tasks = usage.tasks.saturating_add(threads(&text));
        }
        (usage.tasks > 0).then_some(usage)
    }

    /// Whether the kernel kept the limit on memory by killing.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(Group::is_out_of_memory)
    }

    /// Kills whatever is there and waits until it is gone. Returns how many
    /// processes there were beside the module's own.
    pub(super) async fn empty(&self) -> usize {
        let Some(group) = &self.group else {
            self.kill();
            let family = self.family.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut family) = family else { return 0 };
            return tokio::task::spawn_blocking(move || family.kill()).await.unwrap_or_default();
        };
        let head = self.head.and_then(|head| i32::try_from(head).ok());
        let others = group.processes().into_iter().filter(|pid| Some(*pid) != head).count();
        self.kill();
        group.emptied().await;
        others
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_async, clippy::unused_self, reason = "the signatures of the other system")]
impl Cage<'_> {
    /// Not seen here.
    pub(super) fn usage(&self) -> Option<Usage> {
        None
    }

    pub(super) fn is_out_of_memory(&self) -> bool {
        false
    }

    pub(super) async fn empty(&self) -> usize {
        self.kill();
        0
    }
}

impl Drop for Cage<'_> {
    fn drop(&mut self) {
        self.kill();
        // Given up in the middle of a run.
        #[cfg(target_os = "linux")]
        if self.group.is_none()
            && let Some(family) = self.family.get_mut().unwrap_or_else(PoisonError::into_inner)
        {
            family.kill();
        }
    }
}

/// Reads resident memory that is no file from `/proc/<pid>/status`, in bytes.
///
/// **Shape** `RssAnon:\t   1234 kB`, and `RssShmem:` likewise. **Source**
/// `proc_pid_status(5)`.
#[cfg(target_os = "linux")]
fn private_bytes(status: &str) -> Option<u64> {
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let shared = kilobytes("RssShmem:").unwrap_or_default();
    kilobytes("RssAnon:")?.checked_add(shared)?.checked_mul(1024)
}

/// Threads of a process; at least the one.
#[cfg(target_os = "linux")]
fn threads(status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or(1)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn reads_private_memory_and_nothing_else() {
        let text = "Name:\tx\nRssAnon:\t    1024 kB\nRssFile:\t 1 kB\nRssShmem:\t 1024 kB\n";
        assert_eq!(private_bytes(text), Some(2 << 20));
        assert_eq!(private_bytes("RssAnon:\t 1 kB\n"), Some(1024));
        for text in ["", "RssAnon:", "RssAnon:\t x kB", "RssAnon:\t 1 MB", "RssAnon:\t-1 kB"] {
            assert_eq!(private_bytes(text), None, "{text:?}");
        }
        let huge = format!("RssAnon: {} kB", u64::MAX);
        assert_eq!(private_bytes(&huge), None);
        assert_eq!((threads("Threads:\t12\n"), threads("Threads: x")), (12, 1));
    }

    #[test]
    fn every_run_directory_has_its_own_group() {
        let (one, other) = (name(Path::new("/var/lib/mig")), name(Path::new("/var/lib/mig2")));
        assert!(one != other && one.starts_with("mig-modules-") && one.len() == 28);
    }
}
