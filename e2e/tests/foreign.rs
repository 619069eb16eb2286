//! An agent for another system in a platform of this one: it answers through the
//! relay, and on Windows it looks into other processes, ends another agent and becomes
//! a service.
//!
//! `cargo xtask windows` and `cargo xtask arm64` say which agent that is, what runs it
//! here and for which system it was built. Without them there is nothing to try.
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "that a test was skipped")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mig_testkit::{AgentOptions, Managed, TestPlatform, until};
use mig_types::{Acl, AclEntry, wire};
use serde_json::json;

/// A program under an emulator that has to start itself first.
const PATIENCE: Duration = Duration::from_mins(3);
/// What Wine calls this machine's `/`.
const DRIVE: &str = "Z:";
const SERVICE: &str = "mig-agent";
const REASON: &str = "Shutting down agent: 'shutdown requested by windows'";

/// The agent and what runs it.
struct Foreign {
    agent: PathBuf,
    runner: Vec<String>,
    system: String,
    started: Cell<usize>,
}

/// How a program ended and what it printed.
#[derive(Debug)]
struct Ended {
    is_well: bool,
    text: String,
}

impl Foreign {
    /// `None`, with a word about it, where there is no such agent.
    fn given() -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = || {
            Some(Self {
                agent: variable("MIG_FOREIGN_AGENT")?.into(),
                runner: variable("MIG_FOREIGN_RUNNER")?.split(' ').map(str::to_owned).collect(),
                system: variable("MIG_FOREIGN_SYSTEM")?,
                started: Cell::new(0),
            })
        };
        let given = given();
        if given.is_none() {
            println!("skipped: no agent for another system is given");
        }
        given
    }

    /// Starts one of its programs; its output goes to a file, because what it starts
    /// itself may hold a pipe open.
    fn start(&self, folder: &Path, program: &str, args: &[&str]) -> anyhow::Result<Managed> {
        let number = self.started.replace(self.started.get() + 1);
        let (first, rest) = self.runner.split_first().context("nothing runs the agent")?;
        let mut words: Vec<&str> = rest.iter().map(String::as_str).collect();
        words.push(program);
        words.extend(args);
        Managed::start(&format!("foreign-{number}"), Path::new(first), &words, &[], folder)
    }

    fn run(&self, folder: &Path, program: &str, args: &[&str]) -> anyhow::Result<Ended> {
        let mut process = self.start(folder, program, args)?;
        until(&format!("the end of {program} {args:?}"), PATIENCE, || {
            (!process.is_running()).then_some(())
        })?;
        let is_well = process.terminate(Duration::ZERO)?.success();
        Ok(Ended { is_well, text: process.log() })
    }
}

/// A file that is found, and where it is.
fn evidence(platform: &TestPlatform) -> anyhow::Result<PathBuf> {
    let folder = platform.directory().join("evidence");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("passwd"), "root\n")?;
    Ok(folder)
}

/// Asks the one agent that is there for the file.
fn ask(platform: &TestPlatform, agent: &str, folder: &str) -> anyhow::Result<()> {
    let answer = platform
        .mig("alice", &["file", "-path", folder, "-name", "^passwd$", "-content", "root"])?;
    ensure!(answer.code == Some(0), "{answer:#?}");
    let found: Vec<&str> =
        answer.stdout.lines().filter(|line| line.starts_with(&format!("{agent} "))).collect();
    ensure!(found.len() == 1 && answer.stdout.contains("passwd"), "{answer:#?}");
    Ok(())
}

fn acl(platform: &TestPlatform) -> Acl {
    let mut acl = Acl::default();
    let investigators = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    acl
}

/// The agent in the foreground, connected.
fn start_agent(platform: &mut TestPlatform, foreign: &Foreign) -> anyhow::Result<()> {
    start_program(platform, foreign, "foreign1", &foreign.agent)?;
    platform.wait_agents(1)
}

