//! Every sample in `conf/`, loaded by what reads it: our own programs' strict
//! readers, nginx, rsyslog, logrotate and systemd.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mig_client::ClientConfig;
use mig_e2e::operator::{program, repository, scratch, succeed, tool};
use mig_runtime::config;
use mig_testkit::{AgentOptions, Managed, TestPlatform, binary, until};
use mig_types::{Acl, AclEntry, Permissions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

fn sample(name: &str) -> PathBuf {
    repository().join("conf").join(name)
}

/// Whether a program is there; a test that cannot run says so.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn installed(name: &str) -> bool {
    let found = which(name).is_some();
    if !found {
        println!("skipped: {name} is not installed");
    }
    found
}

fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are there, and that is not in everybody's path.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn tool_at(name: &str) -> anyhow::Result<Command> {
    let path = which(name).with_context(|| format!("{name} went away"))?;
    Ok(tool(&path.display().to_string()))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The text with every proposed setting in force: `; key = value` without its
/// mark.
fn with_proposals(text: &str) -> String {
    let is_setting = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())
    };
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix("; ") {
            Some(setting) if is_setting(setting) => lines.push(setting.to_owned()),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn the_programs_accept_every_key_of_their_samples() -> anyhow::Result<()> {
    let directory = scratch("mig-samples-")?;
    let mut loaded = BTreeSet::new();
    for name in ["api", "mig-agent", "scheduler", "standalone", "migrc"] {
        let path = sample(&format!("{name}{}", if name == "migrc" { ".inc" } else { ".cfg.inc" }));
        let text = fs::read_to_string(&path)?;
        let all = directory.path().join(name);
        fs::write(&all, with_proposals(&text))?;
        for path in [&path, &all] {
            load(name, path).with_context(|| path.display().to_string())?;
        }
        // A key nobody knows is refused, so what is accepted is known.
        fs::write(&all, format!("{text}\n    nosuchkey = 1\n"))?;
        ensure!(load(name, &all).is_err(), "{name} accepts anything");
        loaded.insert(path);
    }
    let embedded = sample("example.net.agent.cfg");
    let (carried, odd) = mig_agent::embed::gather(&embedded)?;
    ensure!(odd.is_empty() && carried.acl.is_some(), "{odd:?}");
    loaded.insert(embedded);
    let everything = sample("administrator.json");
    let permissions: Permissions = serde_json::from_slice(&fs::read(&everything)?)?;
    assert_eq!(permissions, Permissions::ALL);
    loaded.insert(everything);
    let entries = fs::read_dir(repository().join("conf"))?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file());
    assert_eq!(files.collect::<BTreeSet<_>>(), loaded, "every sample has a reader");
    Ok(())
}

fn load(name: &str, path: &Path) -> anyhow::Result<()> {
    match name {
        "api" => {
            let config: mig_api::ApiConfig = config::load_strict(path)?;
            config.validate()?;
        }
        "mig-agent" => {
            drop(mig_agent::AgentConfig::load(Some(path), mig_agent::AgentConfig::default())?);
        }
        "scheduler" => drop(mig_scheduler::SchedulerConfig::load(path)?),
        "standalone" => {
            let config: mig_standalone::StandaloneConfig = config::load_strict(path)?;
            config.validate()?;
        }
        "migrc" => {
            let (_, warnings) = ClientConfig::load(path, &|_| None)?;
            ensure!(warnings.is_empty(), "{warnings:?}");
        }
        _ => bail!("nothing reads {name}"),
    }
    Ok(())
}

/// A certificate for the front, where the sample looks for it.
fn self_signed(directory: &Path) -> anyhow::Result<()> {
    let mut command = tool("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]);
    command.args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "api.key", "-out"]);
    succeed(command.arg("api.crt").current_dir(directory)).map(drop)
}

/// The sample's only changes: places and ports, of which a test has its own.
fn nginx_configuration(directory: &Path, api: u16, plain: u16, tls: u16) -> anyhow::Result<String> {
    let here = directory.display();
    let site = fs::read_to_string(sample("nginx/mig.conf"))?
        .replace("/etc/mig/nginx", &here.to_string())
        .replace("127.0.0.1:1664", &format!("127.0.0.1:{api}"))
        .replace("listen 80;", &format!("listen 127.0.0.1:{plain};"))
        .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{tls} ssl;"))
        .replace("listen [::]:80;", "")
        .replace("listen [::]:443 ssl;", "");
    ensure!(!site.contains("[::]") && !site.contains("/etc/mig/nginx"), "{site}");
    fs::write(directory.join("site.conf"), site)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {here}/{name};\n"))
        .concat();
    let main = format!(
        "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}include {here}/site.conf;\n}}\n"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, main)?;
    Ok(path.display().to_string())
}

