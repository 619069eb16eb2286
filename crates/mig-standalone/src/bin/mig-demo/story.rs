//! What the demonstration shows, in order.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mig_runtime::Shutdown;
use tokio::process::Command;

use crate::Args;
use crate::folder::{self, Person};
use crate::processes::{Background, binary};

/// Server and agents are up within this time, on a slow machine too.
const START: Duration = Duration::from_secs(30);

/// Agents with the tag that says who runs them.
const AGENTS: [(&str, &str); 3] = [("web1", "it"), ("db1", "it"), ("lab1", "lab")];

/// `mig` exits with this when `--strict` and an agent did not succeed.
const NOT_ALL_SUCCEEDED: i32 = 6;

pub(crate) async fn tell(args: &Args, shutdown: &Shutdown) -> anyhow::Result<()> {
    let folder = folder::prepare(&args.dir)?;
    let mut programs = Vec::new();
    let told = tokio::select! {
        told = show(args, &folder, &mut programs, shutdown) => told,
        () = shutdown.requested() => {
            say("")?;
            say("interrupted; stopping server and agents")
        }
    };
    // Agents first: the server takes what they still have to say.
    while let Some(program) = programs.pop() {
        program.stop().await;
    }
    told
}

fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("writing to standard output")
}

fn heading(text: &str) -> anyhow::Result<()> {
    say("")?;
    say(&format!("== {text}"))
}

async fn show(
    args: &Args,
    folder: &Path,
    programs: &mut Vec<Background>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (api, relay) =
        (address(args.api_port, "--api-port")?, address(args.relay_port, "--relay-port")?);
    let url = format!("http://{api}/api/v1/");

    heading("A server, three agents, two investigators")?;
    let (ada, bob) = (Person::create("ada", folder, &url)?, Person::create("bob", folder, &url)?);
    let people = [&ada, &bob];
    server(folder, api, relay, &people, programs).await?;
    for (name, operator) in AGENTS {
        let password = std::fs::read_to_string(folder.join("data").join("agent.password"))?;
        let relay = format!("wss://agent:{password}@localhost:{}/", relay.port());
        let directory = folder::agent(folder, name, operator, &relay, &url, &people)?;
        let config = directory.join("mig-agent.cfg");
        let config = config.to_str().context("the folder's name is not UTF-8")?;
        programs.push(Background::start(folder, name, "mig-agent", &["-c", config, "-f"])?);
    }
    let console = Console { folder, ada: &ada, bob: &bob };
    console.wait_for_agents(programs).await?;
    say(&format!("server on {url}, agents web1, db1 and lab1 are connected over TLS"))?;

    let started = Instant::now();
    heading("One question to every agent: who has a root account in /etc/passwd?")?;
    let found = [
        "file",
        "--fail-on",
        "none",
        "--strict",
        "-path",
        "/etc",
        "-name",
        "^passwd$",
        "-content",
        "^root",
    ];
    console.ask(&ada, &found, 0).await?;
    let first = started.elapsed();

    heading("Open ports take two investigators: with one signature the agents refuse")?;
    let port = api.port().to_string();
    let ports = ["netstat", "-y", "--strict", "-show", "all", "-lp", &port];
    console.ask(&ada, &ports, NOT_ALL_SUCCEEDED).await?;

    heading("Ada signs, Bob adds his signature and launches: the agents accept")?;
    let signed = console.sign(&ada, &["netstat", "-s", "-e", "10m", "-lp", &port]).await?;
    let launch = ["-i", &signed, "-y", "--fail-on", "none", "--strict"];
    console.ask(&bob, &launch, 0).await?;

    heading("A target reaches only the agents it describes")?;
    let target = [
        "file",
        "-y",
        "-t",
        "tags->>'operator'='lab'",
        "--fail-on",
        "none",
        "--strict",
        "-path",
        "/etc",
        "-name",
        "^hostname$",
    ];
    console.ask(&ada, &target, 0).await?;

    heading("Done")?;
    say(&format!(
        "first answer {:.1} s after it was asked, countdown included",
        first.as_secs_f64()
    ))?;
    if args.keep {
        return keep(&console, shutdown).await;
    }
    say(&format!("everything this run made is in {}; it is safe to delete", folder.display()))?;
    say("")?;
    say("To keep the server and the agents running and ask your own questions:")?;
    say("    make demo DEMO_ARGS=--keep")?;
    say("It prints what to type in another terminal. Questions to start with:")?;
    for question in QUESTIONS {
        say(&format!("    {question}"))?;
    }
    Ok(())
}

const QUESTIONS: [&str; 3] = [
    "mig file -path /etc -name \"^passwd$\" -content \"^root\"",
    "mig file -t \"tags->>'operator'='lab'\" -path /usr/bin -name \"^ssh\" -returnsha256",
    "mig file -path /var/log -mtime \"<1d\" -maxdepth 2",
];

