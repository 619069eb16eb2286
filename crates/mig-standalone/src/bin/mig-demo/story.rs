//! What the demonstration shows, in order.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mig_runtime::{Exit, Shutdown};
use tokio::process::Command;

use crate::Args;
use crate::folder::{self, Folder, Person};
use crate::processes::{self, Background, binary};

/// Server and agents are up within this time, on a slow machine too.
const START: Duration = Duration::from_secs(30);

/// A question has its answers within this time after the countdown.
const ANSWER: Duration = Duration::from_mins(1);

/// Agents with the tag that says who runs them.
const AGENTS: [(&str, &str); 3] = [("web1", "it"), ("db1", "it"), ("lab1", "lab")];

/// `mig` exits with this when `--strict` and an agent did not succeed.
const NOT_ALL_SUCCEEDED: i32 = 6;

/// Exit code after ctrl-c: 128 plus the number of SIGINT.
const INTERRUPTED: u8 = 130;

pub(crate) async fn tell(args: &Args, shutdown: &Shutdown) -> anyhow::Result<()> {
    let folder = Folder::prepare(&args.dir)?;
    let mut programs = Vec::new();
    let told = tokio::select! {
        // Ctrl-c is how `--keep` ends, and then not an interruption.
        biased;
        told = show(args, &folder.path, &mut programs, shutdown) => Some(told),
        interrupted = interrupted(shutdown) => interrupted.err().map(Err),
    };
    let told = match told {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) if !shutdown.is_requested() => Err(folder.explain(error)),
        // Ctrl-c reaches `mig` too, which may end before we know.
        _ => {
            // The terminal may be gone.
            let _ = say("\ninterrupted; stopping server and agents");
            Err(Exit::silent(INTERRUPTED).into())
        }
    };
    processes::stop(programs).await;
    told
}

/// Returns once the demonstration shall stop, be it that its terminal is gone.
async fn interrupted(shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    tokio::select! {
        () = shutdown.requested() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
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
    let (api, relay) = addresses(args)?;
    let url = format!("http://{api}/api/v1/");

    heading("A server, three agents, two investigators")?;
    let (ada, bob) = (Person::create("ada", folder, &url)?, Person::create("bob", folder, &url)?);
    let people = [&ada, &bob];
    let config = server(folder, api, relay, &people).await?;
    programs.push(Background::start(folder, "server", "mig-standalone", &["-c", &config])?);
    wait_for_server(api, programs).await?;
    for (name, operator) in AGENTS {
        let password = std::fs::read_to_string(folder.join("data").join("agent.password"))?;
        let relay = format!("wss://agent:{password}@localhost:{}/", relay.port());
        let directory = folder::agent(folder, name, operator, &relay, &url, &people)?;
        let config = directory.join("mig-agent.cfg");
        let config = config.to_str().context("the folder's name is not UTF-8")?;
        programs.push(Background::start(folder, name, "mig-agent", &["-c", config, "-f"])?);
    }
    let countdown = Duration::from_secs(args.countdown.unwrap_or_default().into());
    let console = Console { folder, ada: &ada, bob: &bob, patience: ANSWER + countdown };
    console.wait_for_agents(programs).await?;
    say(&format!("server on {url}, agents web1, db1 and lab1 are connected over TLS"))?;

    let started = Instant::now();
    heading("One question to every agent: who has a root account in /etc/passwd?")?;
    let countdown = args.countdown.map(|seconds| seconds.to_string());
    let mut found = vec!["file", "--fail-on", "none", "--strict"];
    found.extend(countdown.iter().flat_map(|seconds| ["--countdown", seconds]));
    found.extend(["-path", "/etc", "-name", "^passwd$", "-content", "^root"]);
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
        "^group$",
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

/// Where to serve: the ports asked for, or free ones.
fn addresses(args: &Args) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    // Both are held until both are known, so that they differ.
    let api = hold(args.api_port, "--api-port")?;
    let relay = hold(args.relay_port, "--relay-port")?;
    Ok((api.local_addr()?, relay.local_addr()?))
}

fn hold(port: Option<u16>, flag: &str) -> anyhow::Result<TcpListener> {
    let asked = SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(0)));
    TcpListener::bind(asked)
        .with_context(|| format!("port {} is not free; choose another with {flag}", asked.port()))
}

/// Configures the server and enrolls the investigators; returns the name of
/// the configuration.
async fn server(
    folder: &Path,
    api: SocketAddr,
    relay: SocketAddr,
    people: &[&Person],
) -> anyhow::Result<String> {
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
        let output = processes::command(folder, "mig-standalone")?
            .args(["-c", config, "add-investigator", person.name])
            .arg(person.public_key())
            .output()
            .await?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("enrolling {}: {}", person.name, reason.trim_end());
        }
    }
    Ok(config.to_owned())
}

async fn wait_for_server(api: SocketAddr, programs: &mut [Background]) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while tokio::net::TcpStream::connect(api).await.is_err() {
        for program in programs.iter_mut() {
            program.check()?;
            if Instant::now() > deadline {
                bail!("the server does not answer on {api}:\n{}", program.last_words());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Where investigators type.
struct Console<'a> {
    folder: &'a Path,
    ada: &'a Person,
    bob: &'a Person,
    /// How long one `mig` may take.
    patience: Duration,
}

impl Console<'_> {
    fn mig(&self, person: &Person, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = processes::command(self.folder, "mig")?;
        command
            .args(args)
            .env("HOME", &person.home)
            .env("MIG_SIGNING_KEY", person.secret_key())
            .env_remove("MIG_CONFIG")
            .env_remove("MIG_CONTEXT")
            .env_remove("MIG_YES");
        Ok(command)
    }

    /// Waits until every agent is online, as an investigator would see it.
    async fn wait_for_agents(&self, programs: &mut [Background]) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let args = ["file", "-t", "status='online'", "--dry-run", "-path", "/etc"];
            let output = self.mig(self.bob, &args)?.output().await?;
            if String::from_utf8_lossy(&output.stdout).lines().count() == AGENTS.len() {
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
        let status = self.patiently(self.mig(person, args)?.status(), args).await?;
        ended(status, wanted, args)
    }

    /// What `run` gives; on a full disk servers may wait for ever.
    async fn patiently<T>(
        &self,
        run: impl Future<Output = std::io::Result<T>>,
        args: &[&str],
    ) -> anyhow::Result<T> {
        match tokio::time::timeout(self.patience, run).await {
            Ok(ended) => Ok(ended?),
            Err(_) => bail!("mig {} did not end within {:?}", typed(args), self.patience),
        }
    }

    /// Signs without launching; returns the file's name.
    async fn sign(&self, person: &Person, args: &[&str]) -> anyhow::Result<String> {
        let file = "signed.json";
        say(&format!("{}$ mig {} > {file}", person.name, typed(args)))?;
        let mut command = self.mig(person, args)?;
        let output = self.patiently(command.stderr(Stdio::inherit()).output(), args).await?;
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
