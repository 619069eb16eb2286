//! Whoever owns the platform: the broker is theirs, so they put what they like
//! into an agent's queue and read what it answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use mig_relay::{Consumer, LocalRelay, Message, Relay, Role, Route, Source, WsAccount};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_runtime::random;
use mig_sign::canonical;
use mig_sign::sign::SecretKey;
use mig_testkit::{AgentOptions, RelayAccess, TestAgent, TestInvestigator};
use mig_types::{
    Acl, AclEntry, Action, Agent, Command, CommandStatus, IdGenerator, ModuleResult, Operation,
    QueueLoc, Timestamp, wire,
};
use serde_json::json;

/// An answer arrives within this time, on a busy machine too.
const ANSWER: Duration = Duration::from_secs(40);

/// A real agent, and a platform that wishes it ill.
pub struct Attacker {
    pub agent: TestAgent,
    pub queueloc: QueueLoc,
    pub alice: TestInvestigator,
    pub bob: TestInvestigator,
    relay: Arc<dyn Relay>,
    results: Box<dyn Consumer>,
    ids: IdGenerator,
    marker: tempfile::TempDir,
}

/// A relay of the attacker's choice, with the address agents use.
pub struct AttackersRelay {
    pub relay: Arc<dyn Relay>,
    pub access: RelayAccess,
}

impl AttackersRelay {
    /// The built-in relay, served over WebSocket in this process.
    pub async fn built_in() -> anyhow::Result<Self> {
        let relay = LocalRelay::memory().await?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let account =
            WsAccount { user: "agent".into(), password: "agent".into(), role: Role::Agent };
        let served = relay.clone();
        tokio::spawn(async move {
            mig_relay::serve_ws(served, listener, None, vec![account], std::future::pending()).await
        });
        let access = RelayAccess {
            url: format!("ws://agent:agent@127.0.0.1:{port}/"),
            ca: None,
            certificate: None,
        };
        Ok(Self { relay: Arc::new(relay), access })
    }
}

impl Attacker {
    /// Starts an agent on the attacker's relay. It trusts `alice` and `bob`
    /// (weight 1 each) and the keys in `more`; `netstat` takes weight 2.
    pub async fn start(
        name: &str,
        relay: AttackersRelay,
        scratch: &Path,
        more: &[&TestInvestigator],
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        Self::set_up(AgentOptions::default(), name, relay, scratch, more, settings).await
    }

    /// [`Attacker::start`] with an agent that writes no log of what it does.
    pub async fn start_quiet(
        name: &str,
        relay: AttackersRelay,
        scratch: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let options = AgentOptions { is_quiet: true, ..AgentOptions::default() };
        Self::set_up(options, name, relay, scratch, &[], settings).await
    }

    /// [`Attacker::start`] with another program in the place of the agent.
    pub async fn start_program(
        program: &Path,
        name: &str,
        relay: AttackersRelay,
        scratch: &Path,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let options = AgentOptions { program: Some(program.into()), ..AgentOptions::default() };
        Self::set_up(options, name, relay, scratch, &[], settings).await
    }

    async fn set_up(
        options: AgentOptions,
        name: &str,
        relay: AttackersRelay,
        scratch: &Path,
        more: &[&TestInvestigator],
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let AttackersRelay { relay, access } = relay;
        relay.declare().await?;
        let results = relay.consume(Source::Results, 64).await?;
        let alice = TestInvestigator::create(&format!("{name}-alice"), scratch)?;
        let bob = TestInvestigator::create(&format!("{name}-bob"), scratch)?;
        let mut keys = vec![&alice, &bob];
        keys.extend(more);
        let options = AgentOptions {
            name: name.to_owned(),
            tags: vec![("operator".to_owned(), "lab".to_owned())],
            acl: acl(&keys),
            settings: settings.iter().map(|line| (*line).to_owned()).collect(),
            ..options
        };
        let api = "http://127.0.0.1:9/api/v1/";
        let agent = TestAgent::start(&options, &keys, &access, api, scratch)?;
        let queueloc = agent.queueloc()?;
        let marker = tempfile::Builder::new().prefix("marker").tempdir_in(scratch)?;
        std::fs::write(marker.path().join("marker"), "root was here\n")?;
        let ids = IdGenerator::new(random::u64());
        Ok(Self { agent, queueloc, alice, bob, relay, results, ids, marker })
    }

    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The file whose finding proves that the module ran.
    pub fn marker(&self) -> std::path::PathBuf {
        self.marker.path().join("marker")
    }

    /// The harmless question every case starts from, unsigned.
    pub fn question(&self) -> Action {
        let now = self.now();
        // The random name makes every action another one.
        Action {
            id: self.ids.action(now),
            name: format!("file {}", random::alphanumeric(12)),
            target: "status='online'".to_owned(),
            validfrom: now - Duration::from_mins(1),
            expireafter: now + Duration::from_mins(10),
            operations: Some(vec![self.search()]),
            syntaxversion: 2,
            ..Action::default()
        }
    }

