//! A platform built with nothing but the operator's scripts: database, roles,
//! certificates, broker accounts, and the programs on top of them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mig_relay::{RelayConfig, RelayError, Source};
use mig_testkit::{AgentOptions, Managed, RelayAccess, TestAgent, TestInvestigator, binary, until};
use mig_testservices::{Account, Postgres, RabbitMq};
use mig_types::{Acl, AclEntry};

const LOGINS: [&str; 3] = ["migadmin", "migapi", "migscheduler"];
const PATIENCE: Duration = Duration::from_mins(2);

/// A script of this repository, ready to run.
#[expect(clippy::disallowed_methods, reason = "the scripts under test")]
fn script(path: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut command = Command::new("bash");
    command.arg(root.join(path));
    command
}

fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{command:?} ended with {status}: {stdout}{stderr}");
    Ok(stdout)
}

/// The word after `before` on the line that begins with it.
fn word_after(text: &str, before: &str) -> anyhow::Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(before));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.with_context(|| format!("no {before:?} in {text}"))?.trim_matches('\'').to_owned())
}

struct Database {
    server: Postgres,
    /// In the order of [`LOGINS`].
    passwords: Vec<String>,
}

impl Database {
    fn create(directory: &Path) -> anyhow::Result<Self> {
        let server = Postgres::start_durable(&directory.join("postgres"))?;
        let create = |server: &Postgres| {
            let port = server.port().to_string();
            succeed(
                script("database/createlocaldb.sh")
                    .env("PGHOST", "127.0.0.1")
                    .env("PGPORT", port)
                    .env_remove("PGUSER"),
            )
        };
        let said = create(&server)?;
        let passwords = LOGINS
            .iter()
            .map(|login| word_after(&said, &format!("Created user {login} with password ")))
            .collect::<Result<Vec<_>, _>>()?;
        for password in &passwords {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            ensure!(password.len() == 32 && password.chars().all(plain), "{password}");
        }
        ensure!(said.lines().count() == 4, "{said}");
        ensure!(said.ends_with("MIG Database created successfully.\n"), "{said}");
        let again = create(&server)?;
        ensure!(again.contains("already; nothing was changed."), "{again}");
        Ok(Self { server, passwords })
    }

    /// What `psql` says to one statement of a role.
    #[expect(clippy::disallowed_methods, reason = "the database's own client")]
    fn ask(&self, login: &str, read_only: bool, statement: &str) -> anyhow::Result<Output> {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", login, "-d", "mig"]);
        command.arg("-p").arg(self.server.port().to_string());
        if read_only {
            command.args(["-c", "set role migreadonly"]);
        }
        Ok(command.args(["-c", statement]).output()?)
    }

    /// Every statement that must work and every one that must not.
    fn grants_are_exact(&self) -> anyhow::Result<usize> {
        const ALLOWED: &[(&str, bool, &str)] = &[
            ("migscheduler", false, "select privatekey from investigators"),
            ("migscheduler", false, "update commands set status = status"),
            ("migscheduler", true, "select * from agents, commands, actions, signatures"),
            ("migapi", false, "select name, apikey from investigators"),
            ("migapi", false, "update agents set status = status"),
            ("migapi", false, "delete from manifestsig"),
            ("migapi", true, "select id, env, tags, expectenv, loadername, queueloc from loaders"),
            ("migapi", true, "select id, name, publickey from investigators"),
            ("migadmin", false, "create table t (i int); drop table t"),
        ];
        const REFUSED: &[(&str, bool, &str)] = &[
            ("migapi", false, "select privatekey from investigators"),
            ("migapi", false, "select * from investigators"),
            ("migapi", false, "update commands set status = 'success'"),
            ("migapi", false, "insert into commands select * from commands"),
            ("migapi", false, "delete from actions"),
            ("migapi", false, "update actions set target = 'true'"),
            ("migapi", false, "insert into investigators (name, privatekey) values ('x', '')"),
            ("migapi", false, "create table t (i int)"),
            ("migapi", true, "select apikey from investigators"),
            ("migapi", true, "select privatekey from investigators"),
            ("migapi", true, "select loaderkey from loaders"),
            ("migapi", true, "update agents set status = 'online'"),
            ("migscheduler", true, "delete from agents"),
            ("migscheduler", true, "insert into agents_stats (timestamp) values (now())"),
            ("migscheduler", false, "delete from commands"),
            ("migscheduler", false, "update investigators set permissions = 524287"),
            ("migscheduler", false, "update manifests set status = 'active'"),
            ("migscheduler", false, "create role other"),
            ("migadmin", false, "create role other"),
        ];
        for (login, read_only, statement) in ALLOWED {
            let output = self.ask(login, *read_only, statement)?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{login} {read_only} {statement}: {error}");
        }
        for (login, read_only, statement) in REFUSED {
            let output = self.ask(login, *read_only, statement)?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(
                !output.status.success() && error.contains("permission denied"),
                "{login} {read_only} {statement}: {error}"
            );
        }
        Ok(ALLOWED.len() + REFUSED.len())
    }

