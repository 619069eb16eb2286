//! The guide's page for the platform, step by step, with the commands that
//! stand there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mig_e2e::gnupg::GnuPg;
use mig_e2e::operator::{Platform, program, repository, succeed, tool};
use mig_testkit::{AgentOptions, Managed, TestAgent, TestInvestigator, until};
use mig_types::{Acl, AclEntry, Fingerprint};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);
const GUIDE: &str = include_str!("../../docs/guide/platform.md");
const API: &str = "http://localhost:1664/api/v1";

/// The guide's command that begins so, as it stands there.
fn command(beginning: &str) -> anyhow::Result<&'static str> {
    let mut found = GUIDE.lines().filter(|line| line.starts_with(beginning));
    let command = found.next().with_context(|| format!("the guide has no {beginning:?}"))?;
    ensure!(found.next().is_none(), "the guide has {beginning:?} twice");
    Ok(command)
}

/// Somebody at a terminal with the guide in hand. Only names and places that a
/// test has of its own are put in the place of the guide's.
struct Reader<'a> {
    platform: &'a Platform,
    gpg: &'a GnuPg,
}

impl Reader<'_> {
    fn shell(&self, line: &str) -> Command {
        let line = line
            .replace(API, self.platform.api_url().trim_end_matches('/'))
            .replace("conf/", &format!("{}/conf/", repository().display()));
        let mut shell = tool("bash");
        shell.args(["-c", &line]).current_dir(self.platform.directory());
        shell.env("GNUPGHOME", self.gpg.home());
        shell
    }

    fn run(&self, line: &str) -> anyhow::Result<String> {
        succeed(&mut self.shell(line))
    }

    /// A request with the guide's own token.
    fn with_token(&self, beginning: &str) -> anyhow::Result<Value> {
        let token = command("token() {")?;
        let asked = self.run(&format!("{token}\n{}", command(beginning)?))?;
        Ok(serde_json::from_str(&asked)?)
    }

    fn mig(&self, line: &str) -> anyhow::Result<Command> {
        let line = line.strip_prefix("mig ").context("no mig")?;
        let arguments = succeed(tool("bash").args(["-c", &format!("printf '%s\\n' {line}")]))?;
        let mut mig = program("mig", self.platform.directory())?;
        mig.args(arguments.lines()).env("HOME", self.platform.directory()).env("MIG_YES", "1");
        for name in ["MIG_CONFIG", "MIG_CONTEXT", "MIG_SIGNING_KEY", "MIGPGPPASSPHRASE", "MIG_GPG"]
        {
            mig.env_remove(name);
        }
        Ok(mig)
    }
}

/// The values of that name in a Collection+JSON document.
fn values<'a>(document: &'a Value, name: &str) -> Vec<&'a Value> {
    let items = document["collection"]["items"].as_array().into_iter().flatten();
    let data = items.flat_map(|item| item["data"].as_array().into_iter().flatten());
    data.filter(|datum| datum["name"] == name).map(|datum| &datum["value"]).collect()
}

#[test]
fn the_guide_leads_from_nothing_to_the_first_answer() -> anyhow::Result<()> {
    let Some(gpg) = GnuPg::new()? else {
        println!("skipped: gpg is not installed");
        return Ok(());
    };
    for step in [
        "database/createlocaldb.sh",
        "tools/create_mig_ca.sh --non-interactive",
        "cp ca/ca.crt rabbitmq.crt rabbitmq.key",
        "tools/create_rabbitmq_config.sh",
    ] {
        command(step)?;
    }
    let platform = Platform::create()?;
    let scratch = platform.directory();
    let reader = Reader { platform: &platform, gpg: &gpg };

    // 4: the scheduler makes itself known as investigator 1.
    fs::write(scratch.join("whitelist"), "")?;
    platform.write_scheduler("scheduler.cfg", 2)?;
    let scheduler = platform.start("scheduler", "mig-scheduler", "scheduler.cfg")?;
    let [no_key, created] = [command("no key found")?, command("created migscheduler")?];
    scheduler.wait_log(no_key)?;
    scheduler.wait_log(created.strip_suffix("<40 digits>").context("no key id in the guide")?)?;
    scheduler.wait_log("queue cleanup routine started")?;

    // 5 and 6: the API is open until there is an investigator.
    platform.write_api("api.cfg", "off")?;
    let mut server = platform.start("api-open", "mig-api", "api.cfg")?;
    server.wait_listening(platform.api)?;
    let fingerprint = first_investigator(&reader)?;
    ensure!(server.terminate(PATIENCE)?.success(), "{}", server.log());

    // 7: and closed ever after.
    platform.write_api("api.cfg", "on")?;
    let mut server = platform.start("api", "mig-api", "api.cfg")?;
    server.wait_listening(platform.api)?;
    let refused = reader.run(command("curl http://localhost:1664/api/v1/dashboard")?)?;
    ensure!(refused.contains("authorization") || refused.contains("auth"), "{refused}");
    let create = command("curl --fail -F")?.replace("Ada Hunter", "Eve");
    let eve = reader.shell(&create).output()?;
    ensure!(!eve.status.success(), "anybody becomes an administrator");

    let agent = join(&platform, &scheduler, &gpg, &fingerprint)?;

    // 9: statistics appear with the next periodic run.
    let dashboard = "curl --fail -H \"X-PGPAUTHORIZATION: $(token)\" http";
    until("the agent on the dashboard", PATIENCE, || {
        let page = reader.with_token(dashboard).ok()?;
        let online = |name| values(&page, name).first().and_then(|count| count.as_f64());
        (online("online agents")? > 0.0 && online("online endpoints")? > 0.0).then_some(())
    })?;
    let found = reader.with_token("curl --fail -H \"X-PGPAUTHORIZATION: $(token)\" 'http")?;
    let [found] = values(&found, "agent")[..] else { bail!("not one agent: {found}") };
    assert_eq!((&found["name"], &found["status"]), (&"first".into(), &"online".into()), "{found}");
    assert_eq!(found["queueloc"], agent.queueloc()?.as_str());

    investigate(&reader, &fingerprint)?;
    let page = reader.with_token(dashboard)?;
    let [action] = values(&page, "action")[..] else { bail!("not one action: {page}") };
    assert_eq!(action["status"], "completed", "{action}");
    for (counter, value) in [("sent", 1), ("done", 1), ("success", 1)] {
        assert_eq!(action["counters"][counter].as_f64(), Some(f64::from(value)), "{action}");
    }
    for program in [&scheduler, &server] {
        ensure!(!program.log().contains("permission denied"), "{}", program.log());
    }
    Ok(())
}