/// Not only read: nginx stands in front of a real API, which must see its
/// callers' own address whatever they claim.
#[test]
fn nginx_takes_its_sample_and_tells_the_api_who_calls() -> anyhow::Result<()> {
    if !installed("nginx") || !installed("curl") {
        return Ok(());
    }
    let directory = scratch("mig-nginx-")?;
    let here = directory.path();
    self_signed(here)?;
    let free = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (api, relay, plain, tls) = (free()?, free()?, free()?, free()?);
    let main = nginx_configuration(here, api, plain, tls)?;
    // What the real place of the sample would be told.
    let said = tool_at("nginx")?.args(["-t", "-c", &main]).output()?;
    let said_text = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.success() && said_text.contains("test is successful"), "{said_text}");
    ensure!(!said_text.contains("[warn]"), "{said_text}");

    fs::write(
        here.join("standalone.cfg"),
        format!(
            "[data]\ndirectory = \"{}/data\"\n[server]\nport = {api}\n\
             clientpublicip = \"x-forwarded-for:0\"\n[relay]\nlisten = 127.0.0.1:{relay}\n",
            here.display()
        ),
    )?;
    let server = binary("mig-standalone")?;
    let mut server = Managed::start("server", &server, &["-c", "standalone.cfg"], &[], here)?;
    server.wait_listening(([127, 0, 0, 1], api).into())?;
    let nginx = which("nginx").context("no nginx")?;
    let mut nginx = Managed::start("nginx", &nginx, &["-c", &main], &[], here)?;
    nginx.wait_listening(([127, 0, 0, 1], tls).into())?;

    let base = format!("https://localhost:{tls}/api/v1");
    let ask = |arguments: &[&str]| {
        let mut command = tool("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--cacert", "api.crt"]);
        succeed(command.args(arguments).current_dir(here))
    };
    let seen = ask(&["-H", "X-Forwarded-For: 203.0.113.9, 198.51.100.7", &format!("{base}/ip")])?;
    assert_eq!(seen.trim(), "127.0.0.1", "a caller chose its own address");
    let status = |arguments: &[&str]| {
        ask(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], arguments].concat())
    };
    assert_eq!(status(&[&format!("http://localhost:{plain}/api/v1/ip")])?, "403");
    assert_eq!(status(&[&format!("https://localhost:{tls}/healthz")])?, "404");
    assert_eq!(status(&[&format!("{base}/dashboard")])?, "401");
    fs::write(here.join("large"), vec![b'x'; 11 << 20])?;
    let form = ["-F", "action=<large"];
    assert_eq!(status(&[&form[..], &[&format!("{base}/action/create/")]].concat())?, "413");
    // Beyond the usual limit, and below the manifests' own; the API itself
    // refuses it, at once and without reading it all.
    let manifest = status(&[&form[..], &[&format!("{base}/manifest/new/")]].concat())?;
    ensure!(["401", "502"].contains(&manifest.as_str()), "{manifest}");
    Ok(())
}

/// Each line of a followed action passes through when it is written: the front must
/// neither collect nor hold it until the action is over.
#[test]
fn nginx_passes_on_what_a_follower_is_told() -> anyhow::Result<()> {
    if !installed("nginx") {
        return Ok(());
    }
    let directory = scratch("mig-follow-")?;
    let here = directory.path();
    self_signed(here)?;
    let mut platform = TestPlatform::embedded()?;
    let mut acl = Acl::default();
    let investigators = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    let agent = AgentOptions { name: "web1".to_owned(), acl, ..AgentOptions::default() };
    let pid = platform.start_agent(&agent)?.process.pid();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    platform.wait_agents(1)?;

    let free = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (plain, tls) = (free()?, free()?);
    let direct = platform.api_url();
    let api = direct.split([':', '/']).find_map(|part| part.parse().ok()).context("a port")?;
    let main = nginx_configuration(here, api, plain, tls)?;
    let nginx = which("nginx").context("no nginx")?;
    let mut nginx = Managed::start("nginx", &nginx, &["-c", &main], &[], here)?;
    nginx.wait_listening(([127, 0, 0, 1], tls).into())?;

    let home = platform.investigators.first().context("nobody")?.home().to_owned();
    let migrc = fs::read_to_string(home.join(".migrc"))?;
    // Its certificate is an authority's, which is no server's.
    let front = format!("\"https://localhost:{tls}/api/v1/\"\n    skipverifycert = on");
    let behind = migrc.replace(&format!("\"{direct}\""), &front);
    ensure!(behind != migrc, "{migrc}");
    fs::write(here.join("migrc"), behind)?;

    // It answers nothing for now, and is online all the same.
    kill_process(pid, Signal::STOP)?;
    let place = here.display().to_string();
    let question = ["file", "-path", &place, "-name", "^migrc$"];
    let mut follower = platform.mig_command("alice", &question)?;
    let log = here.join("follower.log");
    let output = fs::File::create(&log)?;
    follower.env("MIG_CONFIG", here.join("migrc"));
    follower.stdout(output.try_clone()?).stderr(output);
    let mut follower = follower.spawn()?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let told = until("the action in flight", PATIENCE, || {
        said().contains("status=inflight 0/1").then_some(())
    });
    kill_process(pid, Signal::CONT)?;
    let ended = follower.wait()?;
    told.with_context(said)?;
    ensure!(ended.success() && said().contains(&format!("web1 {place}/migrc")), "{}", said());
    Ok(())
}