    /// An operation that finds the marker.
    pub fn search(&self) -> Operation {
        let path = self.marker.path().display().to_string();
        Operation {
            module: "file".to_owned(),
            parameters: json!({ "searches": { "s1": {
                "paths": [path], "names": ["^marker$"], "options": { "matchall": true }
            } } }),
            ..Operation::default()
        }
    }

    /// The question, signed by `alice`.
    pub fn signed(&self) -> anyhow::Result<Action> {
        let mut action = self.question();
        sign(&mut action, &self.alice.key, self.now())?;
        Ok(action)
    }

    /// The command a scheduler would make of an action.
    pub fn command(&self, action: Action) -> Command {
        let now = self.now();
        let results = vec![ModuleResult::default(); action.operations().len()];
        Command {
            id: self.ids.command(now),
            action,
            agent: Agent {
                id: self.ids.agent(now),
                name: self.agent.name().to_owned(),
                queueloc: self.queueloc.to_string(),
                pid: i64::from(self.agent.process.pid()),
                ..Agent::default()
            },
            status: CommandStatus::Sent,
            results: Some(results),
            starttime: now,
            finishtime: Timestamp::ZERO,
        }
    }

    /// Puts bytes into the agent's queue.
    pub async fn inject(&self, body: Vec<u8>) -> anyhow::Result<()> {
        let message = Message {
            route: Route::Agent(self.queueloc.clone()),
            body: Bytes::from(body),
            ttl: Duration::from_mins(10),
        };
        mig_testkit::until_async("the agent's queue", ANSWER, || async {
            match self.relay.publish(vec![message.clone()]).await.pop() {
                Some(Ok(())) => Some(()),
                _ => None,
            }
        })
        .await
    }

    /// The agent's answer to the command with that id.
    pub async fn answer(&mut self, id: mig_types::CommandId) -> anyhow::Result<Command> {
        let deadline = tokio::time::Instant::now() + ANSWER;
        loop {
            let batch = self.results.next_batch(16, Duration::ZERO);
            let deliveries =
                tokio::time::timeout_at(deadline, batch).await.with_context(|| {
                    format!(
                        "no answer to command {id}; the agent says:\n{}",
                        self.agent.process.log()
                    )
                })??;
            let tags: Vec<u64> = deliveries.iter().map(|delivery| delivery.tag).collect();
            self.results.ack(&tags).await?;
            for delivery in deliveries {
                let command: Command = wire::from_slice(&delivery.body)?;
                if command.id == id {
                    return Ok(command);
                }
            }
        }
    }

    /// Whatever answers arrive until then.
    pub async fn answers(&mut self, until: tokio::time::Instant) -> anyhow::Result<Vec<Command>> {
        let mut answers = Vec::new();
        loop {
            let batch = self.results.next_batch(64, Duration::ZERO);
            let Ok(deliveries) = tokio::time::timeout_at(until, batch).await else {
                return Ok(answers);
            };
            let deliveries = deliveries?;
            let tags: Vec<u64> = deliveries.iter().map(|delivery| delivery.tag).collect();
            self.results.ack(&tags).await?;
            for delivery in deliveries {
                answers.push(wire::from_slice(&delivery.body)?);
            }
        }
    }

    /// Sends a command and returns the answer.
    pub async fn ask(&mut self, command: &Command) -> anyhow::Result<Command> {
        self.inject(wire::to_vec(command)?).await?;
        self.answer(command.id).await
    }

    /// Proves that the agent still does what it is properly asked.
    pub async fn control(&mut self) -> anyhow::Result<()> {
        let command = self.command(self.signed()?);
        let answer = self.ask(&command).await?;
        if !executed(&answer) {
            bail!("the agent refuses a proper action: {:?}", answer.results);
        }
        Ok(())
    }
}

/// Everybody weighs 1; `netstat` takes two.
fn acl(people: &[&TestInvestigator]) -> Acl {
    let entry = |minimumweight| AclEntry {
        minimumweight,
        investigators: people.iter().map(|person| person.weighing(1)).collect(),
    };
    let mut acl = Acl::default();
    acl.insert("default", entry(1));
    acl.insert("netstat", entry(2));
    acl
}

/// Adds a signature over the action as it stands.
pub fn sign(action: &mut Action, key: &SecretKey, now: Timestamp) -> anyhow::Result<()> {
    let text = canonical::action_string(action)?;
    action.pgpsignatures.push(key.sign(&text, now)?);
    Ok(())
}

/// Whether any module ran: only a run sets `success` or finds anything.
pub fn executed(answer: &Command) -> bool {
    answer.status == CommandStatus::Success
        || answer.results.iter().flatten().any(|result| result.success || result.foundanything)
}

/// All reasons in an answer.
pub fn reasons(answer: &Command) -> String {
    let errors = answer.results.iter().flatten().filter_map(|result| result.errors.as_ref());
    errors.flatten().cloned().collect::<Vec<_>>().join(" | ")
}