/// Step 6, with a key that `gpg` makes.
fn first_investigator(reader: &Reader<'_>) -> anyhow::Result<Fingerprint> {
    let made = command("gpg --quick-generate-key")?
        .replace("gpg ", "gpg --batch --quiet --pinentry-mode loopback --passphrase '' ");
    reader.run(&made)?;
    reader.run(command("gpg --export -a")?)?;
    let created: Value = serde_json::from_str(&reader.run(command("curl --fail -F")?)?)?;
    let [created] = values(&created, "Investigator ID 2")[..] else { bail!("{created}") };
    ensure!(created["isadmin"] == true, "{created}");
    let shown = reader.run(command("curl --fail 'http")?)?;
    let shown: Value = serde_json::from_str(&shown)?;
    let [shown] = values(&shown, "investigator")[..] else { bail!("{shown}") };
    assert_eq!((&shown["name"], &shown["status"]), (&"Ada Hunter".into(), &"active".into()));
    let permissions = shown["permissions"].as_object().context("no permissions")?;
    assert_eq!(permissions.values().filter(|granted| **granted == true).count(), 19, "{shown}");
    Ok(shown["pgpfingerprint"].as_str().context("no fingerprint")?.parse()?)
}

/// Step 8: an agent is refused until its address is on the list.
fn join(
    platform: &Platform,
    scheduler: &Managed,
    gpg: &GnuPg,
    fingerprint: &Fingerprint,
) -> anyhow::Result<TestAgent> {
    let scratch = platform.directory();
    let public = fs::read_to_string(scratch.join("ada.asc"))?;
    let ada = TestInvestigator::from_parts("ada", scratch, &public, &gpg.secret(fingerprint)?)?;
    let mut acl = Acl::default();
    let entry = AclEntry { minimumweight: 1, investigators: [ada.weighing(1)].into() };
    acl.insert("default".to_owned(), entry);
    let options = AgentOptions { name: "first".to_owned(), acl, ..AgentOptions::default() };
    let access = platform.relay_access();
    let agent = TestAgent::start(&options, &[&ada], &access, &platform.api_url(), scratch)?;
    let queueloc = agent.queueloc()?;
    let refusal = command("getHeartbeats(): Agent")?;
    scheduler.wait_log(&refusal.replace("linux.web1.<…>", queueloc.as_str()))?;
    let add = command("echo 'linux.web1")?.replace("linux.web1.<…>", queueloc.as_str());
    let list = scratch.join("whitelist").display().to_string();
    let add = add.replace("/var/cache/mig/agents_whitelist.txt", &list);
    succeed(tool("bash").args(["-c", &add]))?;
    Ok(agent)
}

/// Step 10, signed by the person's own `gpg`.
fn investigate(reader: &Reader<'_>, fingerprint: &Fingerprint) -> anyhow::Result<()> {
    let migrc = format!(
        "[api]\n    url = \"{}\"\n[gpg]\n    home = \"{}\"\n    keyid = \"{fingerprint}\"\n",
        reader.platform.api_url(),
        reader.gpg.home().display()
    );
    fs::write(reader.platform.path(".migrc"), migrc)?;
    let answer = reader.mig(command("mig file -path /etc")?)?.output()?;
    let said = String::from_utf8_lossy(&answer.stderr);
    let found = String::from_utf8_lossy(&answer.stdout);
    ensure!(answer.status.success(), "{said}{found}");
    let line = found.lines().next().context("no answer")?;
    ensure!(line.starts_with("first /etc/passwd ") && Path::new("/etc/passwd").exists(), "{found}");
    ensure!(said.contains("1 sent, 1 done, 1 succeeded"), "{said}");
    Ok(())
}