/// Not only read: a real program's lines arrive in the file in the form in
/// which operators' scripts take them apart.
#[test]
fn rsyslog_takes_its_sample_and_files_our_lines() -> anyhow::Result<()> {
    if !installed("rsyslogd") {
        return Ok(());
    }
    let path = sample("rsyslog.d/mig.conf");
    let said = tool_at("rsyslogd")?.arg("-N1").arg("-f").arg(&path).output()?;
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.success() && !text.contains("error"), "{text}");

    let directory = scratch("mig-rsyslog-")?;
    let here = directory.path();
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let log = here.join("mig.log");
    let ours = fs::read_to_string(&path)?
        .replace("port=\"514\"", &format!("port=\"{port}\""))
        .replace("/var/log/mig/mig.log", &log.display().to_string());
    ensure!(ours.contains(&port.to_string()) && !ours.contains("/var/"), "{ours}");
    let configuration = here.join("rsyslog.conf").display().to_string();
    fs::write(&configuration, format!("global(workDirectory=\"{}\")\n{ours}", here.display()))?;
    let pid = here.join("pid").display().to_string();
    let daemon = which("rsyslogd").context("no rsyslogd")?;
    let arguments = ["-n", "-i", &pid, "-f", &configuration];
    let daemon = Managed::start("rsyslogd", &daemon, &arguments, &[], here)?;
    until("rsyslogd's process number", PATIENCE, || Path::new(&pid).exists().then_some(()))?;

    let free = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (api, relay) = (free()?, free()?);
    fs::write(
        here.join("standalone.cfg"),
        format!(
            "[data]\ndirectory = \"{}/data\"\n[server]\nport = {api}\n\
             [relay]\nlisten = 127.0.0.1:{relay}\n[logging]\nmode = syslog\nhost = 127.0.0.1\n\
             port = {port}\nprotocol = udp\nlevel = info\n",
            here.display()
        ),
    )?;
    let server = binary("mig-standalone")?;
    let mut server = Managed::start("server", &server, &["-c", "standalone.cfg"], &[], here)?;
    server.wait_listening(([127, 0, 0, 1], api).into())?;
    let line = until("a line in the file", PATIENCE, || {
        let text = fs::read_to_string(&log).ok()?;
        text.lines().find(|line| line.contains("relay listens on")).map(str::to_owned)
    });
    let line = line.with_context(|| daemon.log())?;
    server.hang_up()?;
    until("the hangup in the file", PATIENCE, || {
        fs::read_to_string(&log).ok()?.contains("level read again").then_some(())
    })?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let tag = format!("mig-standalone[{}]:", server.pid());
    assert_eq!(words[4..9], [&tag, "-", "-", "-", "[info]"], "{line}");
    assert_eq!(words[12], format!("127.0.0.1:{relay}"), "the text is kept whole: {line}");
    Ok(())
}

#[test]
fn logrotate_takes_its_sample() -> anyhow::Result<()> {
    if !installed("logrotate") {
        return Ok(());
    }
    let directory = scratch("mig-logrotate-")?;
    let log = directory.path().join("mig.log");
    fs::write(&log, "a line\n")?;
    let place = directory.path().join("mig");
    let text = fs::read_to_string(sample("logrotate.d/mig"))?;
    let text = text.replace("/var/log/mig/mig.log", &log.display().to_string());
    // Not everybody who runs tests may give files away.
    let text = text.replace("create 0640 root adm", "create 0640");
    fs::write(&place, text)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644))?;
    let state = directory.path().join("state");
    succeed(tool_at("logrotate")?.arg("--force").arg("--state").arg(state).arg(&place))?;
    let names = fs::read_dir(directory.path())?.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = names.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names.iter().filter(|n| n.to_string_lossy().starts_with("mig.log")).count(), 2);
    assert_eq!(fs::metadata(&log)?.len(), 0);
    Ok(())
}

/// A unit's settings, the last value of each.
struct Unit(String);

