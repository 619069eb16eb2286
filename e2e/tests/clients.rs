//! The small programs, and the words of `mig` beside its modules.

#[path = "clients/crooked.rs"]
mod crooked;
#[path = "clients/dashes.rs"]
mod dashes;
#[path = "clients/doctor.rs"]
mod doctor;
#[path = "clients/errors.rs"]
mod errors;
#[path = "clients/formats.rs"]
mod formats;
#[path = "clients/links.rs"]
mod links;
#[path = "clients/map.rs"]
mod map;
#[path = "clients/settings.rs"]
mod settings;
#[path = "clients/words.rs"]
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use mig_e2e::operator::{program, tool};
use mig_e2e::terminal::Terminal;
use mig_testkit::{AgentOptions, Outcome, TestPlatform, until};
use mig_types::{Acl, AclEntry, Action};

/// A platform with one agent, which wants two signatures for `netstat`.
struct Lab {
    platform: TestPlatform,
    acl: PathBuf,
}

impl Lab {
    fn new() -> anyhow::Result<Self> {
        let mut platform = TestPlatform::embedded()?;
        let mut acl = Acl::default();
        for (name, minimumweight) in [("default", 1), ("netstat", 2)] {
            let people = platform.investigators.iter().map(|person| person.weighing(1)).collect();
            acl.insert(name, AclEntry { minimumweight, investigators: people });
        }
        let path = platform.directory().join("acl.cfg");
        fs::write(&path, serde_json::to_string(&acl)?)?;
        platform.start_agent(&AgentOptions {
            name: "web1".to_owned(),
            tags: vec![("operator".to_owned(), "it".to_owned())],
            acl,
            settings: vec!["discoverpublicip = on".to_owned()],
            ..AgentOptions::default()
        })?;
        platform.wait_agents(1)?;
        Ok(Self { platform, acl: path })
    }

    fn file(&self, name: &str) -> String {
        self.platform.directory().join(name).display().to_string()
    }

    /// A program of an investigator, not yet started.
    fn command(&self, who: &str, name: &str, args: &[&str]) -> anyhow::Result<Command> {
        let person = self.platform.investigator(who)?;
        let mut command = program(name, self.platform.directory())?;
        command.args(args).env("HOME", person.home());
        command.env("MIG_SIGNING_KEY", person.secret_key_file()).env("MIG_YES", "1");
        command.env_remove("MIG_CONFIG").env_remove("MIG_CONTEXT").env_remove("GNUPGHOME");
        command.env_remove("MIG_OUTPUT");
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a program as an investigator.
    fn run(&self, who: &str, name: &str, args: &[&str]) -> anyhow::Result<Outcome> {
        Ok(self.command(who, name, args)?.output()?.into())
    }

    /// The same, which must end with that code and say those texts.
    fn expect(
        &self,
        code: i32,
        (who, name): (&str, &str),
        args: &[&str],
        texts: &[&str],
    ) -> anyhow::Result<Outcome> {
        let outcome = self.run(who, name, args)?;
        assert_eq!(outcome.code, Some(code), "{name} {args:?}: {outcome:#?}");
        for text in texts {
            let said = outcome.stdout.contains(text) || outcome.stderr.contains(text);
            assert!(said, "{name} {args:?} does not say {text:?}: {outcome:#?}");
        }
        Ok(outcome)
    }

    /// An unsigned action in a file.
    fn unsigned(&self, name: &str, args: &[&str]) -> anyhow::Result<String> {
        let printed = self.expect(0, ("alice", "mig"), args, &["\"pgpsignatures\": null"])?;
        let path = self.file(name);
        fs::write(&path, printed.stdout)?;
        Ok(path)
    }
}

const GENERATOR: (&str, &str) = ("alice", "mig-action-generator");
const VERIFIER: (&str, &str) = ("alice", "mig-action-verifier");
const SEARCH: (&str, &str) = ("alice", "mig-agent-search");
const ALICE: (&str, &str) = ("alice", "mig");
const BOB: (&str, &str) = ("bob", "mig");

#[test]
fn the_small_programs_do_what_scripts_need() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let evidence = lab.platform.directory().join("evidence");
    fs::create_dir_all(&evidence)?;
    fs::write(evidence.join("a,b"), "x")?;
    let at = evidence.display().to_string();
    let question = ["file", "-p", "-t", "name='nobody'", "-path", &at, "-name", "^a"];
    let file = lab.unsigned("question.json", &question)?;
    generator(&lab, &file)?;
    verifier(&lab, &file)?;
    examples(&lab)?;
    watches(&lab)?;
    settings::every_run(&lab)?;
    errors::sentences(&lab)?;
    errors::bodies(&lab)?;
    dashes::streams(&lab, &file)?;
    search(&lab)
}

