//! A relay, an investigator and a real agent process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mig_relay::{Consumer, LocalRelay, Message, Relay as _, Role, Route, Source, WsAccount};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::canonical::action_string;
use mig_sign::sign::SecretKey;
use mig_types::{
    Action, Agent, Command, CommandId, ModuleResult, Operation, QueueLoc, Timestamp, wire,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The machine may be busy; a test that has to wait this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Waits until `check` gives something.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = check() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The network face of a relay, which can be shut and opened again.
pub(crate) struct Face {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Face {
    pub(crate) async fn open(relay: &LocalRelay, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accounts =
            vec![WsAccount { user: "agent".into(), password: "secret".into(), role: Role::Agent }];
        let (stop, stopped) = oneshot::channel();
        let relay = relay.clone();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            mig_relay::serve_ws(relay, listener, None, accounts, stopped).await.unwrap();
        });
        Self { address, stop: Some(stop), served }
    }

    pub(crate) async fn shut(mut self) -> SocketAddr {
        drop(self.stop.take());
        self.served.await.unwrap();
        self.address
    }
}

pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) relay: LocalRelay,
    pub(crate) face: Option<Face>,
    pub(crate) key: SecretKey,
    pub(crate) agent: Option<Child>,
    pub(crate) queueloc: String,
    heartbeats: Box<dyn Consumer>,
    results: Box<dyn Consumer>,
    ids: AtomicU64,
}

impl Stage {
    /// A relay and the files of an agent; `settings` go into `[agent]`.
    pub(crate) async fn set(settings: &str) -> Self {
        let relay = LocalRelay::memory().await.unwrap();
        relay.declare().await.unwrap();
        let face = Face::open(&relay, "127.0.0.1:0".parse().unwrap()).await;
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::generate_ed25519("alice <a@example.net>", now()).unwrap();
        let confdir = dir.path().join("conf");
        std::fs::create_dir_all(confdir.join("agentkeys")).unwrap();
        std::fs::write(confdir.join("agentkeys/alice.asc"), key.public_armored().unwrap()).unwrap();
        let alice = json!({ "fingerprint": key.fingerprint(), "weight": 1 });
        let acl = json!({
            "default": { "minimumweight": 1, "investigators": { "alice": alice } },
            "netstat": { "minimumweight": 2, "investigators": { "alice": alice } },
        });
        std::fs::write(confdir.join("acl.cfg"), acl.to_string()).unwrap();
        let config = format!(
            "[agent]\nrelay = \"ws://agent:secret@{}/\"\nsocket = \"\"\n\
             heartbeatfreq = \"300s\"\ntags = \"operator: it\"\n\
             rundir = \"{}\"\nconfdir = \"{}\"\n{settings}\n\
             [logging]\nmode = \"file\"\nlevel = \"debug\"\nfile = \"{}\"\n",
            face.address,
            dir.path().join("run").display(),
            confdir.display(),
            dir.path().join("agent.log").display(),
        );
        std::fs::write(dir.path().join("agent.cfg"), config).unwrap();
        let heartbeats = relay.consume(Source::Heartbeats, 10).await.unwrap();
        let results = relay.consume(Source::Results, 10).await.unwrap();
        Self {
            dir,
            relay,
            face: Some(face),
            key,
            agent: None,
            queueloc: String::new(),
            heartbeats,
            results,
            ids: AtomicU64::new(1),
        }
    }

    /// [`Stage::set`], and an agent that has sent its first heartbeat.
    pub(crate) async fn play(settings: &str) -> Self {
        let mut stage = Self::set(settings).await;
        stage.start();
        stage.heartbeat().await;
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        let config = self.path("agent.cfg");
        self.start_by(program().arg("-c").arg(config).arg("-f"));
    }

    /// Starts an agent in another way.
    pub(crate) fn start_by(&mut self, command: &mut tokio::process::Command) {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id().unwrap()
    }

    /// Ends the agent without warning.
    pub(crate) async fn kill9(&mut self) {
        self.agent.take().unwrap().kill().await.unwrap();
    }