async fn keep(console: &Console<'_>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let bin = binary("mig")?;
    let bin = bin.parent().map(Path::to_path_buf).unwrap_or_default();
    say("server and agents keep running until ctrl-c; in another terminal type:")?;
    say(&format!("    export PATH=\"{}:$PATH\"", bin.display()))?;
    say(&format!("    export HOME=\"{}\"", console.ada.home.display()))?;
    say(&format!("    export MIG_SIGNING_KEY=\"{}\"", console.ada.secret_key().display()))?;
    say("and ask:")?;
    for question in QUESTIONS {
        say(&format!("    {question}"))?;
    }
    shutdown.requested().await;
    Ok(())
}

/// The address to serve on: the port asked for, or a free one.
fn address(port: Option<u16>, flag: &str) -> anyhow::Result<SocketAddr> {
    let asked = SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(0)));
    let listener = TcpListener::bind(asked).with_context(|| {
        format!("port {} is not free; choose another with {flag}", asked.port())
    })?;
    Ok(listener.local_addr()?)
}

/// Starts the server, with the investigators' keys enrolled.
#[expect(clippy::disallowed_methods, reason = "the demonstration starts the programs it shows")]
async fn server(
    folder: &Path,
    api: SocketAddr,
    relay: SocketAddr,
    people: &[&Person],
    programs: &mut Vec<Background>,
) -> anyhow::Result<()> {
    let config = folder.join("standalone.cfg");
    let text = format!(
        "[data]\n    directory = \"{}\"\n[server]\n    ip = 127.0.0.1\n    port = {}\n\
         \x20   host = \"http://{api}\"\n    baseroute = /api/v1\n[relay]\n    listen = {relay}\n\
         [agent]\n    heartbeatfreq = 5s\n    timeout = 60s\n\
         [logging]\n    mode = stdout\n    level = info\n",
        folder.join("data").display(),
        api.port(),
    );
    folder::write(&config, &text)?;
    let config = config.to_str().context("the folder's name is not UTF-8")?;
    for person in people {
        let output = Command::new(binary("mig-standalone")?)
            .args(["-c", config, "add-investigator", person.name])
            .arg(person.public_key())
            .output()
            .await?;
        if !output.status.success() {
            bail!("enrolling {}: {}", person.name, String::from_utf8_lossy(&output.stderr));
        }
    }
    let mut server = Background::start(folder, "server", "mig-standalone", &["-c", config])?;
    let deadline = Instant::now() + START;
    while tokio::net::TcpStream::connect(api).await.is_err() {
        server.check()?;
        if Instant::now() > deadline {
            bail!("the server does not answer on {api}:\n{}", server.last_words());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    programs.push(server);
    Ok(())
}

/// Where investigators type.
struct Console<'a> {
    folder: &'a Path,
    ada: &'a Person,
    bob: &'a Person,
}

impl Console<'_> {
    #[expect(clippy::disallowed_methods, reason = "the demonstration starts the programs it shows")]
    fn mig(&self, person: &Person, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("mig")?);
        command
            .args(args)
            .env("HOME", &person.home)
            .env("MIG_SIGNING_KEY", person.secret_key())
            .env_remove("MIG_CONFIG")
            .env_remove("MIG_CONTEXT")
            .env_remove("MIG_YES")
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Waits until every agent is online, as an investigator would see it.
    async fn wait_for_agents(&self, programs: &mut [Background]) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let args = ["file", "-t", "status='online'", "--dry-run", "-path", "/etc"];
            let output = self.mig(self.bob, &args)?.output().await?;
            if output.stdout.iter().filter(|byte| **byte == b'\n').count() == AGENTS.len() {
                return Ok(());
            }
            for program in programs.iter_mut() {
                program.check()?;
            }
            if Instant::now() > deadline {
                let logs: Vec<String> = programs.iter().map(Background::last_words).collect();
                bail!("the agents did not all connect:\n{}", logs.join("\n--\n"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Types a command and shows what it prints; its exit code must be the one
    /// foreseen.
    async fn ask(&self, person: &Person, args: &[&str], wanted: i32) -> anyhow::Result<()> {
        say(&format!("{}$ mig {}", person.name, typed(args)))?;
        let status = self.mig(person, args)?.status().await?;
        ended(status, wanted, args)
    }

    /// Signs without launching; returns the file's name.
    async fn sign(&self, person: &Person, args: &[&str]) -> anyhow::Result<String> {
        let file = "signed.json";
        say(&format!("{}$ mig {} > {file}", person.name, typed(args)))?;
        let output = self.mig(person, args)?.stderr(Stdio::inherit()).output().await?;
        ended(output.status, 0, args)?;
        let path: PathBuf = self.folder.join(file);
        folder::write(&path, &String::from_utf8_lossy(&output.stdout))?;
        Ok(file.to_owned())
    }
}

fn ended(status: ExitStatus, wanted: i32, args: &[&str]) -> anyhow::Result<()> {
    if status.code() == Some(wanted) {
        return Ok(());
    }
    bail!("mig {} ended with {status}, not with exit status {wanted}", typed(args))
}

/// Arguments as a person types them.
fn typed(args: &[&str]) -> String {
    let plain =
        |arg: &str| arg.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:".contains(&b));
    let quoted: Vec<String> = args
        .iter()
        .map(|arg| if plain(arg) { (*arg).to_owned() } else { format!("\"{arg}\"") })
        .collect();
    quoted.join(" ")
}
