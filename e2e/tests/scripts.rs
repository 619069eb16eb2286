//! The operator scripts' options, and what the guide says that they do.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use mig_e2e::operator::{
    Broker, Certificates, configure, connect, empty_broker, scratch, script, succeed, word_after,
};
use mig_testservices::RabbitMq;

/// A run of the script for certificates, with somebody at the keyboard.
fn asked(place: &Path, answer: &str, more_names: &str) -> anyhow::Result<Output> {
    let mut child = script("tools/create_mig_ca.sh")
        .current_dir(place)
        .env("MIG_RELAY_ALT_NAMES", more_names)
        .env_remove("MIG_RELAY_NAME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(answer.as_bytes())?;
    Ok(child.wait_with_output()?)
}

#[test]
fn the_script_for_certificates_asks_for_the_relays_name() -> anyhow::Result<()> {
    let directory = scratch("mig-ca-")?;
    let place = directory.path();
    for wrong in ["\n", "", "two words\n", "-rf\n", "a;b\n"] {
        let output = asked(place, wrong, "")?;
        ensure!(!output.status.success(), "{wrong:?} is taken");
        let left = fs::read_dir(place)?.count();
        ensure!(left == 0, "{wrong:?} leaves {left} files");
    }
    let output = asked(place, "relay.example.net\n", "10.0.0.7 mq2.example.net")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let certificates = Certificates::left_in(place)?;
    let names = certificates.names("rabbitmq")?;
    assert_eq!(names, "DNS:relay.example.net, IP Address:10.0.0.7, DNS:mq2.example.net");
    ensure!(certificates.names("agent")?.contains("DNS:agent"));
    Ok(())
}

/// Whether the broker lets the user in with that password.
fn knows(node: &RabbitMq, user: &str, password: &str) -> anyhow::Result<bool> {
    match node.ctl(&["authenticate_user", user, password]) {
        Ok(_) => Ok(true),
        Err(error) if error.to_string().contains("failed to authenticate") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The patterns of one user: configure, write, read.
fn permissions(node: &RabbitMq, user: &str) -> anyhow::Result<String> {
    let list = node.ctl(&["list_permissions", "--silent", "-p", "mig"])?;
    let line = list.lines().find_map(|line| line.strip_prefix(&format!("{user}\t")));
    Ok(line.with_context(|| format!("no {user} in {list}"))?.to_owned())
}

#[test]
fn the_script_for_the_broker_does_what_its_options_say() -> anyhow::Result<()> {
    let directory = scratch("mig-broker-")?;
    let certificates = Certificates::create(directory.path())?;
    let mut node = empty_broker(&directory.path().join("broker"))?;
    let etc = Broker::etc(directory.path(), &certificates)?;

    // First everything that is not the default.
    let options = ["--queues", "quorum", "--guide-permissions", "--no-plain", "40"];
    let said = succeed(&mut configure(&node, &etc, &options))?;
    ensure!(said.contains("quorum queues, by default of virtual host mig"), "{said}");
    let [old, agent] = [word_after(&said, "scheduler ")?, word_after(&said, "agent ")?];
    ensure!(old.len() == 40, "the length of passwords: {old}");
    ensure!(knows(&node, "scheduler", &old)? && !knows(&node, "guest", "guest")?);
    assert_eq!(
        permissions(&node, "agent")?,
        r"^mig\.agt\..*$	^(toschedulers|mig\.agt\..*)$	^(toagents|mig\.agt\..*)$"
    );
    node.restart_with(&fs::read_to_string(etc.join("rabbitmq.conf"))?)?;
    let plain = TcpStream::connect((Ipv4Addr::LOCALHOST, node.plain_port()));
    ensure!(plain.is_err(), "the broker still listens without TLS");

    // Queues as our programs declare them, without arguments, are of that kind.
    let port = node.tls_port();
    let url =
        |user: &str, password: &str| format!("amqps://{user}:{password}@localhost:{port}/mig");
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let relay = connect(&url("scheduler", &old), "scheduler", &certificates).await?;
        relay.declare().await?;
        relay.close().await;
        anyhow::Ok(())
    })?;
    let queues = node.ctl(&["list_queues", "--silent", "-p", "mig", "name", "type"])?;
    let mut queues: Vec<&str> = queues.lines().collect();
    queues.sort_unstable();
    assert_eq!(queues, ["mig.agt.heartbeats\tquorum", "mig.agt.results\tquorum"]);
    ensure!(!node.ctl(&["list_policies", "--silent", "-p", "mig"])?.contains("ha-mode"));

    // Again: refused, unless passwords may change; then only they do, and what
    // this run's own options say.
    let again = configure(&node, &etc, &[]).output()?;
    ensure!(!again.status.success() && knows(&node, "scheduler", &old)?);
    let said = succeed(&mut configure(&node, &etc, &["--reset-passwords"]))?;
    let new = word_after(&said, "scheduler ")?;
    ensure!(new.len() == 32 && new != old, "{new}");
    ensure!(knows(&node, "scheduler", &new)? && !knows(&node, "scheduler", &old)?);
    ensure!(!knows(&node, "agent", &agent)?, "only one password was changed");
    let tight = permissions(&node, "agent")?;
    ensure!(tight.starts_with(r"^mig\.agt\.(linux|darwin|windows)\..*$"), "{tight}");
    let policies = node.ctl(&["list_policies", "--silent", "-p", "mig"])?;
    ensure!(policies.contains("mig-mirror-all") && policies.contains("ha-mode"), "{policies}");
    ensure!(etc.join("rabbitmq.conf.bkp").exists(), "the old configuration is gone");
    node.restart_with(&fs::read_to_string(etc.join("rabbitmq.conf"))?)?;
    ensure!(TcpStream::connect((Ipv4Addr::LOCALHOST, node.plain_port())).is_ok());
    runtime.block_on(async {
        connect(&url("scheduler", &new), "scheduler", &certificates).await?.declare().await?;
        anyhow::Ok(())
    })?;
    Ok(())
}

/// A `rabbitmqctl` of another version, which writes down what it is told.
struct Pretended {
    directory: tempfile::TempDir,
}

impl Pretended {
    fn new(version: &str) -> anyhow::Result<Self> {
        let directory = scratch("mig-pretended-")?;
        let program = directory.path().join("ctl");
        let calls = directory.path().join("calls");
        let text = format!(
            "#!/bin/sh\necho \"$*\" >>'{}'\ncase \"$2\" in\nversion) echo {version} ;;\n\
             list_users) printf 'guest\\t[administrator]\\n' ;;\nlist_vhosts) echo / ;;\n\
             add_user) cat >/dev/null ;;\nesac\n",
            calls.display()
        );
        fs::write(&program, text)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(directory.path().join("etc"))?;
        Ok(Self { directory })
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = script("tools/create_rabbitmq_config.sh");
        command.arg("--no-restart").args(arguments);
        command.env("MIG_RABBITMQCTL", self.directory.path().join("ctl"));
        command.env("MIG_RABBITMQ_DIR", self.directory.path().join("etc"));
        command
    }

    fn calls(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("calls"))?)
    }
}