/// An agent of that name from any of its programs.
fn start_program(
    platform: &mut TestPlatform,
    foreign: &Foreign,
    name: &str,
    agent: &Path,
) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let program = platform.directory().join(format!("start-{name}"));
    let words = foreign.runner.join(" ");
    fs::write(&program, format!("#!/bin/sh\nexec {words} '{}' \"$@\"\n", agent.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let options = AgentOptions {
        name: name.to_owned(),
        acl: acl(platform),
        program: Some(program),
        ..AgentOptions::default()
    };
    platform.start_agent(&options)?;
    Ok(())
}

/// Whether there is an agent for Windows; says so if not.
fn is_for_windows(foreign: &Foreign) -> bool {
    let is_so = foreign.system == "windows";
    if !is_so {
        println!("skipped: the agent is not one for Windows");
    }
    is_so
}

/// What the first agent says of the processes that fulfil these checks.
fn look(platform: &TestPlatform, checks: &[&str]) -> anyhow::Result<Vec<String>> {
    let words = ["memory", "-t", "name='foreign1'"];
    let answer = platform.mig("alice", &[&words, checks].concat())?;
    ensure!(answer.code == Some(0), "{answer:#?}");
    let lines = answer.stdout.lines().filter(|line| line.starts_with("foreign1 "));
    Ok(lines.map(str::to_owned).collect())
}

/// The one process that was found.
fn pid(found: &[String]) -> anyhow::Result<u32> {
    let [line] = found else { bail!("{found:#?}") };
    let pid = line.split_once("[pid:").and_then(|(_, rest)| rest.split_once(']'));
    Ok(pid.context("no process")?.0.parse()?)
}

/// What an agent's program says of its version.
fn version(platform: &TestPlatform, foreign: &Foreign) -> anyhow::Result<String> {
    let program = foreign.agent.to_str().context("text")?;
    let said = foreign.run(platform.directory(), program, &["-V"])?;
    Ok(said.text.lines().last().context("no version")?.trim().to_owned())
}

/// Has the first agent end another one; what it says of that.
fn destroy(platform: &TestPlatform, pid: u32, version: &str) -> anyhow::Result<String> {
    let parameters = json!({ "pid": pid, "version": version });
    let action = json!({
        "name": "a duplicate agent", "target": "name='foreign1'", "syntaxversion": 2,
        "operations": [{ "module": "agentdestroy", "parameters": parameters }],
    });
    let file = platform.directory().join(format!("destroy-{version}.json"));
    fs::write(&file, action.to_string())?;
    let file = file.to_str().context("text")?;
    let answer = platform.mig("alice", &["-i", file, "-show", "all"])?;
    Ok(answer.stdout + &answer.stderr)
}

#[test]
fn an_agent_for_windows_looks_into_processes_and_ends_another_agent() -> anyhow::Result<()> {
    const WORD: &str = "quarry-of-seven-words";
    let Some(foreign) = Foreign::given() else { return Ok(()) };
    if !is_for_windows(&foreign) {
        return Ok(());
    }
    let mut platform = TestPlatform::embedded()?;
    start_agent(&mut platform, &foreign)?;
    let folder = platform.directory().join("other agent");
    fs::create_dir(&folder)?;
    let program = folder.join("mig-agent-other.exe");
    fs::copy(&foreign.agent, &program)?;
    // Its name is in its memory, and in nobody else's but of those who ask.
    start_program(&mut platform, &foreign, WORD, &program)?;
    platform.wait_agents(2)?;

    let name = r"^[A-Z]:\\.*\\other agent\\mig-agent-other[.]exe$";
    let found = look(&platform, &["-name", name])?;
    let pid = pid(&found)?;
    let hex: Vec<String> = WORD.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let content = format!("[{}]{}", &WORD[..1], &WORD[1..]);
    for checks in [
        &["-name", name, "-lib", r"(?i)\\kernel32[.]dll$"][..],
        &["-name", name, "-content", &content],
        &["-name", name, "-bytes", &hex],
    ] {
        ensure!(look(&platform, checks)? == found, "{checks:?}");
    }
    for checks in [
        &["-name", name, "-lib", r"(?i)\\no-such-library[.]dll$"][..],
        &["-name", name, "-content", "[q]uarry-of-eight-words"],
    ] {
        ensure!(look(&platform, checks)?.is_empty(), "{checks:?}");
    }

    let version = version(&platform, &foreign)?;
    let said = destroy(&platform, pid, "none")?;
    ensure!(said.contains("Version mismatch. Expected 'none', found '"), "{said}");
    ensure!(program.exists() && look(&platform, &["-name", name])? == found, "{said}");
    let said = destroy(&platform, pid, &version)?;
    let expected = format!("PID {pid} from agent {version} has been killed");
    ensure!(said.contains(&expected) && said.contains("removed from"), "{said}");
    ensure!(!said.contains("[error]"), "{said}");
    ensure!(fs::read_dir(&folder)?.next().is_none(), "something is left of it");
    ensure!(look(&platform, &["-name", name])?.is_empty(), "it still runs");
    // And who has ended already is not ended again.
    let said = destroy(&platform, pid, &version)?;
    ensure!(said.contains(&format!("Executable path of PID '{pid}' not found")), "{said}");
    Ok(())
}

#[test]
fn an_agent_for_another_system_answers_through_the_relay() -> anyhow::Result<()> {
    let Some(foreign) = Foreign::given() else { return Ok(()) };
    let mut platform = TestPlatform::embedded()?;
    start_agent(&mut platform, &foreign)?;
    let folder = evidence(&platform)?;
    ask(&platform, "foreign1", folder.to_str().context("text")?)?;
    // Of its own connection it knows whatever it runs on: Wine tells of its own
    // programs only.
    let answer = platform.mig("alice", &["netstat", "-ci", "127.0.0.1"])?;
    let relay = platform.relay_access()?.url;
    let port = relay.rsplit(':').next().context("a port")?;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    ensure!(answer.code == Some(0), "{answer:#?}");
    let there = format!("127.0.0.1:{port} ");
    let is_told = |line: &str| line.starts_with("foreign1 ") && line.contains(&there);
    ensure!(answer.stdout.lines().any(is_told), "{there}: {answer:#?}");
    Ok(())
}

/// The service of one test, which does not outlive it.
struct Service<'a> {
    foreign: &'a Foreign,
    folder: PathBuf,
}