fn generator(lab: &Lab, file: &str) -> anyhow::Result<()> {
    lab.expect(2, GENERATOR, &[], &["Missing action file", "usage: mig-action-generator"])?;
    lab.expect(2, GENERATOR, &["-i", "/nonexistent"], &["cannot read /nonexistent"])?;
    lab.expect(2, GENERATOR, &["-i", file, "-expireafter", "5"], &["-expireafter"])?;
    lab.expect(2, GENERATOR, &["-i", file, "stray"], &["unexpected argument \"stray\""])?;
    lab.expect(1, GENERATOR, &["-i", file, "-t", "name ="], &["the target is refused"])?;
    let printed = lab.expect(0, GENERATOR, &["-i", file, "-nolaunch", "-urlencode"], &[])?;
    let (json, encoded) = printed.stdout.split_once("\n}\n").context("no action")?;
    assert!(json.starts_with("{\n\t\"id\": 0,\n\t\"name\": \"file -p"), "{json}");
    assert!(encoded.starts_with("%7B%22id%22%3A0%2C%22name%22%3A%22file+-p"), "{encoded}");
    let args = ["-i", file, "-t", "allonline", "-expireafter", "10m"];
    let launched = lab.expect(0, GENERATOR, &args, &["Successfully launched action "])?;
    let id = launched.stdout.trim().rsplit(' ').next().context("no id")?.to_owned();
    lab.expect(0, ALICE, &["follow", &id], &["web1 ", "/a,b [lastmodified:", "1 sent, 1 done"])?;
    // The same by looking again and again.
    let polled = crooked::polled(lab.api_address()?, &id)?;
    let path = lab.file("polled.migrc");
    fs::write(&path, format!("[api]\nurl = \"http://{polled}/api/v1/\"\n"))?;
    let followed = ["follow", &id, "-c", &path, "--timeout", "30s"];
    lab.expect(0, ALICE, &followed, &["/a,b [lastmodified:", "1 sent, 1 done"])?;
    let csv = lab.expect(0, ALICE, &["results", &id, "--csv"], &[])?;
    let rows: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(rows.first(), Some(&"agent,status,module,found,line"), "{csv:#?}");
    assert!(rows[1].starts_with("web1,success,file,true,\""), "{csv:#?}");
    assert_eq!(rows.len(), 2, "{csv:#?}");
    let json = lab.expect(0, ALICE, &["results", &id, "--ndjson"], &[])?;
    let (result, summary) = json.stdout.trim().split_once('\n').context("no two lines")?;
    assert!(result.starts_with(&format!("{{\"type\":\"result\",\"action\":{id},")), "{json:#?}");
    assert!(summary.starts_with("{\"type\":\"summary\",\"schema\":1,"), "{json:#?}");
    lab.expect(
        0,
        ALICE,
        &["action", &id],
        &["status    completed", "signed by ", "modules   file"],
    )?;
    lab.expect(0, ALICE, &["actions", "status=completed"], &[&id, "completed"])?;
    lab.expect(0, ALICE, &["actions", "--json"], &["{\"id\":"])?;
    lab.expect(2, ALICE, &["cancel", &id], &["nobody can take an action back"])?;
    links::pages(lab, &id)?;
    map::drawn(lab, &id)
}

