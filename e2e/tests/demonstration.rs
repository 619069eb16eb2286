//! The demonstration people run first: it shows what it promises, and however
//! it ends it leaves nothing that runs and nothing outside its folder.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests end a test as its body does")]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mig_testkit::{Managed, binary, until};
use tempfile::TempDir;

/// A whole demonstration ends within this time, on a busy machine too.
const WHOLE: Duration = Duration::from_secs(90);

/// An interrupted one ends within this.
const INTERRUPTED: Duration = Duration::from_secs(15);

/// Exit status after ctrl-c.
const CTRL_C: i32 = 130;

/// A server and three agents.
const BACKGROUND: usize = 4;

/// Seconds of countdown during which the demonstration is surely in its middle.
const FOREVER: &str = "600";

/// Where the programs keep their things unless told otherwise.
const DEFAULTS: [&str; 4] =
    ["/etc/mig", "/var/lib/mig", "/var/lib/mig-standalone", "/var/cache/mig"];

/// A directory of one test. What runs in it ends with it.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        // With a space, because people have such directories.
        let directory = tempfile::Builder::new().prefix("mig demo-").tempdir().unwrap();
        for name in ["home", "tmp"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Starts a demonstration; its log is new.
    fn demo(&self, args: &[&str]) -> Managed {
        let _ = fs::remove_file(self.path().join("mig-demo.log"));
        self.another("mig-demo", args)
    }

    fn another(&self, name: &str, args: &[&str]) -> Managed {
        let (home, tmp) = (self.path().join("home"), self.path().join("tmp"));
        let environment = [("HOME", home.to_str().unwrap()), ("TMPDIR", tmp.to_str().unwrap())];
        let program = binary("mig-demo").unwrap();
        Managed::start(name, &program, args, &environment, self.path()).unwrap()
    }

    /// Runs a demonstration to its end: exit status and everything it said.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        end(&mut self.demo(args), WHOLE)
    }

    /// Starts a demonstration and waits until it counts down: server and
    /// agents are up, and `mig` runs as well.
    fn middle(&self) -> Managed {
        let demo = self.demo(&["--countdown", FOREVER]);
        demo.wait_log("3 agents will be targeted").unwrap();
        let running = self.running();
        assert_eq!(running.len(), BACKGROUND + 2, "demonstration and mig: {running:?}");
        demo
    }

    /// Our programs that work in the directory or name it.
    fn running(&self) -> Vec<(u32, String)> {
        let programs = binary("mig-demo").unwrap().parent().unwrap().to_path_buf();
        let here = |entry: fs::DirEntry| {
            let (pid, proc) = (entry.file_name().to_str()?.parse().ok()?, entry.path());
            let program = fs::read_link(proc.join("exe")).ok()?;
            let works_here = fs::read_link(proc.join("cwd")).ok()?.starts_with(self.path());
            let line = fs::read(proc.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let names_it = line.contains(self.path().to_str()?);
            (program.starts_with(&programs) && (works_here || names_it)).then_some((pid, line))
        };
        fs::read_dir("/proc").unwrap().flatten().filter_map(here).collect()
    }

    #[track_caller]
    fn nothing_runs(&self) {
        // What was killed takes the system a moment.
        let gone = until("the end of every program", Duration::from_secs(3), || {
            self.running().is_empty().then_some(())
        });
        assert!(gone.is_ok(), "still running: {:?}", self.running());
    }

    /// What is in the directory, by name.
    fn entries(&self) -> BTreeSet<String> {
        names(self.path())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for (pid, _) in self.running() {
            signal(pid, "KILL");
        }
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests send signals to what they started")]
fn signal(pid: u32, name: &str) {
    // The shell's own `kill` is everywhere.
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
}

/// Waits for the end by itself.
#[track_caller]
fn end(demo: &mut Managed, limit: Duration) -> (Option<i32>, String) {
    let ended = until("the end of the demonstration", limit, || (!demo.is_running()).then_some(()));
    ended.unwrap();
    (demo.terminate(limit).unwrap().code(), demo.log())
}

/// The part of a log below one heading.
fn section<'a>(log: &'a str, heading: &str) -> &'a str {
    let start = log.find(&format!("== {heading}")).unwrap_or_else(|| panic!("{heading}: {log}"));
    let rest = &log[start + 2..];
    rest.find("\n== ").map_or(rest, |end| &rest[..end])
}