impl Unit {
    fn read(name: &str) -> anyhow::Result<Self> {
        Ok(Self(fs::read_to_string(sample(&format!("systemd/{name}")))?))
    }

    fn get(&self, key: &str) -> Option<&str> {
        let settings = self.0.lines().filter_map(|line| line.split_once('='));
        settings.filter(|(name, _)| *name == key).map(|(_, value)| value).next_back()
    }
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() -> anyhow::Result<()> {
    if !installed("systemd-analyze") {
        return Ok(());
    }
    let directory = scratch("mig-systemd-")?;
    let mut units = fs::read_dir(sample("systemd"))?.collect::<Result<Vec<_>, _>>()?;
    units.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(units.len(), 4);
    for unit in units {
        let name = unit.file_name().to_string_lossy().into_owned();
        let unit = Unit::read(&name)?;
        let start = unit.get("ExecStart").context("no ExecStart")?;
        let (installed, arguments) = start.split_once(' ').unwrap_or((start, ""));
        // The options are ones that the program has: it goes on to `-V`.
        let stem = name.strip_suffix(".service").context("no service")?;
        assert_eq!(Path::new(installed).file_name().and_then(|n| n.to_str()), Some(stem));
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        succeed(program(stem, directory.path())?.args(&arguments).arg("-V"))?;

        // Nothing is installed here: the program built for the tests stands in.
        let built = binary(stem)?.display().to_string();
        let place = directory.path().join(&name);
        fs::write(&place, unit.0.replace(installed, &built))?;
        let said = tool("systemd-analyze").arg("verify").arg(&place).output()?;
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(said.status.success() && !words.contains(&name), "{name}: {words}");
        // Out of 100, lower is better; the agent must see the whole machine.
        let limit = if stem == "mig-agent" { "50" } else { "20" };
        let mut command = tool("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", "--threshold", limit]);
        succeed(command.arg(&place))?;
        if stem != "mig-agent" {
            for (key, value) in [
                ("User", "mig"),
                ("NoNewPrivileges", "yes"),
                ("ProtectSystem", "strict"),
                ("CapabilityBoundingSet", ""),
            ] {
                assert_eq!(unit.get(key), Some(value), "{name} {key}");
            }
        }
    }
    for server in ["mig-scheduler.service", "mig-api.service"] {
        assert_eq!(Unit::read(server)?.get("ExecReload"), Some("/bin/kill -HUP $MAINPID"));
    }
    Ok(())
}

/// What would hide a part of the machine from an agent.
const HIDING: [&str; 12] = [
    "User",
    "DynamicUser",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateNetwork",
    "PrivateUsers",
    "ProtectProc",
    "ProcSubset",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectClock",
    "InaccessiblePaths",
];

/// With the unit's capabilities and no others, a module still reads what only
/// another user may read.
#[test]
fn the_agents_unit_leaves_it_able_to_look() -> anyhow::Result<()> {
    let unit = Unit::read("mig-agent.service")?;
    for key in HIDING {
        assert_eq!(unit.get(key), None, "{key}");
    }
    assert_eq!(unit.get("ProtectHome"), Some("read-only"));
    if !installed("setpriv") {
        return Ok(());
    }
    if !is_root() {
        println!("skipped: only root can give up capabilities");
        return Ok(());
    }
    let granted = unit.get("CapabilityBoundingSet").context("no capabilities")?;
    let names = granted.split_whitespace().filter_map(|name| name.strip_prefix("CAP_"));
    let granted =
        names.fold(String::new(), |list, name| format!("{list},+{}", name.to_lowercase()));
    let directory = scratch("mig-capabilities-")?;
    let theirs = directory.path().join("theirs");
    fs::create_dir(&theirs)?;
    fs::write(theirs.join("secret"), "the needle\n")?;
    for (path, mode) in [(theirs.join("secret"), 0o600), (theirs.clone(), 0o700)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        chown(&path, Some(12345), Some(12345))?;
    }
    let look = |capabilities: &str| {
        let mut command = tool("setpriv");
        let bounds = format!("-all{capabilities}");
        command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set", &bounds]);
        command.arg(binary("mig-agent")?).args(["-m", "file"]);
        find_needle(&mut command, &theirs)
    };
    assert!(!look("")?, "without any capability a file of another user is closed");
    assert!(look(&granted)?, "the unit's capabilities do not suffice: {granted}");
    Ok(())
}

/// Whether the module `file`, run by this command, finds the needle.
fn find_needle(command: &mut Command, place: &Path) -> anyhow::Result<bool> {
    let message = json!({ "class": "parameters", "parameters": { "searches": { "s": {
        "paths": [place.display().to_string()], "contents": ["^the needle$"],
        "options": { "matchall": true }
    } } } });
    let mut child = command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(message.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    result["foundanything"].as_bool().context("no result")
}
