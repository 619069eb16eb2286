//! A host that is not well: disks full or read-only, a journal that was damaged,
//! a new name, a relay that is away for long.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mig_types::{CommandId, CommandStatus, ModuleResult};

use crate::stage::{Face, PATIENCE, Stage, by_hash, by_name, endless_file, eventually, program};

/// Runs a program of the system that has to succeed.
#[expect(clippy::disallowed_methods, reason = "mounting is not what is tested")]
fn system(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).status().is_ok_and(|status| status.success())
}

/// A small disk at a directory, while it lives.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this test may not mount.
    fn mount(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let path = at.to_str().unwrap();
        let mounted = rustix::process::geteuid().is_root()
            && system("mount", &["-t", "tmpfs", "-o", options, "mig-test", path]);
        if !mounted {
            println!("skipped: a disk cannot be mounted here");
        }
        mounted.then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(system("mount", &["-o", &options, self.0.to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        system("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn log(stage: &Stage) -> String {
    std::fs::read_to_string(stage.path("agent.log")).unwrap_or_default()
}

/// Waits until the log says something, for the `count`th time.
async fn says(stage: &Stage, what: &str, count: usize) {
    eventually(what, || (log(stage).matches(what).count() >= count).then_some(())).await;
}

const UNUSABLE: &str = "the run directory cannot be used";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    let mut stage = Stage::set("").await;
    let Some(_disk) = Disk::mount(&stage.path("run"), "size=12m") else { return };
    stage.start();
    stage.heartbeat().await;
    let pid = stage.pid();
    let tree = stage.path("conf");
    let known = stage.action(vec![by_name(&tree, "^acl")]);
    let answer = stage.ask(known.clone()).await;
    assert_eq!(answer.status, CommandStatus::Success);

    let filler = stage.path("run/filler");
    let full = std::fs::write(&filler, vec![1; 16 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // Larger than what is free in the file of the journal.
    let mut large = by_name(&tree, "^acl");
    large.parameters["searches"]["s"]["description"] = "x".repeat(3 << 20).into();
    let command = stage.command(stage.action(vec![large]));
    stage.send(&command).await;
    says(&stage, UNUSABLE, 1).await;

    std::fs::remove_file(&filler).unwrap();
    let late = stage.result().await;
    assert_eq!((late.id, late.status), (command.id, CommandStatus::Success), "{:?}", late.results);
    assert_eq!(stage.pid(), pid, "it is the same process");
    // And it has forgotten nothing.
    assert_eq!(stage.ask(known).await.results, answer.results);
    assert!(!log(&stage).contains("a new one is started"), "{}", log(&stage));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_run_directory_is_waited_for() {
    let mut stage = Stage::set("").await;
    let Some(disk) = Disk::mount(&stage.path("run"), "size=12m") else { return };
    // Before the agent was ever started: it has no identity yet.
    disk.remount("ro");
    stage.start();
    says(&stage, UNUSABLE, 2).await;
    disk.remount("rw");
    let first = stage.heartbeat().await;
    let tree = stage.path("conf");
    let known = stage.action(vec![by_name(&tree, "^acl")]);
    let answer = stage.ask(known.clone()).await;
    assert_eq!(answer.status, CommandStatus::Success);

    assert_eq!(stage.terminate().await, Some(0));
    disk.remount("ro");
    let before = log(&stage).matches(UNUSABLE).count();
    stage.start();
    says(&stage, UNUSABLE, before + 1).await;
    // It can be stopped while it waits.
    assert_eq!(stage.terminate().await, Some(0));
    stage.start();
    says(&stage, UNUSABLE, before + 2).await;
    disk.remount("rw");
    assert_eq!(stage.heartbeat().await.queueloc, first.queueloc);
    assert_eq!(stage.ask(known).await.results, answer.results);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_put_aside_and_the_log_says_so() {
    let mut stage = Stage::play("").await;
    let tree = stage.path("conf");
    let action = stage.action(vec![by_name(&tree, "^acl")]);
    assert_eq!(stage.ask(action).await.status, CommandStatus::Success);
    assert_eq!(stage.terminate().await, Some(0));
    let journal = stage.path("run").join(mig_agent::journal::FILE);
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.truncate(bytes.len() / 2);
    bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&journal, bytes).unwrap();
    stage.start();
    stage.heartbeat().await;
    assert!(log(&stage).contains("the journal could not be read, a new one is started"));
    assert!(journal.with_extension("journal.corrupt").exists());
    let action = stage.action(vec![by_name(&tree, "^acl")]);
    assert_eq!(stage.ask(action).await.status, CommandStatus::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_host_name_is_told_and_changes_no_address() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may name a host");
        return;
    }
    let mut stage = Stage::set("refreshenv = 1s\nheartbeatfreq = 1s").await;
    let own = program();
    let mut command = tokio::process::Command::new("unshare");
    command.arg("--uts").arg(own.as_std().get_program()).arg("-c").arg(stage.path("agent.cfg"));
    stage.start_by(command.arg("-f"));
    let first = stage.heartbeat().await;
    let space = format!("--uts=/proc/{}/ns/uts", stage.pid());
    let rename = "echo renamed.example.net > /proc/sys/kernel/hostname";
    if !system("nsenter", &[&space, "sh", "-c", rename]) {
        println!("skipped: the host cannot be named here");
        return;
    }
    let renamed = async {
        loop {
            let agent = stage.heartbeat().await;
            assert_eq!(agent.queueloc, first.queueloc);
            if agent.name == "renamed.example.net" {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, renamed).await.expect("the new name in a heartbeat");
    let tree = stage.path("conf");
    let action = stage.action(vec![by_name(&tree, "^acl")]);
    assert_eq!(stage.ask(action).await.status, CommandStatus::Success);
    // Nor does a restart under the new name.
    let address = std::fs::read_to_string(stage.path("run/.migqueueloc")).unwrap();
    assert_eq!(address.trim(), first.queueloc);
}

/// `MIG_OUTAGE_SECONDS` (6) says how long the relay is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_wait_out_an_outage_and_a_crash_in_the_middle_of_it() {
    let seconds = std::env::var("MIG_OUTAGE_SECONDS").map_or(Ok(6), |text| text.parse()).unwrap();
    let mut stage = Stage::play("moduletimeout = 2s").await;
    let path = stage.path("endless");
    endless_file(&path);
    let mut ids = BTreeSet::new();
    for _ in 0..4 {
        // Each ends by itself a little before its time is over.
        let command = stage.command(stage.action(vec![by_hash(&path)]));
        stage.send(&command).await;
        ids.insert(command.id);
    }
    says(&stage, "command accepted, action", ids.len()).await;
    let address = stage.face.take().unwrap().shut().await;
    let back = tokio::time::Instant::now() + Duration::from_secs(seconds);
    says(&stage, "command done", 2).await;
    stage.kill9().await;
    stage.start();
    says(&stage, "command done", ids.len()).await;
    tokio::time::sleep_until(back).await;
    stage.face = Some(Face::open(&stage.relay, address).await);
    // The longer the relay was away, the more rarely the agent looks: its step
    // doubles up to five minutes and so is never longer than the outage.
    let patience = PATIENCE + Duration::from_secs(seconds).min(Duration::from_mins(6));
    // Delivered at least once: when the relay is cut off again before it confirms,
    // the same answer comes twice, and schedulers keep the first.
    let mut answers: BTreeMap<CommandId, Vec<ModuleResult>> = BTreeMap::new();
    let mut copies = 0;
    let tree = stage.path("conf");
    let mut last = None;
    while last.is_none_or(|id| !answers.contains_key(&id)) {
        let answer = stage.result_within(patience).await;
        assert_eq!(answer.status, CommandStatus::Success, "{:?}", answer.results);
        assert!(ids.contains(&answer.id), "an answer to {}, which was not sent", answer.id);
        let results = answer.results.unwrap_or_default();
        if let Some(first) = answers.get(&answer.id) {
            assert_eq!(*first, results, "{} is answered twice", answer.id);
            copies += 1;
        } else {
            answers.insert(answer.id, results);
        }
        if last.is_none() && answers.len() == ids.len() {
            let next = stage.command(stage.action(vec![by_name(&tree, "^acl")]));
            stage.send(&next).await;
            ids.insert(next.id);
            last = Some(next.id);
        }
    }
    println!("outage: {seconds} s, {} answers, {copies} delivered again", answers.len());
}