impl Service<'_> {
    fn sc(&self, verb: &str) -> anyhow::Result<Ended> {
        self.foreign.run(&self.folder, "sc", &[verb, SERVICE])
    }

    /// What the manager says of it; `None`: it knows no such service.
    fn state(&self) -> anyhow::Result<Option<String>> {
        let said = self.sc("query")?;
        let line = said.text.lines().find(|line| line.trim_start().starts_with("STATE"));
        Ok(line.and_then(|line| line.split_whitespace().last()).map(str::to_owned))
    }

    fn wait_state(&self, wanted: Option<&str>) -> anyhow::Result<()> {
        until(&format!("the service in state {wanted:?}"), PATIENCE, || {
            (self.state().ok()?.as_deref() == wanted).then_some(())
        })
    }

    fn registered(&self, key: &str) -> anyhow::Result<String> {
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{key}");
        let said = self.foreign.run(&self.folder, "reg", &["query", &key])?;
        ensure!(said.is_well, "{key}: {}", said.text);
        Ok(said.text)
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // It may be gone, or never have been.
        let _ = self.sc("stop");
        let _ = until("the end of the service", PATIENCE, || {
            let state = self.state().ok()?;
            state.is_none_or(|state| state == "STOPPED").then_some(())
        });
        let _ = self.sc("delete");
    }
}

/// The agent's folder, with a blank in its name; the name of its configuration there.
fn install(platform: &TestPlatform, foreign: &Foreign, folder: &Path) -> anyhow::Result<String> {
    fs::create_dir_all(folder.join("run"))?;
    fs::create_dir_all(folder.join("agentkeys"))?;
    fs::copy(&foreign.agent, folder.join("mig-agent.exe"))?;
    for person in &platform.investigators {
        fs::copy(person.public_key_file(), folder.join("agentkeys").join(&person.name))?;
    }
    fs::write(folder.join("acl.cfg"), wire::to_vec(&acl(platform))?)?;
    let access = platform.relay_access()?;
    let there = format!("{DRIVE}{}", folder.display());
    let text = format!(
        "[agent]\nrelay = \"{}\"\napi = \"{}\"\nsocket = \"\"\nheartbeatfreq = \"2s\"\n\
         isimmortal = on\ninstallservice = on\ndiscoverpublicip = off\ndiscoverawsmeta = off\n\
         hostname = \"service1\"\nrundir = \"{there}/run\"\nconfdir = \"{there}\"\n\
         [certs]\nca = \"{DRIVE}{}\"\n\
         [logging]\nmode = file\nfile = \"{there}/agent.log\"\nlevel = info\n",
        access.url,
        platform.api_url(),
        access.ca.context("the relay has an authority")?.display(),
    );
    fs::write(folder.join("mig-agent.cfg"), text)?;
    Ok(format!("{there}/mig-agent.cfg"))
}