    /// Asks the agent to end; its exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        signal(self.pid(), rustix::process::Signal::TERM);
        let mut agent = self.agent.take().unwrap();
        timeout(PATIENCE, agent.wait()).await.expect("the agent ends").unwrap().code()
    }

    /// The exit code of an agent that ends by itself.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut agent = self.agent.take().unwrap();
        timeout(PATIENCE, agent.wait()).await.expect("the agent ends").unwrap().code()
    }

    /// The next heartbeat; the agent's address is taken from it.
    pub(crate) async fn heartbeat(&mut self) -> Agent {
        let body = next(self.heartbeats.as_mut(), "a heartbeat").await;
        let agent: Agent = wire::from_slice(&body).unwrap();
        self.queueloc.clone_from(&agent.queueloc);
        agent
    }

    /// The next result.
    pub(crate) async fn result(&mut self) -> Command {
        self.result_within(PATIENCE).await
    }

    pub(crate) async fn result_within(&mut self, patience: Duration) -> Command {
        let body = next_within(self.results.as_mut(), patience, "a result").await;
        assert!(body.starts_with(b"{") && body.ends_with(b"}"));
        wire::from_slice(&body).unwrap()
    }

    /// An action signed by the investigator.
    pub(crate) fn action(&self, operations: Vec<Operation>) -> Action {
        let mut action = Action {
            name: format!("test {}", self.ids.fetch_add(1, Ordering::Relaxed)),
            target: format!("queueloc = '{}'", self.queueloc),
            validfrom: now() - Duration::from_mins(1),
            expireafter: now() + Duration::from_mins(30),
            operations: Some(operations),
            syntaxversion: 2,
            ..Action::default()
        };
        self.sign(&mut action);
        action
    }

    pub(crate) fn sign(&self, action: &mut Action) {
        let text = action_string(action).unwrap();
        action.pgpsignatures = vec![self.key.sign(&text, now()).unwrap()];
    }

    /// A command with the action, as the scheduler makes it.
    pub(crate) fn command(&self, action: Action) -> Command {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut command = Command {
            id: CommandId::new(id).unwrap(),
            results: Some(vec![ModuleResult::default(); action.operations().len()]),
            action,
            starttime: now(),
            ..Command::default()
        };
        command.agent.name = "the scheduler's name".into();
        command.agent.queueloc.clone_from(&self.queueloc);
        command.agent.pid = 4711;
        command
    }

    /// Puts bytes into the agent's queue.
    pub(crate) async fn send_bytes(&self, body: Vec<u8>) {
        let queueloc: QueueLoc = self.queueloc.parse().unwrap();
        let ttl = Duration::from_mins(10);
        let message = Message { route: Route::Agent(queueloc), body: body.into(), ttl };
        self.relay.publish(vec![message]).await.pop().unwrap().unwrap();
    }

    pub(crate) async fn send(&self, command: &Command) {
        self.send_bytes(wire::to_vec(command).unwrap()).await;
    }

    /// Sends an action's command and waits for its answer.
    pub(crate) async fn ask(&mut self, action: Action) -> Command {
        let command = self.command(action);
        self.send(&command).await;
        let result = self.result().await;
        assert_eq!(result.id, command.id);
        result
    }
}

async fn next(consumer: &mut dyn Consumer, what: &str) -> Vec<u8> {
    next_within(consumer, PATIENCE, what).await
}

async fn next_within(consumer: &mut dyn Consumer, patience: Duration, what: &str) -> Vec<u8> {
    let batch = timeout(patience, consumer.next_batch(1, Duration::ZERO)).await;
    let batch = batch.unwrap_or_else(|_| panic!("waited in vain: {what}")).unwrap();
    consumer.ack(&[batch[0].tag]).await.unwrap();
    batch[0].body.to_vec()
}

/// The agent's executable.
pub(crate) fn program() -> tokio::process::Command {
    tokio::process::Command::new(crate::AGENT)
}

/// Another program with nothing to read, killed with its handle.
pub(crate) fn run(program: &Path, args: &[&str]) -> Child {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(std::process::Stdio::piped()).kill_on_drop(true);
    // A test that starts a program at this moment holds a fresh copy open for
    // writing until that program runs.
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy
                    && std::time::Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            started => return started.unwrap(),
        }
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Processes that are children of `parent` and not just zombies.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| status(*pid).is_some_and(|(state, ppid)| ppid == parent && state != 'Z'))
        .collect()
}

/// Whether a process runs.
pub(crate) fn is_alive(pid: u32) -> bool {
    status(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

fn status(pid: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Looks for `name` below `path`.
pub(crate) fn by_name(path: &Path, name: &str) -> Operation {
    file(&json!({ "paths": [path], "names": [name] }))
}

/// Hashes a file, however long that takes.
pub(crate) fn by_hash(path: &Path) -> Operation {
    file(&json!({ "paths": [path], "sha2": ["00".repeat(32)] }))
}

fn file(search: &Value) -> Operation {
    let parameters = json!({ "searches": { "s": search } });
    Operation { module: "file".into(), parameters, ..Operation::default() }
}

/// A file that reads as zeros for hours and takes no space.
pub(crate) fn endless_file(path: &Path) {
    std::fs::File::create(path).unwrap().set_len(1 << 42).unwrap();
}

pub(crate) fn errors(result: &ModuleResult) -> String {
    result.errors.clone().unwrap_or_default().join("; ")
}