/// Agents with a finding that names `text`.
fn finders<'a>(section: &'a str, text: &str) -> BTreeSet<&'a str> {
    let lines = section.lines().filter(|line| line.contains(text) && !line.contains("$ mig "));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

#[track_caller]
fn shows_everything(log: &str) {
    let everyone = BTreeSet::from(["db1", "lab1", "web1"]);
    let first = section(log, "One question to every agent");
    assert_eq!(finders(first, " /etc/passwd ["), everyone, "{first}");
    assert!(first.contains("3 agents have found results"), "{first}");
    let refused = section(log, "Open ports take two");
    assert!(refused.contains("netstat needs weight 2, signers give 1"), "{refused}");
    assert!(refused.contains("3 sent, 3 done, 3 failed"), "{refused}");
    assert!(finders(refused, " listening port ").is_empty(), "{refused}");
    let accepted = section(log, "Ada signs, Bob adds");
    assert!(accepted.contains("3 sent, 3 done, 3 succeeded"), "{accepted}");
    assert_eq!(finders(accepted, " found listening port "), everyone, "{accepted}");
    let target = section(log, "A target reaches only");
    assert_eq!(finders(target, " /etc/group ["), BTreeSet::from(["lab1"]), "{target}");
    assert!(target.contains("1 sent, 1 done, 1 succeeded"), "{target}");
    let done = section(log, "Done");
    assert!(done.contains("first answer ") && done.contains("it is safe to delete"), "{done}");
}

#[track_caller]
fn succeeds(scratch: &Scratch) {
    let (code, log) = scratch.run(&["--countdown", "1"]);
    assert_eq!(code, Some(0), "{log}");
    shows_everything(&log);
    scratch.nothing_runs();
}

#[test]
fn it_shows_everything_twice_and_stays_in_its_folder() {
    let scratch = Scratch::new();
    let defaults = || DEFAULTS.map(|path| names(Path::new(path)));
    let before = defaults();
    let folder = scratch.path().join("demo");
    for round in ["first", "second"] {
        succeeds(&scratch);
        let made = ["demo", "home", "mig-demo.log", "tmp"].map(str::to_owned);
        assert_eq!(scratch.entries(), BTreeSet::from(made), "{round}");
        for name in ["home", "tmp"] {
            assert_eq!(names(&scratch.path().join(name)), BTreeSet::new(), "{round} {name}");
        }
        assert_eq!(defaults(), before, "{round}");
        // What a run finds in its own folder goes.
        assert!(!folder.join("left").exists(), "{round}");
        fs::create_dir_all(folder.join("left").join("over")).unwrap();
    }
}

#[test]
fn interrupted_in_the_middle_it_stops_everything() {
    let scratch = Scratch::new();
    // The last as when the terminal is closed.
    for name in ["INT", "TERM", "HUP"] {
        let mut demo = scratch.middle();
        let started = Instant::now();
        signal(demo.pid(), name);
        let (code, log) = end(&mut demo, INTERRUPTED);
        println!("SIG{name}: ended after {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(code, Some(CTRL_C), "{name}: {log}");
        assert!(log.contains("interrupted; stopping server and agents"), "{name}: {log}");
        scratch.nothing_runs();
    }
}

#[test]
fn a_killed_one_is_cleaned_up_by_the_next() {
    let scratch = Scratch::new();
    // Also when somebody has deleted the folder meanwhile.
    for delete in [false, true] {
        let mut demo = scratch.middle();
        demo.kill9();
        let left = scratch.running();
        assert_eq!(left.len(), BACKGROUND + 1, "server, agents and mig: {left:?}");
        if delete {
            fs::remove_dir_all(scratch.path().join("demo")).unwrap();
        }
        succeeds(&scratch);
    }
}

#[test]
fn a_second_one_in_the_same_folder_is_refused_while_the_first_runs() {
    let scratch = Scratch::new();
    let mut first = scratch.middle();
    let before = scratch.running();
    let (code, log) = end(&mut scratch.another("second", &[]), WHOLE);
    assert_eq!(code, Some(1), "{log}");
    let folder = scratch.path().join("demo");
    assert!(log.contains("a demonstration runs in ") && log.contains("--dir"), "{log}");
    assert!(log.contains(folder.to_str().unwrap()), "{log}");
    assert_eq!(scratch.running(), before, "the first is not disturbed");
    signal(first.pid(), "INT");
    let (code, log) = end(&mut first, INTERRUPTED);
    assert_eq!(code, Some(CTRL_C), "{log}");
    scratch.nothing_runs();
}

#[test]
fn a_port_in_use_is_named() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for option in ["--api-port", "--relay-port"] {
        let (code, log) = scratch.run(&[option, &port]);
        assert_eq!(code, Some(1), "{log}");
        let text = format!("port {port} is not free; choose another with {option}");
        assert!(log.contains(&text), "{log}");
        scratch.nothing_runs();
    }
}