#[test]
fn an_agent_installs_itself_as_a_service_of_windows() -> anyhow::Result<()> {
    let Some(foreign) = Foreign::given() else { return Ok(()) };
    if !is_for_windows(&foreign) {
        return Ok(());
    }
    let mut platform = TestPlatform::embedded()?;
    // Wine ends its services with the last program that a person started.
    start_agent(&mut platform, &foreign)?;
    let folder = platform.directory().join("MIG Agent");
    let config = install(&platform, &foreign, &folder)?;
    let program = format!("{DRIVE}{}/mig-agent.exe", folder.display());
    let service = Service { foreign: &foreign, folder: platform.directory().to_owned() };
    ensure!(service.state()?.is_none(), "there is a service called {SERVICE} already");
    let times = |text: &str| {
        let log = fs::read_to_string(folder.join("agent.log")).unwrap_or_default();
        log.matches(text).count()
    };

    let said = foreign.run(platform.directory(), &program, &["-c", &config])?;
    ensure!(said.is_well, "{}", said.text);
    ensure!(service.state()?.as_deref() == Some("RUNNING"), "{}", said.text);
    ensure!(times("Running as a service.") == 1);
    platform.wait_agents(2)?;
    ask(&platform, "service1", &format!("{DRIVE}{}", evidence(&platform)?.display()))?;
    let entry = service.registered(SERVICE)?;
    let command = entry.lines().find(|line| line.contains("ImagePath")).unwrap_or_default();
    // Quoted, and nothing more: it looks for its manager.
    ensure!(command.contains("mig-agent.exe\" -c \""), "{entry}");
    ensure!(command.trim_end().ends_with("mig-agent.cfg\""), "{entry}");
    for wanted in [
        "DisplayName REG_SZ MIG Agent",
        "Description REG_SZ Mozilla InvestiGator Agent",
        "Start REG_DWORD 0x2",
    ] {
        let mut lines = entry.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        ensure!(lines.any(|words| words.join(" ") == wanted), "{wanted}: {entry}");
    }
    let source = service.registered(&format!(r"EventLog\Application\{SERVICE}"))?;
    ensure!(source.contains("EventMessageFile"), "{source}");

    // An upgrade puts a new one in its place.
    let said = foreign.run(platform.directory(), &program, &["-c", &config, "-u"])?;
    ensure!(said.is_well, "{}", said.text);
    ensure!(service.state()?.as_deref() == Some("RUNNING"), "{}", said.text);
    ensure!(times("Running as a service.") == 2 && times(REASON) == 1);

    ensure!(service.sc("stop")?.is_well);
    service.wait_state(Some("STOPPED"))?;
    ensure!(times(REASON) == 2, "{:?}", fs::read_to_string(folder.join("agent.log")));
    let said = service.sc("query")?.text;
    ensure!(said.contains("WIN32_EXIT_CODE    : 0 "), "{said}");

    // One that cannot start says so instead of leaving its manager in doubt.
    let settings = fs::read(folder.join("mig-agent.cfg"))?;
    fs::write(folder.join("mig-agent.cfg"), "[agent]\nrelay = nowhere\n")?;
    let _ = service.sc("start")?;
    until("the service that failed", PATIENCE, || {
        let said = service.sc("query").ok()?.text;
        let has = |text: &str| said.contains(text);
        (has("STOPPED") && has("SERVICE_EXIT_CODE  : 1 ")).then_some(())
    })?;

    // Whoever ends the agent removes its service, too.
    fs::write(folder.join("mig-agent.cfg"), settings)?;
    ensure!(service.sc("start")?.is_well);
    service.wait_state(Some("RUNNING"))?;
    let found = look(&platform, &["-name", r"\\MIG Agent\\mig-agent[.]exe$"])?;
    let version = version(&platform, &foreign)?;
    let said = destroy(&platform, pid(&found)?, &version)?;
    ensure!(said.contains("has been killed and its executable removed"), "{said}");
    ensure!(!said.contains("[error]"), "{said}");
    ensure!(!folder.join("mig-agent.exe").exists() && times("Running as a service.") == 3);
    service.wait_state(None)
}
