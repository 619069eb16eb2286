//! `mig-console` as people use it: on a terminal, against the platform of the
//! guide; and fed from a pipe.

#[path = "console/keyserver.rs"]
mod keyserver;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::gnupg::GnuPg;
use mig_e2e::operator::{Platform, program, repository, succeed, tool};
use mig_e2e::terminal::Terminal;
use mig_sign::keyring::Keyring;
use mig_testkit::{AgentOptions, Outcome, TestAgent, TestInvestigator, TestPlatform};
use mig_types::{Acl, AclEntry, Fingerprint};
use regex::Regex;

const PATIENCE: Duration = Duration::from_mins(2);

/// A console that signs with `gpg`, or a key file; its history is in `home`.
fn console(home: &Path) -> anyhow::Result<Command> {
    let mut command = program("mig-console", home)?;
    command.env("HOME", home);
    for name in ["MIG_CONFIG", "MIG_CONTEXT", "MIG_SIGNING_KEY", "MIGPGPPASSPHRASE", "MIG_GPG"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Replaces what differs from run to run.
fn normalised(lines: &[String], names: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in lines {
        text.extend([line.trim_end(), "\n"]);
    }
    for (value, name) in names {
        text = text.replace(value, name);
    }
    for (expression, name) in [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC", "<time>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
        (r"([0-9A-F]{4} ){4}[0-9A-F]{4}  ([0-9A-F]{4} ){4}[0-9A-F]{4}", "<digits>"),
        (r"\b\d{13,16}\b", "<id>"),
        (r"\b(action|command) \d{1,3}>", "$1 <n>>"),
        (r"-?\b\d+(\.\d+)?(ms|s|µs)\b", "<duration>"),
        (r"size:\d+", "size:<n>"),
        (r"\[=+\] 100\.00% \d+/s", "[<bar>] 100.00% <n>/s"),
        (r"(?s)-----BEGIN PGP PUBLIC.*?-----END PGP PUBLIC KEY BLOCK-----", "<armored key>"),
    ] {
        text = Regex::new(expression)?.replace_all(&text, name).into_owned();
    }
    Ok(text)
}

/// Orders and the prompts that follow them, as a transcript has them.
fn replay(terminal: &mut Terminal, steps: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (order, prompt) in steps {
        lines.extend(terminal.answer(order, prompt)?);
    }
    Ok(lines)
}

#[test]
fn the_first_investigator_is_created_as_the_guide_says() -> anyhow::Result<()> {
    let Some(gpg) = GnuPg::new()? else {
        println!("skipped: gpg is not installed");
        return Ok(());
    };
    let key = gpg.generate("bob", ["rsa2048", "sign", "never"], &[])?;
    let platform = Platform::create()?;
    let home = platform.directory().to_owned();
    let exported = home.join("bob.asc");
    fs::write(&exported, gpg.public(&key)?)?;
    let exported = exported.display().to_string();
    fs::write(home.join("whitelist"), "")?;
    let migrc = format!(
        "[api]\n    url = \"{}\"\n[gpg]\n    home = \"{}/\"\n    keyid = \"{key}\"\n[targets]\n    \
         macro = allonline:status='online'\n",
        platform.api_url(),
        gpg.home().display()
    );
    fs::write(home.join(".migrc"), migrc)?;
    platform.write_scheduler("scheduler.cfg", 2)?;
    let scheduler = platform.start("scheduler", "mig-scheduler", "scheduler.cfg")?;
    scheduler.wait_log("created migscheduler")?;
    platform.write_api("api.cfg", "off")?;
    let mut server = platform.start("api-open", "mig-api", "api.cfg")?;
    server.wait_listening(platform.api)?;

    // What differs from run to run, or is this machine's.
    let url = platform.api_url();
    let names =
        [(exported.as_str(), "<path>"), (key.as_str(), "<fingerprint>"), (url.as_str(), "<url>")];
    let mut terminal = Terminal::start(&console(&home)?, 200)?;
    let hello = terminal.prompt("mig>")?;
    similar(&normalised(&hello, &names)?, "welcome")?;
    let shown = replay(
        &mut terminal,
        &[
            ("create investigator", "name>"),
            ("Bob The Investigator", "Allow investigator to manage users (admin)? (yes/no)>"),
            ("yes", "pubkey>"),
            (&exported, "create investigator? (y/n)>"),
            ("y", "mig>"),
            ("investigator 2", "inv 2>"),
            ("details", "inv 2>"),
            ("exit", "mig>"),
            ("investigator 1", "inv 1>"),
            ("exit", "mig>"),
            ("status", "mig>"),
        ],
    )?;
    similar(&normalised(&shown, &names)?, "first-investigator")?;
    leave(&mut terminal)?;
    ensure!(server.terminate(PATIENCE)?.success(), "{}", server.log());

    // With authentication on, the console signs its requests.
    platform.write_api("api.cfg", "on")?;
    let mut server = platform.start("api", "mig-api", "api.cfg")?;
    server.wait_listening(platform.api)?;
    let mut terminal = Terminal::start(&console(&home)?, 200)?;
    let mut shown = terminal.prompt("mig>")?;
    let steps = [("investigator 2", "inv 2>"), ("details", "inv 2>"), ("pubkey", "inv 2>")];
    shown.extend(replay(&mut terminal, &steps)?);
    let armored = shown.join("\n");
    let from = armored.find("-----BEGIN PGP").context("no key")?;
    let (_, errors) = Keyring::from_armored([armored[from..].to_owned()]);
    ensure!(errors.is_empty(), "{errors:?}");
    shown.extend(replay(&mut terminal, &[("exit", "mig>"), ("status", "mig>")])?);
    similar(&normalised(&shown, &names)?, "authentication-on")?;
    leave(&mut terminal)?;

    let agent = join(&platform, &gpg, &key)?;
    fs::write(home.join("whitelist"), format!("{}\n", agent.queueloc()?))?;
    first_question(&home, &names)?;
    investigate(&home, &names)?;
    ensure!(server.log().contains("user-agent=MIG Client console-"), "{}", server.log());
    ensure!(server.log().contains("auth=[Bob The Investigator 2]"), "{}", server.log());
    Ok(())
}

/// Compares with the transcript of that name; `MIG_TRANSCRIPTS=write` writes it
/// instead, to be read before it is believed.
fn similar(shown: &str, transcript: &str) -> anyhow::Result<()> {
    let path = repository().join("e2e/tests/transcripts").join(format!("{transcript}.txt"));
    if std::env::var("MIG_TRANSCRIPTS").is_ok_and(|wish| wish == "write") {
        return Ok(fs::write(path, shown)?);
    }
    let expected = fs::read_to_string(path)?;
    let mut pairs = shown.lines().zip(expected.lines()).enumerate();
    if let Some((at, (got, want))) = pairs.find(|(_, (got, want))| got != want) {
        anyhow::bail!("{transcript}, line {}: {got:?} instead of {want:?} in\n{shown}", at + 1);
    }
    ensure!(shown.lines().count() == expected.lines().count(), "{shown}");
    Ok(())
}

/// Ctrl-D, out of every mode.
fn leave(terminal: &mut Terminal) -> anyhow::Result<()> {
    let top = terminal.lines().last().is_some_and(|line| line.starts_with("mig>"));
    terminal.keys("\u{4}")?;
    if !top {
        terminal.prompt("mig>")?;
        terminal.keys("\u{4}")?;
    }
    terminal.wait("Gators are going back underwater.")?;
    ensure!(terminal.end()?.success());
    Ok(())
}

fn join(platform: &Platform, gpg: &GnuPg, key: &Fingerprint) -> anyhow::Result<TestAgent> {
    let (public, secret) = (gpg.public(key)?, gpg.secret(key)?);
    let bob = TestInvestigator::from_parts("bob", platform.directory(), &public, &secret)?;
    let mut acl = Acl::default();
    let entry = AclEntry { minimumweight: 1, investigators: [bob.weighing(1)].into() };
    acl.insert("default".to_owned(), entry);
    let options = AgentOptions { name: "web1".to_owned(), acl, ..AgentOptions::default() };
    let access = platform.relay_access();
    TestAgent::start(&options, &[&bob], &access, &platform.api_url(), platform.directory())
}

/// `mig`, as the guide has it, by somebody who waits for the countdown.
fn first_question(home: &Path, names: &[(&str, &str)]) -> anyhow::Result<()> {
    let mig = |args: &[&str]| -> anyhow::Result<Command> {
        let mut command = program("mig", home)?;
        for (name, value) in console(home)?.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(args).env_remove("MIG_YES");
        Ok(command)
    };
    mig_testkit::until("the agent", PATIENCE, || {
        let found = mig(&["agents", "-t", "allonline"]).ok()?.output().ok()?;
        found.status.success().then_some(())
    })?;
    let question = ["file", "-path", "/etc", "-name", "^passwd$", "-content", "^root"];
    let mut terminal = Terminal::start(&mig(&question)?, 100)?;
    ensure!(terminal.end()?.success(), "{}", terminal.raw());
    terminal.wait("1 agent has found results")?;
    let shown = normalised(&terminal.lines(), names)?;
    similar(&format!("{}\n", shown.trim_end()), "first-question")
}

/// The first investigation, in the launcher: built, signed by `gpg`, launched,
/// followed, read.
fn investigate(home: &Path, names: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut terminal = Terminal::start(&console(home)?, 200)?;
    terminal.prompt("mig>")?;
    let launcher = "launcher>";
    let mut shown = replay(
        &mut terminal,
        &[
            ("create action", launcher),
            ("settarget allonline", launcher),
            ("setname who is root", launcher),
            ("addoperation file", "label>"),
            ("s1", "search 's1'>"),
            ("path /etc", "search 's1'>"),
            ("name ^passwd$", "search 's1'>"),
            ("content ^root", "search 's1'>"),
            ("done", "label>"),
            ("done", launcher),
            ("settimes now +5m", launcher),
            ("launch", "continue? (y/n)>"),
        ],
    )?;
    terminal.keys("y\r")?;
    terminal.wait("1 sent, 1 done, 1 succeeded")?;
    let id = terminal
        .lines()
        .iter()
        .find_map(|line| line.strip_prefix("Following action ID ").map(str::to_owned))
        .context("no action id")?;
    let id: u64 = id.trim().trim_end_matches('.').parse()?;
    let prompt = format!("action {}>", id % 1000);
    shown.extend(terminal.prompt(&prompt)?);
    let steps = [("results found", prompt.as_str()), ("details", &prompt)];
    shown.extend(replay(&mut terminal, &steps)?);
    let list = terminal.answer("list | grep -v db", &prompt)?;
    shown.extend(list.clone());
    similar(&normalised(&shown, names)?, "first-investigation")?;
    let row = list.iter().find(|line| line.contains("    web1 [")).context("no row")?;
    let command: u64 = row.split_whitespace().next().context("no command")?.parse()?;

    // Tab knows the command that was just listed.
    terminal.keys("comm\t\t")?;
    terminal.wait("> command ")?;
    terminal.keys("\t\r")?;
    terminal.prompt(&format!("command {}>", command % 1000))?;
    terminal.keys("\u{4}")?;
    terminal.prompt(&prompt)?;
    // Ctrl-C gives the line up, and nothing else.
    terminal.keys("detai\u{3}")?;
    terminal.prompt(&prompt)?;
    leave(&mut terminal)?;
    let history = fs::read_to_string(home.join(".mig_history"))?;
    ensure!(history.contains("settarget allonline\n") && history.contains("launch\n"), "{history}");
    ensure!(!history.contains("^passwd$") && !history.contains("\ny\n"), "{history}");
    Ok(())
}

/// A console with these lines on its standard input.
fn piped(platform: &TestPlatform, args: &[&str], lines: &str) -> anyhow::Result<Outcome> {
    let alice = platform.investigator("alice")?;
    let mut command = console(alice.home())?;
    command.args(args).env("MIG_SIGNING_KEY", alice.secret_key_file());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("no pipe")?.write_all(lines.as_bytes())?;
    Ok(child.wait_with_output()?.into())
}

#[test]
fn every_mode_is_read_from_a_pipe() -> anyhow::Result<()> {
    let mut platform = TestPlatform::embedded()?;
    let mut acl = Acl::default();
    let people = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    acl.insert("default", AclEntry { minimumweight: 1, investigators: people });
    platform.start_agent(&AgentOptions {
        name: "web1".to_owned(),
        tags: vec![("operator".to_owned(), "it".to_owned())],
        acl,
        ..AgentOptions::default()
    })?;
    platform.wait_agents(1)?;
    let evidence = platform.directory().join("evidence");
    fs::create_dir_all(&evidence)?;
    fs::write(evidence.join("passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    let found = launched(&platform, &evidence)?;
    readers(&platform, &found)?;
    managers(&platform)?;

    // Without banner and prompts; failures go beside, and change nothing.
    let quiet = piped(&platform, &["-q"], "status\nnosuch\naction 1\naction\nhelp\n")?;
    assert_eq!(quiet.code, Some(0), "{quiet:#?}");
    assert!(quiet.stdout.starts_with("+------\n| Agents & Endpoints"), "{quiet:#?}");
    assert!(quiet.stdout.contains("Unknown order 'nosuch'\n"), "{quiet:#?}");
    assert!(quiet.stdout.ends_with("latest actions, ...\n"), "{quiet:#?}");
    assert!(
        quiet.stderr.contains("error: the API answered 404: Action ID '1' not found"),
        "{quiet:#?}"
    );
    assert!(quiet.stderr.contains("error: missing action id in 'action <id>'"), "{quiet:#?}");
    Ok(())
}

/// An action from the launcher; its id and that of its command and agent.
fn launched(platform: &TestPlatform, evidence: &Path) -> anyhow::Result<[String; 3]> {
    let at = evidence.display();
    let saved = evidence.join("saved.json").display().to_string();
    let lines = format!(
        "create action\nlaunch\nsetname from a pipe\nlaunch\nsettarget allonline\nlistagents\n\
         settimes soon\naddoperation nosuch\naddoperation file\ns1\ncolour red\npath {at}\n\
         name ^passwd$\ndone\ndone\naddoperation netstat\nlisteningport x\nundo\n\
         listeningport 1\ndone\ndeloperation 7\ndeloperation 1\n\
         setthreat family backdoor\nsetdescription author Ada Hunter\ndetails\njson pack\n\
         settimes now +10m\nsign\nsetname from a pipe, renamed\nsign\nsave {saved}\ntimes\n\
         check\nlaunch folow\nlaunch\ny\nresults\nlist found\ncounters\ninvestigators\nr\n\
         times\njson\nlist | grep (\nresults some\nexit\nexit\n"
    );
    let all = piped(platform, &[], &lines)?;
    assert_eq!(all.code, Some(0), "{all:#?}");
    for text in [
        "mig> create action\nEntering action launcher with empty template\n",
        "1 agents will be targetted. To get the list, use 'listagents'\n",
        "----    ID      ---- + ----         Name         -------\n",
        "Stored path '",
        "Stored search s1\n",
        "Dropped -lp x\n",
        "Inserting netstat operation with parameters:\n",
        "Threat Type , Level , Family backdoor, Reference \n1 operations: 0=file; \n",
        "[notice] the action changed: 1 signatures that no longer fit were dropped\n",
        "The action can be sent\n",
        "1 agents will be targeted by search \"status='online'\"\n",
        "Action 'from a pipe, renamed' successfully launched with ID '",
        "web1 command success\n",
        "1 agents have found things\n",
        "alice - Key ID: ",
        "reloaded\n",
        "Started on   '20",
        "Gators are going back underwater.\n",
    ] {
        assert!(all.stdout.contains(text), "no {text:?} in {}\n{}", all.stdout, all.stderr);
    }
    for text in [
        "error: Action has no name. Define one using 'setname <name>'\n",
        "error: Action has no target. Define one using 'settarget <target>'\n",
        "error: Module nosuch is not available in this console...\n",
        "error: there is no parameter colour\n",
        "error: <opnum> must be a positive integer between 0 and 1\n",
        "error: must be 'launch [nofollow]'\n",
        "1 sent, 1 done, 1 succeeded\n",
        "1 agent has all results\n",
        "error: Invalid filter '(': ",
        "error: must be 'results [all|found|notfound] [text]'\n",
    ] {
        assert!(all.stderr.contains(text), "no {text:?} in {}\n{}", all.stderr, all.stdout);
    }
    assert!(!all.stdout.contains('\u{1b}'), "colours in a pipe: {}", all.stdout);
    let number = |before: &str| {
        let (_, rest) = all.stdout.split_once(before)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    let action = number("successfully launched with ID '").context("no action")?;
    let row = all.stdout.lines().find(|line| line.contains("    web1 [")).context("no row")?;
    let command = row.split_whitespace().next().context("no command")?.to_owned();
    let agent = row.rsplit_once('[').context("no agent")?.1.trim_end_matches(']').to_owned();
    Ok([action, command, agent])
}

fn readers(platform: &TestPlatform, [action, command, agent]: &[String; 3]) -> anyhow::Result<()> {
    let lines = format!(
        "search action where name=*pipe* and limit=2\nsearch action where status=completed\n\
         search action where status=invalid\nsearch agent where  'name=web1'\n\
         search agent where name=%\nsearch command where actionid={action}\n\
         search investigator where name=al%\nsearch nothing\nsearch agent where colour=red\n\
         search help\naction {action}\ndetails\ncopy\nsetname copied\nexit\n\
         command {command}\nresults\nresults found\nresults some\njson\nr\nexit\n\
         agent {agent}\ndetails\njson\nlastactions 1\nlastactions x\nr\nexit\n\
         query dashboard\nquery http://192.0.2.1/\nquery ../../etc\nshowcfg\nhistory 2\n"
    );
    let all = piped(platform, &[], &lines)?;
    assert_eq!(all.code, Some(0), "{all:#?}");
    for text in [
        "limited to 2 results\n----- ID ----- + --------   Action Name ------- + ",
        &format!(
            "{action}   from a pipe, renamed             status='online'                  alice"
        ),
        "no result\n",
        "   web1                             online         20",
        "   alice                            active           Default,PermAdmin,PermLoader,PermManifest\n",
        "usage: search <action|agent|command|investigator|loader|manifest> where",
        "Entering action launcher using template 'from a pipe, renamed'\n",
        &format!("Command {command} ran on agent 'web1' based on action 'from a pipe, renamed'\n"),
        "/passwd [lastmodified:",
        "command success\n",
        &format!("Agent ID {agent}\nname       web1\nlast seen  "),
        "tags {\n    \"operator\": \"it\"\n}\n",
        "-------  ID  ------- + --------    Action Name ------- + ----    Date    ---- +  -- Status --\n",
        "     from a pipe, renamed             20",
        "Reload succeeded\n",
        "querying http://127.0.0.1:",
        "\"online agents\"",
        "    macro = allonline:status='online'\n",
    ] {
        assert!(all.stdout.contains(text), "no {text:?} in {}\n{}", all.stdout, all.stderr);
    }
    for text in [
        "error: Invalid search 'nothing'. Try `search help`.\n",
        "error: Unknown search key 'colour'\n",
        "error: Unknown option 'some'\n",
        "error: \"x\" is not a number: 'lastactions <count>'\n",
        "error: http://192.0.2.1/ is not an address of the API\n",
        "error: ../../etc is not an address of the API\n",
    ] {
        assert!(all.stderr.contains(text), "no {text:?} in {}", all.stderr);
    }
    Ok(())
}

/// Investigators, loaders and manifests.
fn managers(platform: &TestPlatform) -> anyhow::Result<()> {
    let folder = platform.directory();
    fs::write(folder.join("mig-agent"), "hello agent\n")?;
    let packed = folder.join("agent.tar.gz").display().to_string();
    succeed(tool("tar").current_dir(folder).args(["-czf", &packed, "mig-agent"]))?;
    let fetched = folder.join("fetched.tar.gz").display().to_string();
    let carol = TestInvestigator::create("carol", folder)?;
    let key = carol.public_key_file().display().to_string();
    let secret = carol.secret_key_file().display().to_string();
    // The last answers are those of the original's later dialogs.
    let lines = format!(
        "create investigator\nab\nCarol\nperhaps\nno\nyes\nno\n{key}\ny\n\
         create investigator\nDave\nyes\nyes\nyes\nyes\n{secret}\n\
         create loader\nlaptop\n\ny\nloader 1\nenable\nexpectenv env#>>'{{os}}'='linux'\njson\n\
         key\ny\ndisable\nbogus\nexit\n\
         create manifest\nfirst\nenv#>>'{{os}}'='linux'\n{packed}\ny\n\
         manifest 1\nsign\nr\nentry\nshasum\njson\nloaders\nfetch {fetched}\nfetch {fetched}\nn\n\
         reset\ndisable\nexit\nsearch loader\nsearch manifest where name=first\n"
    );
    let all = piped(platform, &[], &lines)?;
    assert_eq!(all.code, Some(0), "{all:#?}");
    for text in [
        "input name too short\n",
        "must specify yes or no\n",
        "Investigator will not have administrative permissions\n",
        "Investigator will have loader management permissions\n",
        "Investigator will not have manifest management permissions\n",
        "with permissions Default,PermLoader\n",
        "  note: agents and servers written in Go cannot use Ed25519 keys\n",
        "Investigator 'Carol' successfully created with ID ",
        "the path of the public key is asked for here\n",
        "Server will assign prefix and key on creation\n",
        "Loader key including prefix to supply to client will be \"",
        "New entry successfully created (id 1) but is disabled\n",
        "Loader: 'laptop'.\nStatus 'false'.\n",
        "Loader has been enabled\nreloaded\n",
        "Expected environment match set\nreloaded\n",
        "Loader key changed\n",
        "Loader has been disabled\nreloaded\n",
        "Unknown order 'bogus'. You are in loader reader mode. Try `help`.\n",
        "\"content\": \"...\"",
        "Manifest successfully created\nits id is 1; ",
        "Manifest signature has been accepted\n",
        "f45f7870c441d7b6ae4e8702c85e5ebd069edd8f193d6249cca31567201f74a1  mig-agent\n",
        "bytes written to ",
        "abort\n",
        "Manifest record has been reset\n",
        "Manifest record has been disabled\n",
        "     1   laptop                     unset",
        "     1   first                      disabled",
    ] {
        assert!(all.stdout.contains(text), "no {text:?} in {}\n{}", all.stdout, all.stderr);
    }
    assert!(
        all.stderr.contains("error: that is a secret key: it must not leave your machine"),
        "{}",
        all.stderr
    );
    let key = Regex::new("client will be \"([A-Za-z0-9]+)\"")?;
    let keys: Vec<&str> =
        key.captures_iter(&all.stdout).map(|found| found.extract::<1>().1[0]).collect();
    assert_eq!(keys.iter().map(|key| key.len()).collect::<Vec<_>>(), [40, 40], "{keys:?}");
    assert_eq!(fs::read(&fetched)?, fs::read(&packed)?);

    let (_, created) =
        all.stdout.split_once("'Carol' successfully created with ID ").context("no Carol")?;
    let carol = created.lines().next().unwrap_or_default();
    let lines = format!(
        "investigator {carol}\nsetstatus gone\nsetstatus disabled\nsetadmin true\ndetails\n\
                 setadmin false\nsetperms PermManifest\nsetperms PermNothing\nshowperms\n\
                 apikey active\napikey active\nn\napikey disabled\nlastactions\nexit\n"
    );
    let all = piped(platform, &[], &lines)?;
    for text in [
        &format!("Investigator {carol} named 'Carol'\n"),
        "Investigator status set to disabled\n",
        "Investigator admin flag set to true\n",
        "status         disabled\nadmin          true\n",
        "Investigator permissions set to Default,PermManifest\n",
        "PermManifest\nPermLoader\nPermAdmin\n",
        "API key for investigator set to \"",
        "investigator already has an assigned API key\n",
        "API key for investigator disabled\n",
        "no action found\n",
    ] {
        assert!(all.stdout.contains(text), "no {text:?} in {}\n{}", all.stdout, all.stderr);
    }
    assert!(
        all.stderr.contains("error: must be 'setstatus <active|disabled>'\n"),
        "{}",
        all.stderr
    );
    assert!(all.stderr.contains("error: unknown permission \"PermNothing\""), "{}", all.stderr);
    Ok(())
}
