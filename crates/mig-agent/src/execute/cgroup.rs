//! Control groups, version 2: one per run, so that nothing a module starts gets
//! out of sight, and limits that the kernel keeps where it offers them.
//!
//! What may be used depends on where the agent is. In a group handed over to it
//! (`Delegate=yes` of systemd) or in the root it enables the controllers for
//! memory, processes and CPU time; elsewhere it makes groups without, which still
//! hold processes together and kill them at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Controllers worth having.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Period of the limit on CPU time, microseconds.
const PERIOD_US: usize = 100_000;
/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The agent's groups.
#[derive(Debug)]
pub(super) struct Cgroups {
    parent: PathBuf,
    base: PathBuf,
    /// Processors that all runs together may use.
    cores: usize,
    controllers: Vec<&'static str>,
    next: AtomicU64,
    /// Groups that could not be removed yet.
    stale: Mutex<Vec<PathBuf>>,
}

/// Limits of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) memory_bytes: u64,
    pub(super) processes: usize,
}

impl Cgroups {
    /// Makes the group of all runs below the agent's own. Whatever an earlier
    /// agent of the same `name` left there is killed.
    ///
    /// # Errors
    ///
    /// When there is no such hierarchy, or it cannot be written.
    pub(super) fn open(name: &str, cores: usize) -> io::Result<Self> {
        let own = own_group()?;
        let mut parent = own.clone();
        let offered = list(&own.join("cgroup.controllers"));
        if is_handed_over(&own) && offered.iter().any(|name| CONTROLLERS.contains(&&**name)) {
            // Only leaves may have processes where controllers are at work.
            let leaf = own.join("agent");
            make(&leaf)?;
            fs::write(leaf.join("cgroup.procs"), std::process::id().to_string())?;
        } else if own.file_name().is_some_and(|leaf| leaf == "agent")
            && own.parent().is_some_and(is_handed_over)
        {
            parent = own.parent().map_or(own.clone(), Path::to_owned);
        }
        Self::below(&parent, name, cores)
    }

    fn below(parent: &Path, name: &str, cores: usize) -> io::Result<Self> {
        let base = parent.join(name);
        for left in directories(&base) {
            kill(&left);
        }
        for left in directories(&base) {
            wait_blocking(&left);
            let _ = fs::remove_dir(&left);
        }
        // Those of agents that are gone; where there are processes it fails. One
        // that only has nothing to do makes its group again.
        let prefix = name.trim_end_matches(|letter: char| letter.is_ascii_hexdigit());
        for other in directories(parent) {
            let is_alike = other.file_name().and_then(|name| name.to_str());
            if is_alike.is_some_and(|name| name.len() > prefix.len() && name.starts_with(prefix)) {
                let _ = fs::remove_dir(&other);
            }
        }
        let mut cgroups = Self {
            parent: parent.to_owned(),
            base,
            cores,
            controllers: Vec::new(),
            next: AtomicU64::new(1),
            stale: Mutex::new(Vec::new()),
        };
        cgroups.controllers = cgroups.prepare()?;
        Ok(cgroups)
    }

    /// Makes the group of all runs; the controllers at work in it.
    fn prepare(&self) -> io::Result<Vec<&'static str>> {
        make(&self.base)?;
        let controllers: Vec<&str> = CONTROLLERS
            .into_iter()
            .filter(|name| {
                enable(&self.parent, name).and_then(|()| enable(&self.base, name)).is_ok()
            })
            .collect();
        if controllers.contains(&"cpu") {
            let limit = format!("{} {PERIOD_US}", self.cores * PERIOD_US);
            fs::write(self.base.join("cpu.max"), limit)?;
        }
        Ok(controllers)
    }

    /// For the log: what the kernel limits by itself.
    pub(super) fn controllers(&self) -> String {
        if self.controllers.is_empty() { "none".to_owned() } else { self.controllers.join(", ") }
    }

    /// A group for one run.
    pub(super) fn group(&self, limits: Limits) -> io::Result<Group<'_>> {
        self.tidy();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.base.join(format!("run-{number}"));
        if make(&path).is_err() {
            self.prepare()?;
            make(&path)?;
        }
        let group = Group { path, owner: self };
        if self.controllers.contains(&"memory") {
            fs::write(group.path.join("memory.max"), limits.memory_bytes.to_string())?;
            // Not on every kernel: swap accounting, and killing all or none.
            let _ = fs::write(group.path.join("memory.swap.max"), "0");
            let _ = fs::write(group.path.join("memory.oom.group"), "1");
        }
        if self.controllers.contains(&"pids") {
            fs::write(group.path.join("pids.max"), limits.processes.to_string())?;
        }
        Ok(group)
    }

    /// Waits until no killed process is left.
    pub(super) async fn settle(&self) {
        let gone = async {
            while self.tidy() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, gone).await;
    }

    /// Removes groups whose last process has gone since; how many are left.
    fn tidy(&self) -> usize {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        stale.retain(|path| fs::remove_dir(path).is_err() && path.exists());
        stale.len()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.tidy();
        let _ = fs::remove_dir(&self.base);
    }
}

/// The group of one run.
#[derive(Debug)]
pub(super) struct Group<'a> {
    path: PathBuf,
    owner: &'a Cgroups,
}