#[test]
fn on_rabbitmq_4_the_script_chooses_quorum_queues_and_sets_no_mirrors() -> anyhow::Result<()> {
    let four = Pretended::new("4.1.0")?;
    let said = succeed(&mut four.script(&[]))?;
    ensure!(said.contains("queues of RabbitMQ 4.1.0: quorum queues, by default"), "{said}");
    let calls = four.calls()?;
    for call in [
        "-q add_vhost mig --default-queue-type quorum",
        "-q add_user scheduler",
        "-q delete_user guest",
        "-q set_permissions -p mig worker ^migevent\\..*$",
    ] {
        ensure!(calls.contains(call), "no {call:?} in {calls}");
    }
    ensure!(!calls.contains("set_policy"), "{calls}");
    // No password is an argument, which everybody on the machine could read.
    let password = word_after(&said, "agent ")?;
    ensure!(!calls.contains(&password), "{calls}");

    let classic = Pretended::new("4.1.0")?;
    let said = succeed(&mut classic.script(&["--queues", "classic"]))?;
    ensure!(said.contains("classic queues on one node each, without replicas"), "{said}");
    let calls = classic.calls()?;
    ensure!(calls.contains("-q add_vhost mig\n") && !calls.contains("set_policy"), "{calls}");
    Ok(())
}

#[test]
fn a_broker_that_is_too_old_is_left_alone() -> anyhow::Result<()> {
    for (version, arguments, reason) in [
        ("3.7.28", &[][..], "3.8 or newer is needed"),
        ("3.9.13", &["--queues", "quorum"], "3.10 or newer can"),
        ("soon", &[], "cannot read the version"),
    ] {
        let broker = Pretended::new(version)?;
        let output = broker.script(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.contains(reason), "{version}: {said}");
        let calls = broker.calls()?;
        ensure!(calls.lines().all(|call| call == "-q version"), "{version}: {calls}");
    }
    Ok(())
}
