//! The agent's unit for systemd: an agent does all its work with what the unit
//! leaves it.

#![cfg(test)]
#![cfg(target_os = "linux")]

mod booted;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons, sign};
use mig_e2e::operator::{repository, scratch, succeed, tool};
use mig_testkit::binary;
use mig_types::Operation;
use serde_json::json;

/// The unit's values of a setting, in their order.
fn settings(key: &str) -> anyhow::Result<Vec<String>> {
    let unit = fs::read_to_string(repository().join("conf/systemd/mig-agent.service"))?;
    let values = unit.lines().filter_map(|line| line.split_once('='));
    Ok(values.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect())
}

#[test]
fn only_the_units_own_group_can_be_changed() -> anyhow::Result<()> {
    assert_eq!(settings("Delegate")?, ["cpu memory pids"]);
    assert_eq!(settings("ProtectControlGroups")?, ["yes"]);
    assert_eq!(settings("ProtectSystem")?, ["strict"]);
    // Beside the directories systemd makes for it.
    assert_eq!(
        settings("ReadWritePaths")?,
        ["-/sbin -/usr/sbin", "-/sys/fs/cgroup/system.slice/%n"]
    );
    Ok(())
}

/// A control group in the place of the unit's, or of a whole system.
pub(crate) struct Group {
    hierarchy: PathBuf,
    pub(crate) path: PathBuf,
}

impl Group {
    pub(crate) fn make(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let hierarchy = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let point = before.split(' ').nth(4)?;
            after.starts_with("cgroup2 ").then(|| PathBuf::from(point))
        })?;
        let path = hierarchy.join(format!("mig-{name}-{}.service", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Self { hierarchy, path })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove_groups(&self.path);
    }
}

/// Groups are removed one by one; their files are not removed.
fn remove_groups(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    // Those who were killed may take a moment.
    let _ = mig_testkit::until("an empty group", std::time::Duration::from_secs(5), || {
        (fs::remove_dir(path).is_ok() || !path.exists()).then_some(())
    });
}

/// What systemd does before it starts the agent, as far as it could be in the
/// agent's way: the group, everything read-only except what the unit names, the
/// capabilities. `writable` stands for its directories and `/sbin`.
fn manager(group: &Group, writable: &Path) -> anyhow::Result<String> {
    let granted = settings("CapabilityBoundingSet")?.concat();
    let names = granted.split_whitespace().filter_map(|name| name.strip_prefix("CAP_"));
    let bounds = names
        .fold("-all".to_owned(), |list, name| format!("{list},+{}", name.to_ascii_lowercase()));
    Ok(format!(
        "#!/bin/sh\nset -e\necho $$ >{group}/cgroup.procs\nexec unshare --mount sh -e -c '\n\
         for kept in {group} {writable}; do mount --bind $kept $kept; done\n\
         for closed in {hierarchy} /; do mount -o remount,bind,ro $closed; done\n\
         exec setpriv --no-new-privs --inh-caps=-all --bounding-set {bounds} {agent} \"$@\"\n\
         ' sh \"$@\"\n",
        group = group.path.display(),
        hierarchy = group.hierarchy.display(),
        writable = writable.display(),
        agent = binary("mig-agent")?.display(),
    ))
}

fn can_take_the_managers_part() -> bool {
    let mut namespace = tool("unshare");
    namespace.args(["--mount", "setpriv", "--no-new-privs", "--bounding-set", "-all", "true"]);
    let can = namespace.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        println!("skipped: this account may not make namespaces and give up capabilities");
    }
    can
}

/// A process of another agent's executable that waits for ever.
fn duplicate(program: &Path) -> anyhow::Result<Child> {
    let mut command = tool(&program.display().to_string());
    // A module that waits for its parameters.
    command.args(["-m", "file"]).stdin(Stdio::piped());
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_and_removes_a_duplicate_within_its_unit() -> anyhow::Result<()> {
    if !can_take_the_managers_part() {
        return Ok(());
    }
    let Some(group) = Group::make("unit") else {
        println!("skipped: no hierarchy of control groups, version 2, that can be written");
        return Ok(());
    };
    let directory = scratch("mig-unit-")?;
    let program = directory.path().join("manager");
    fs::write(&program, manager(&group, directory.path())?)?;
    make_executable(&program)?;
    let relay = AttackersRelay::built_in().await?;
    let mut platform =
        Attacker::start_program(&program, "unit", relay, directory.path(), &[]).await?;
    platform.control().await?;
    platform.agent.process.wait_log("modules run in control groups, controllers: ")?;

    // Open to all, so that it is asked for its version as nobody where that is
    // possible: the unit takes even that away.
    let old = directory.path().join("mig-agent-old");
    fs::copy(binary("mig-agent")?, &old)?;
    make_executable(&old)?;
    let version = succeed(tool(&old.display().to_string()).arg("-V"))?;
    let mut process = duplicate(&old)?;
    let mut action = platform.question();
    action.operations = Some(vec![Operation {
        module: "agentdestroy".to_owned(),
        parameters: json!({ "pid": process.id(), "version": version.trim() }),
        ..Operation::default()
    }]);
    sign(&mut action, &platform.alice.key, platform.now())?;
    let answer = platform.ask(&platform.command(action)).await;
    let ended = mig_testkit::until("its end", std::time::Duration::from_secs(5), || {
        process.try_wait().ok().flatten()
    });
    // Whatever became of it: nothing stays.
    let _ = process.kill();
    let answer = answer?;
    ensure!(executed(&answer), "{}", reasons(&answer));
    assert_eq!(ended.context(reasons(&answer))?.signal(), Some(9));
    assert!(!old.exists(), "{}", reasons(&answer));
    platform.control().await
}

pub(crate) fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