#[test]
fn a_folder_that_is_not_its_own_is_left_alone() {
    let scratch = Scratch::new();
    let (file, foreign) = (scratch.path().join("file"), scratch.path().join("foreign"));
    fs::write(&file, "mine").unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis"), "mine").unwrap();
    let before = scratch.entries();
    for folder in [file.join("below"), file.clone(), foreign.clone()] {
        let folder = folder.to_str().unwrap();
        let (code, log) = scratch.run(&["--dir", folder]);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(folder) && log.contains("choose another folder with --dir"), "{log}");
        scratch.nothing_runs();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(names(&foreign), BTreeSet::from(["thesis".to_owned()]));
    assert_eq!(fs::read_to_string(foreign.join("thesis")).unwrap(), "mine");
    let mut after = scratch.entries();
    after.remove("mig-demo.log");
    assert_eq!(after, before);
}

/// A small disk, unmounted with its owner.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this is not allowed.
    fn mount(directory: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&directory).unwrap();
        let args = ["-t", "tmpfs", "-o", options, "none", directory.to_str()?];
        run("mount", &args).then_some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.0.to_str().unwrap_or_default();
        // Lazily when a test failed and programs are still in there.
        if !run("umount", &[path]) && !run("umount", &["-l", path]) {
            eprintln!("{path} is still mounted");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only the system's own program mounts")]
fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// Root may write anywhere but on a file system that nobody may write to.
#[test]
fn a_folder_without_write_permission_is_named() {
    let scratch = Scratch::new();
    let Some(disk) = Disk::mount(scratch.path().join("closed"), "size=1m,ro") else {
        println!("skipped: mounting a closed disk takes root and mount(8)");
        return;
    };
    let folder = disk.0.join("demo");
    let (code, log) = scratch.run(&["--dir", folder.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(folder.to_str().unwrap()), "{log}");
    assert!(log.to_lowercase().contains("read-only"), "{log}");
    scratch.nothing_runs();
}

#[test]
fn a_full_disk_is_named() {
    let scratch = Scratch::new();
    // Too small for one file, for the database, for the agents' journals; the
    // last has enough until somebody takes the rest.
    for (size, fill) in [("8k", false), ("256k", false), ("768k", false), ("8m", true)] {
        let options = format!("size={size}");
        let Some(disk) = Disk::mount(scratch.path().join(format!("disk-{size}")), &options) else {
            println!("skipped: mounting a small disk takes root and mount(8)");
            return;
        };
        let folder = disk.0.join("demo");
        let mut demo = scratch.demo(&["--countdown", "2", "--dir", folder.to_str().unwrap()]);
        if fill {
            demo.wait_log("3 agents will be targeted").unwrap();
            fs::write(disk.0.join("fill"), vec![0; 8 << 20]).unwrap_err();
        }
        let started = Instant::now();
        let (code, log) = end(&mut demo, WHOLE);
        println!("{size}: ended after {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(code, Some(1), "{size}: {log}");
        let text = format!("mig-demo: cannot write {}/", folder.display());
        assert!(log.contains(&text) && log.contains("; is the disk full"), "{size}: {log}");
        assert!(!log.contains("== Done"), "{size}: {log}");
        scratch.nothing_runs();
    }
}