fn verifier(lab: &Lab, file: &str) -> anyhow::Result<()> {
    let keyring = lab.platform.investigator("alice")?.public_key_file().display().to_string();
    let signed = lab.file("signed.json");
    let printed = lab.expect(0, GENERATOR, &["-i", file, "-nolaunch"], &[])?;
    fs::write(&signed, &printed.stdout)?;
    let known = ["-a", &signed, "-keyring", &keyring];
    let good = lab.expect(0, VERIFIER, &known, &["Valid signature\nsignature 1: good, "])?;
    assert!(good.stdout.contains("alice <alice@example.net>, made 20"), "{good:#?}");
    lab.expect(0, VERIFIER, &["-a", &signed, "-from-api"], &["according to the API"])?;
    let raw = lab.expect(0, VERIFIER, &["-a", &signed, "-canonical"], &["name=file -p"])?;
    assert!(raw.stdout.contains(";operations=[{"), "{raw:#?}");

    let mut action: Action = serde_json::from_str(&printed.stdout)?;
    "status='online'".clone_into(&mut action.target);
    let changed = lab.file("changed.json");
    fs::write(&changed, serde_json::to_string(&action)?)?;
    let texts = ["[error] signature by key", "signature 1: not good"];
    lab.expect(1, VERIFIER, &["-a", &changed, "-keyring", &keyring], &texts)?;
    let unsigned = ["-a", file, "-keyring", &keyring];
    lab.expect(
        1,
        VERIFIER,
        &unsigned,
        &["note: wrong syntax version 0", "[error] action is not signed"],
    )?;
    let bob = lab.platform.investigator("bob")?.public_key_file().display().to_string();
    lab.expect(1, VERIFIER, &["-a", &signed, "-keyring", &bob], &["claims to be by"])?;

    let command = serde_json::json!({ "action": serde_json::from_str::<Action>(&printed.stdout)?,
        "agent": { "name": "web1", "queueloc": "linux.x" }, "status": "sent" });
    let path = lab.file("command.json");
    fs::write(&path, command.to_string())?;
    lab.expect(0, VERIFIER, &["-c", &path, "-keyring", &keyring], &["Valid signature"])?;
    lab.expect(2, VERIFIER, &["-c", &signed, "-keyring", &keyring], &["no agent name"])?;
    let message = "either an action file or a command file must be provided";
    lab.expect(2, VERIFIER, &[], &[message])?;
    lab.expect(2, VERIFIER, &["-a", "/nonexistent"], &["cannot read /nonexistent"])?;
    Ok(())
}

fn search(lab: &Lab) -> anyhow::Result<()> {
    let header = "name; id; status; version; mode; os; arch; pid; starttime; heartbeattime; tags; \
                  environment\n";
    for args in [["-p", "name=web* and status=online"], ["-p", "status=%"], ["-t", "allonline"]] {
        let found = lab.expect(0, SEARCH, &args, &["; {\"operator\":\"it\"}; {\""])?;
        assert!(found.stdout.starts_with(header), "{found:#?}");
        assert_eq!(found.stdout.lines().count(), 2, "{found:#?}");
        assert!(found.stdout.contains("\nweb1; "), "{found:#?}");
    }
    let nobody = lab.expect(0, SEARCH, &["-p", "name=nobody"], &[])?;
    assert_eq!(nobody.stdout, header);
    let bare = lab.expect(0, SEARCH, &["-t", "name='web1'", "--no-header"], &[])?;
    assert_eq!(bare.stdout.lines().count(), 1, "{bare:#?}");
    lab.expect(2, SEARCH, &[], &["must specify -p or -t, see help"])?;
    lab.expect(2, SEARCH, &["-p", ""], &["must specify -p or -t, see help"])?;
    lab.expect(2, SEARCH, &["-p", "colour=red"], &["Unknown search key 'colour'"])?;
    lab.expect(1, SEARCH, &["-t", "name ="], &["error: "])?;
    lab.expect(0, ALICE, &["agents", "name=web*"], &["   web1 "])?;
    lab.expect(0, ALICE, &["agents", "-t", "allonline"], &["1 agents match", "   web1 "])?;
    lab.expect(5, ALICE, &["agents", "-t", "name='nobody'"], &["no agent matches"])?;
    lab.expect(0, ALICE, &["status"], &["+------\n| Agents & Endpoints summary:\n"])?;
    Ok(())
}

/// What is watched is shown again and again, until ctrl-c.
fn watches(lab: &Lab) -> anyhow::Result<()> {
    for (args, text) in [
        (["status", "--watch", "1s"], "Agents & Endpoints summary"),
        (["agents", "--watch", "1s"], " web1 "),
    ] {
        let path = lab.file("watched");
        let mut command = lab.command("alice", "mig", &args)?;
        let mut child = command.stdout(fs::File::create(&path)?).spawn()?;
        let seen = until("the second look", Duration::from_mins(1), || {
            let printed = fs::read_to_string(&path).ok()?;
            (printed.matches(text).count() > 1).then_some(())
        });
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("no pid")?, rustix::process::Signal::INT)?;
        let status = child.wait()?;
        seen?;
        assert_eq!(status.code(), Some(0), "{args:?}");
    }
    lab.expect(2, ALICE, &["status", "--watch", "soon"], &["--watch"])?;
    Ok(())
}