    fn section(&self, login: usize) -> String {
        format!(
            "[postgres]\nhost = 127.0.0.1\nport = {}\ndbname = mig\nuser = {}\n\
             password = \"{}\"\nsslmode = disable\nmaxconn = 10\n",
            self.server.port(),
            LOGINS[login],
            self.passwords[login]
        )
    }
}

/// The certificates of `create_mig_ca.sh`.
struct Certificates(PathBuf);

impl Certificates {
    fn create(directory: &Path) -> anyhow::Result<Self> {
        let place = directory.join("certificates");
        fs::create_dir(&place)?;
        let create = || {
            script("tools/create_mig_ca.sh")
                .args(["--non-interactive", "localhost"])
                .current_dir(&place)
                .output()
        };
        ensure!(create()?.status.success(), "create_mig_ca.sh failed");
        let key = fs::read(place.join("agent.key"))?;
        ensure!(!create()?.status.success(), "a second run must not overwrite");
        ensure!(fs::read(place.join("agent.key"))? == key, "a key was overwritten");
        let certificates = Self(place);
        for role in ["rabbitmq", "scheduler", "worker", "agent"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(certificates.file(&format!("{role}.key")))?.permissions();
            ensure!(mode.mode() & 0o777 == 0o600, "{role}.key has mode {:o}", mode.mode());
            certificates.verify(role)?;
        }
        Ok(certificates)
    }