impl Group<'_> {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ids of its processes.
    pub(super) fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether the kernel had to keep the limit on memory.
    pub(super) fn is_out_of_memory(&self) -> bool {
        count(&self.path.join("memory.events"), "oom_kill") > 0
    }

    /// Whether the kernel had to refuse a process or thread.
    pub(super) fn is_crowded(&self) -> bool {
        count(&self.path.join("pids.events"), "max") > 0
    }

    pub(super) fn kill(&self) {
        kill(&self.path);
    }

    /// Waits until killed processes are gone.
    pub(super) async fn emptied(&self) {
        let gone = async {
            while !is_empty(&self.path) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Stuck in the kernel: it dies when it comes out.
        let _ = tokio::time::timeout(PATIENCE, gone).await;
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.kill();
        if fs::remove_dir(&self.path).is_err() {
            let mut stale = self.owner.stale.lock().unwrap_or_else(PoisonError::into_inner);
            stale.push(self.path.clone());
        }
    }
}

fn kill(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Kernels before 5.14: until nobody is left who could start another.
    for _ in 0..100 {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<_> = text
            .lines()
            .filter_map(|line| line.parse().ok().and_then(rustix::process::Pid::from_raw))
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn is_empty(group: &Path) -> bool {
    match fs::read_to_string(group.join("cgroup.events")) {
        Ok(text) => field(&text, "populated") != Some(1),
        Err(_) => true,
    }
}

fn wait_blocking(group: &Path) {
    let mut left = 150;
    while !is_empty(group) && left > 0 {
        std::thread::sleep(Duration::from_millis(10));
        left -= 1;
    }
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn enable(group: &Path, controller: &str) -> io::Result<()> {
    if list(&group.join("cgroup.subtree_control")).iter().any(|on| on == controller) {
        return Ok(());
    }
    if !list(&group.join("cgroup.controllers")).iter().any(|there| there == controller) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
}

fn list(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn count(file: &Path, name: &str) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| field(&text, name)).unwrap_or_default()
}

/// The value of a flat keyed file: one `name number` a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.into_iter().find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// Whether the service manager leaves the group to us.
fn is_handed_over(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(group, name, &mut value[..]).is_ok_and(|length| length > 0)
            && value.first() == Some(&b'1')
    })
}

/// The group this process is in, as a directory.
fn own_group() -> io::Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    locate(&groups, &mounts)
        .filter(|path| path.join("cgroup.procs").exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no hierarchy of version 2"))
}

/// **Shape** of the first text `0::/path` among lines of other hierarchies, of
/// the second `… root mountpoint options … - cgroup2 …`. **Source**
/// `cgroups(7)`, `proc_pid_mountinfo(5)`.
fn locate(groups: &str, mounts: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A group outside of what this process may see.
    if own.split('/').any(|part| part == "..") {
        return None;
    }
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOUNTS: &str = "\
23 1 0:21 / /proc rw - proc proc rw
30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn finds_its_own_group() {
        let groups = "4:memory:/x\n0::/system.slice/mig-agent.service\n";
        let path = Path::new("/sys/fs/cgroup/unified/system.slice/mig-agent.service");
        assert_eq!(locate(groups, MOUNTS).as_deref(), Some(path));
        // Only a part of the hierarchy is mounted.
        let part = MOUNTS.replace("0:26 / ", "0:26 /system.slice ");
        let path = Path::new("/sys/fs/cgroup/unified/mig-agent.service");
        assert_eq!(locate(groups, &part).as_deref(), Some(path));
        assert_eq!(locate("0::/elsewhere\n", &part), None);
        assert_eq!(locate("0::/../outside\n", MOUNTS), None);
        assert_eq!(locate("4:memory:/x\n", MOUNTS), None);
        assert_eq!(locate(groups, "x - cgroup2\n"), None);
    }

    #[test]
    fn limits_go_where_a_controller_is() {
        // A directory that looks like a hierarchy; the kernel makes the files.
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("runs");
        for group in [root.path(), &base] {
            make(group).unwrap();
            fs::write(group.join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        }
        fs::write(base.join("cpu.max"), "").unwrap();
        let cgroups = Cgroups::below(root.path(), "runs", 3).unwrap();
        assert_eq!(cgroups.controllers(), "memory, pids, cpu");
        assert_eq!(fs::read_to_string(base.join("cpu.max")).unwrap(), "300000 100000");
        let group = cgroups.group(Limits { memory_bytes: 7 << 20, processes: 9 }).unwrap();
        let said = |name: &str| fs::read_to_string(group.path().join(name)).unwrap();
        assert_eq!((said("memory.max"), said("pids.max")), ("7340032".into(), "9".into()));
        assert!(!group.is_out_of_memory() && !group.is_crowded());
        fs::write(group.path().join("memory.events"), "max 7\noom 1\noom_kill 1\n").unwrap();
        fs::write(group.path().join("pids.events"), "max 2\n").unwrap();
        assert!(group.is_out_of_memory() && group.is_crowded());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(groups in ".{0,80}", mounts in ".{0,200}") {
            let _ = locate(&groups, &mounts);
            let _ = locate(&format!("0::/{groups}"), &format!("{mounts} - cgroup2 x"));
            let _ = field(&groups, "max");
        }
    }
}