/// The programs that show how to use the client crate; built with all targets.
fn examples(lab: &Lab) -> anyhow::Result<()> {
    let at = lab.platform.directory().join("evidence").display().to_string();
    let run = |name: &str, args: &[&str]| -> anyhow::Result<Outcome> {
        // As the clients are run; only the program is another one.
        let alike = lab.command("alice", "mig", args)?;
        let path = Path::new(alike.get_program()).with_file_name("examples").join(name);
        let mut command = tool(&path.display().to_string());
        command.args(args).stdin(Stdio::null());
        for (key, value) in alike.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let output = command.output().with_context(|| {
            format!("{} is not built; run: cargo build --workspace --examples", path.display())
        })?;
        Ok(output.into())
    };
    let agents = run("agents", &["allonline"])?;
    assert!(agents.stdout.trim_end().ends_with(" web1 linux"), "{agents:#?}");
    let asked = run("ask", &["name='web1'", &at, "a,b"])?;
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "web1 success yes\n"), "{asked:#?}");
    let id = asked.stderr.lines().find_map(|line| line.strip_prefix("action "));
    let results = run("results", &[id.context("no id")?])?;
    let command: serde_json::Value = serde_json::from_str(&results.stdout)?;
    assert_eq!(
        (&command["status"], &command["agent"]["name"]),
        (&"success".into(), &"web1".into())
    );
    let refused = run("ask", &["nam =", &at, "x"])?;
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    Ok(())
}

#[test]
fn an_action_goes_from_hand_to_hand_until_it_may_run() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let acl = lab.acl.display().to_string();
    let unsigned = lab.unsigned("two.json", &["netstat", "-p", "-lp", "1"])?;
    lab.expect(2, ALICE, &["sign"], &["the action file is missing"])?;
    let check = ["sign", &unsigned, "--check", "--acl", &acl];
    lab.expect(
        1,
        ALICE,
        &check,
        &["the action is not signed", "netstat: needs weight 2, signers give 0: 2 missing"],
    )?;
    let args = ["sign", &unsigned, "-e", "30m", "-o", &unsigned, "--acl", &acl];
    let texts = [
        "signature 1: good, ",
        "alice <alice@example.net>",
        "netstat: needs weight 2, signers give 1: 1 missing",
        "netstat: could sign: bob (1)",
    ];
    lab.expect(0, ALICE, &args, &texts)?;
    lab.expect(0, ALICE, &args, &["carries a signature of", "already"])?;
    let once: Action = serde_json::from_slice(&fs::read(&unsigned)?)?;
    assert_eq!(once.pgpsignatures.len(), 1);

    let twice = lab.expect(0, BOB, &["sign", &unsigned], &["signature 2: good, "])?;
    let signed = lab.file("twice.json");
    fs::write(&signed, twice.stdout)?;
    let check = ["sign", &signed, "--check", "--acl", &acl];
    lab.expect(0, BOB, &check, &["netstat: needs weight 2, signers give 2: allowed"])?;
    lab.expect(0, ALICE, &["-i", &signed, "--strict"], &["1 sent, 1 done, 1 succeeded"])?;

    // Changed under its signatures: nobody should add theirs.
    let mut action: Action = serde_json::from_slice(&fs::read(&signed)?)?;
    action.name.push('x');
    let changed = lab.file("changed.json");
    fs::write(&changed, serde_json::to_string(&action)?)?;
    lab.expect(
        3,
        ALICE,
        &["sign", &changed],
        &["signature 1 is not good: adding one is pointless"],
    )?;
    lab.expect(1, ALICE, &["sign", &changed, "--check"], &["signature 2: not good"])?;
    let keyring = lab.platform.investigator("bob")?.public_key_file().display().to_string();
    lab.expect(1, ALICE, &["verify", &signed, "-keyring", &keyring], &["signature 2: good"])?;
    Ok(())
}