    #[expect(clippy::disallowed_methods, reason = "a second opinion on the certificates")]
    fn verify(&self, role: &str) -> anyhow::Result<()> {
        let mut command = Command::new("openssl");
        command.arg("verify").arg("-CAfile").arg(self.file("ca/ca.crt"));
        succeed(command.arg(self.file(&format!("{role}.crt")))).map(drop)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A broker that knows only what the scripts told it.
struct Broker {
    node: RabbitMq,
    scheduler: String,
    agent: String,
}

impl Broker {
    fn create(directory: &Path, certificates: &Certificates) -> anyhow::Result<Self> {
        let mut node = RabbitMq::start(&directory.join("broker"))?;
        // The node goes on with the certificates of the other script. First:
        // a start brings back what this node was made with.
        let own = node.ca_path();
        let own = own.parent().context("no directory")?.to_owned();
        for (from, to) in [
            ("ca/ca.crt", "ca.pem"),
            ("rabbitmq.crt", "server.pem"),
            ("rabbitmq.key", "server.key"),
        ] {
            fs::write(own.join(to), fs::read(certificates.file(from))?)?;
        }
        node.restart()?;
        // As it comes out of the package: the user guest, and nothing of ours.
        node.ctl(&["delete_vhost", "mig"])?;
        for account in [Account::Admin, Account::Scheduler, Account::Agent, Account::Worker] {
            node.ctl(&["delete_user", account.name()])?;
        }
        node.ctl(&["add_user", "guest", "guest"])?;
        node.ctl(&["set_user_tags", "guest", "administrator"])?;
        let etc = directory.join("etc-rabbitmq");
        fs::create_dir(&etc)?;
        let configure = || {
            let mut command = script("tools/create_rabbitmq_config.sh");
            command.arg("--no-restart").env("MIG_RABBITMQCTL", node.ctl_path());
            command.env("MIG_RABBITMQ_DIR", &etc);
            command
        };
        let said = succeed(&mut configure())?;
        let broker_users = node.ctl(&["list_users", "--silent"])?;
        ensure!(!broker_users.contains("guest"), "{broker_users}");
        let again = configure().output()?;
        ensure!(!again.status.success(), "a second run must be refused");
        let conf = fs::read_to_string(etc.join("rabbitmq.conf"))?;
        ensure!(conf.contains("ssl_options.fail_if_no_peer_cert = true"), "{conf}");
        let (scheduler, agent) = (word_after(&said, "scheduler ")?, word_after(&said, "agent ")?);

        Ok(Self { node, scheduler, agent })
    }

    fn agent_url(&self) -> String {
        format!("amqps://agent:{}@localhost:{}/mig", self.agent, self.node.tls_port())
    }

    fn section(&self, certificates: &Certificates) -> String {
        format!(
            "[mq]\nhost = localhost\nport = {}\nuser = scheduler\npass = \"{}\"\nvhost = mig\n\
             usetls = on\ncacert = \"{}\"\ntlscert = \"{}\"\ntlskey = \"{}\"\ntimeout = 10m\n",
            self.node.tls_port(),
            self.scheduler,
            certificates.file("ca/ca.crt").display(),
            certificates.file("scheduler.crt").display(),
            certificates.file("scheduler.key").display(),
        )
    }

    fn log(&self) -> anyhow::Result<String> {
        let directory = self.node.ca_path();
        let directory = directory.parent().context("no directory")?;
        Ok(fs::read_to_string(directory.join("log/rabbitmq.log"))?)
    }

    /// Whether the agents' account is refused a source that is not an agent's.
    async fn refuses_agent(
        &self,
        source: Source,
        certificates: &Certificates,
    ) -> anyhow::Result<bool> {
        let mut config = RelayConfig::new(self.agent_url());
        config.ca_pem = Some(fs::read(certificates.file("ca/ca.crt"))?);
        config.cert_pem = Some(fs::read(certificates.file("agent.crt"))?);
        config.key_pem = Some(fs::read(certificates.file("agent.key"))?);
        let relay = mig_relay::connect(&config).await?;
        match relay.consume(source, 1).await {
            Err(RelayError::Refused { .. }) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the programs under test")]
fn program(name: &str, directory: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(binary(name)?);
    command.current_dir(directory);
    Ok(command)
}

#[test]
fn the_scripts_make_a_platform_that_answers() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("mig-operators-").tempdir()?;
    {
        // The database's own account must be able to reach its files.
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    }
    let scratch = directory.path();
    let database = Database::create(scratch)?;
    let statements = database.grants_are_exact()?;
    let certificates = Certificates::create(scratch)?;
    let broker = Broker::create(scratch, &certificates)?;

    let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    write_configurations(scratch, api, &database, &broker, &certificates)?;
    let migrated = program("mig-scheduler", scratch)?
        .args(["-migrate", "-c", "admin.cfg"])
        .output()
        .context("mig-scheduler -migrate")?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let scheduler = Managed::start(
        "scheduler",
        &binary("mig-scheduler")?,
        &["-c", "scheduler.cfg"],
        &[],
        scratch,
    )?;
    scheduler.wait_log("created migscheduler identity with ID 1 and key ID ")?;
    let alice = TestInvestigator::create("alice", scratch)?;
    let key = alice.public_key_file();
    succeed(
        program("mig-api", scratch)?
            .args(["-c", "api.cfg", "--add-investigator", "alice"])
            .arg(&key),
    )?;
    let mut server = Managed::start("api", &binary("mig-api")?, &["-c", "api.cfg"], &[], scratch)?;
    server.wait_listening(api)?;
    let url = format!("http://{api}/api/v1/");
    alice.configure(&url)?;

    let mut acl = Acl::default();
    let entry = AclEntry { minimumweight: 1, investigators: [alice.weighing(1)].into() };
    acl.insert("default".to_owned(), entry);
    let options = AgentOptions { name: "first".to_owned(), acl, ..AgentOptions::default() };
    let access = RelayAccess {
        url: broker.agent_url(),
        ca: Some(certificates.file("ca/ca.crt")),
        certificate: Some((certificates.file("agent.crt"), certificates.file("agent.key"))),
    };
    let agent = TestAgent::start(&options, &[&alice], &access, &url, scratch)?;

    // Not on the list: refused, until the operator adds the line.
    let queueloc = agent.queueloc()?;
    scheduler.wait_log(&format!("getHeartbeats(): Agent '{queueloc}' is not authorized"))?;
    fs::write(scratch.join("whitelist"), format!("{queueloc}\n"))?;
    let mig = |args: &[&str]| -> anyhow::Result<Output> {
        let mut command = program("mig", scratch)?;
        command.args(args).env("HOME", alice.home()).env("MIG_YES", "1");
        command.env("MIG_SIGNING_KEY", alice.secret_key_file()).env_remove("MIG_CONFIG");
        Ok(command.output()?)
    };
    until("the agent online", PATIENCE, || {
        let seen = mig(&["file", "-t", "status='online'", "--dry-run", "-path", "/etc"]).ok()?;
        (String::from_utf8_lossy(&seen.stdout).lines().count() == 1).then_some(())
    })?;
    let answer = mig(&["file", "-path", "/etc", "-name", "^passwd$", "-content", "^root"])?;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned()
        + &String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success() && said.contains("/etc/passwd"), "{said}");

    // Nobody needed more than the scripts gave; agents may not read the rest.
    let log = broker.log()?;
    ensure!(!log.contains("ACCESS_REFUSED") && !log.contains("refused"), "{log}");
    let runtime = tokio::runtime::Runtime::new()?;
    for source in [Source::Results, Source::Heartbeats] {
        let refused = runtime.block_on(broker.refuses_agent(source.clone(), &certificates))?;
        ensure!(refused, "the agents' account reads {source:?}");
    }
    for program in [&scheduler, &server] {
        let log = program.log();
        if log.contains("permission denied") {
            bail!("a role lacks a right: {log}");
        }
    }
    println!("operators: {statements} statements by role, each as granted; first answer given");
    Ok(())
}

fn write_configurations(
    scratch: &Path,
    api: SocketAddr,
    database: &Database,
    broker: &Broker,
    certificates: &Certificates,
) -> anyhow::Result<()> {
    let logging = "[logging]\nmode = stdout\nlevel = debug\n";
    fs::write(scratch.join("whitelist"), "linux.nobody.0\n")?;
    let scheduler = |login| {
        format!(
            "[agent]\ntimeout = 60s\nheartbeatfreq = 2s\nwhitelist = \"{0}/whitelist\"\n\
             [collector]\nfreq = 1s\n[periodic]\nfreq = 5s\ndeleteafter = 1h\n\
             queuescleanupfreq = 24h\n[directories]\nspool = \"{0}/spool\"\ntmp = \"{0}\"\n\
             {1}{2}{logging}",
            scratch.display(),
            database.section(login),
            broker.section(certificates),
        )
    };
    fs::write(scratch.join("admin.cfg"), scheduler(0))?;
    fs::write(scratch.join("scheduler.cfg"), scheduler(2))?;
    let server = format!(
        "[authentication]\nenabled = on\ntokenduration = 10m\n[server]\nip = {}\nport = {}\n\
         host = \"http://{api}\"\nbaseroute = /api/v1\n{}{logging}",
        api.ip(),
        api.port(),
        database.section(1)
    );
    fs::write(scratch.join("api.cfg"), server)?;
    Ok(())
}