#[test]
fn configuration_and_doctor_say_what_is_wrong() -> anyhow::Result<()> {
    let mut lab = Lab::new()?;
    let texts = [
        "ok      config: ",
        "ok      key: signs as ",
        "ok      key: a signature was made",
        "-       gpg: not checked",
        "ok      network: an API answers at http://127.0.0.1:",
        "note    tls: there is none",
        "ok      clock: the API's clock agrees with ours",
        "ok      token: the API knows you",
        "ok      permission: action_create",
        "ok      database: the API reaches its database",
        "ok      broker: a scheduler works and reaches the relay",
        "ok      agents: agents are online",
        "everything is in place",
    ];
    lab.expect(0, ALICE, &["doctor"], &texts)?;
    lab.expect(0, ALICE, &["doctor", "--json"], &["{\"broken\":[],\"findings\":[{"])?;
    lab.expect(2, ALICE, &["doctor", "--timeout", "soon"], &["--timeout"])?;
    doctor::generations(&lab)?;
    let faults = doctor::faults(&lab)?;
    assert!(faults >= 20, "{faults} faults");
    let home = lab.platform.investigator("alice")?.home().to_owned();

    let at = |name: &str| home.join(name).display().to_string();
    let (lab_file, url) = (at(".migrc-lab"), lab.platform.api_url());
    let stranger = mig_testkit::TestInvestigator::create("mallory", lab.platform.directory())?;
    let key = stranger.fingerprint().to_string().to_lowercase();
    let init = ["config", "init", "--context", "lab", "-url", &url, "-keyid", &key];
    lab.expect(0, ALICE, &init, &["created configuration file at"])?;
    assert!(fs::read_to_string(&lab_file)?.contains(stranger.fingerprint().as_str()));
    lab.expect(2, ALICE, &init, &["exists already"])?;
    lab.expect(2, ALICE, &["config", "init", "-c", &at("new")], &["-url is needed"])?;
    asked_for(&lab, &at("asked"), &url)?;
    let bad = ["config", "init", "-c", &at("new"), "-url", "ftp://h/", "-keyid", "x"];
    lab.expect(2, ALICE, &bad, &["http://"])?;
    assert!(!Path::new(&at("new")).exists());
    assert_eq!(lab.expect(0, ALICE, &["config", "contexts"], &[])?.stdout, "lab\n");
    lab.expect(0, ALICE, &["config", "check"], &["is in order"])?;
    fs::write(at("odd"), format!("[api]\nurl = {url}\nproxy = x\n"))?;
    lab.expect(2, ALICE, &["config", "check", "-c", &at("odd")], &["proxy"])?;
    lab.expect(0, ALICE, &["config", "show"], &["macro = \"allonline:status='online'\""])?;
    lab.expect(2, ALICE, &["config"], &["usage: mig config init"])?;

    completions(&lab)?;
    lab.platform.stop_server("mig-standalone")?;
    lab.expect(4, ALICE, &["doctor"], &["BROKEN  network: cannot reach the API"])?;
    Ok(())
}

/// On a terminal what is missing is asked for.
fn asked_for(lab: &Lab, path: &str, url: &str) -> anyhow::Result<()> {
    let key = lab.platform.investigator("alice")?.fingerprint().to_string();
    let command = lab.command("alice", "mig", &["config", "init", "-c", path, "-keyid", &key])?;
    let mut terminal = Terminal::start(&command, 80)?;
    terminal.wait("URL of API? (e.g., https://mig.example.net/api/v1/)>")?;
    terminal.keys(&format!("{url}\r"))?;
    terminal.wait("created configuration file at")?;
    assert!(terminal.end()?.success());
    lab.expect(0, ALICE, &["doctor", "-c", path], &["everything is in place"])?;
    assert_eq!(lab.expect(0, ALICE, &["config", "macros", "-c", path], &[])?.stdout, "allonline\n");
    Ok(())
}

fn completions(lab: &Lab) -> anyhow::Result<()> {
    let script = lab.expect(0, ALICE, &["completions", "bash"], &[])?.stdout;
    let asked = "COMP_WORDS=(mig fi) COMP_CWORD=1; _mig; echo \"${COMPREPLY[@]}\"; \
                 COMP_WORDS=(mig file -retur) COMP_CWORD=2; _mig; echo \"${COMPREPLY[@]}\"";
    let answer = tool("bash").args(["-c", &format!("{script}\n{asked}")]).output()?;
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "file\n-returnsha256\n", "{answer:?}");
    lab.expect(0, ALICE, &["completions", "fish"], &["complete -c mig"])?;
    lab.expect(0, ALICE, &["completions", "zsh"], &["#compdef mig"])?;
    lab.expect(2, ALICE, &["completions", "tcsh"], &["usage: mig completions"])?;
    let page = lab.expect(0, ALICE, &["man"], &[".SH \"MODULE FILE\""])?;
    assert!(page.stdout.starts_with(".TH MIG 1 "), "{}", page.stdout);
    lab.expect(0, ALICE, &["man", "targets"], &[".TH MIG-TARGETS 7 "])?;
    lab.expect(2, ALICE, &["man", "woman"], &["usage: mig man"])?;
    Ok(())
}
