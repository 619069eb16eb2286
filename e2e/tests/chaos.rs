//! Every agent is accounted for: kill -9 of each part in the middle of an
//! action; the action still completes, with every result exactly once.

#![expect(clippy::print_stdout, reason = "figures are what a suite is run for")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mig_client::{ApiClient, ClientConfig, CommandQuery, SoftwareSigner};
use mig_runtime::clock::SystemClock;
use mig_testkit::{AgentOptions, Backends, TestPlatform, until_async};
use mig_types::{Acl, AclEntry, Action, ActionId, ActionStatus, CommandStatus};

/// Agents of each platform.
const AGENTS: usize = 3;

/// An action completes within this time after the last fault.
const COMPLETION: Duration = Duration::from_mins(2);

use Victim::{Agent, Api, Broker, Database, Scheduler, Servers};

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Servers,
    Scheduler,
    Api,
    Agent,
    Broker,
    Database,
}

/// Counts over all faults of one run.
#[derive(Debug, Default)]
struct Tally {
    faults: usize,
    lost: u64,
    doubled: u64,
    unaccounted: u64,
}

struct Bench {
    platform: TestPlatform,
    api: ApiClient,
    tree: String,
    tally: Tally,
}

impl Bench {
    fn start(mut platform: TestPlatform) -> anyhow::Result<Self> {
        let mut acl = Acl::default();
        let investigators = platform.investigators.iter().map(|person| person.weighing(1));
        acl.insert(
            "default",
            AclEntry { minimumweight: 1, investigators: investigators.collect() },
        );
        for number in 0..AGENTS {
            platform.start_agent(&AgentOptions {
                name: format!("agent{number}"),
                acl: acl.clone(),
                ..AgentOptions::default()
            })?;
        }
        platform.wait_agents(AGENTS)?;
        let tree = forest(platform.directory())?;
        let api = client(&platform)?;
        Ok(Self { platform, api, tree, tally: Tally::default() })
    }

    /// Launches a question that takes each agent a while.
    fn launch(&self) -> anyhow::Result<ActionId> {
        // The fault before may have silenced agents for a while.
        self.platform.wait_agents(AGENTS)?;
        let args = [
            "file",
            "--no-follow",
            "-t",
            "name like \'agent%\'",
            "-e",
            "100s",
            "-path",
            &self.tree,
            "-content",
            "n[eo]+dle[0-9]+$",
            "-sha2",
            &"0".repeat(64),
            "-matchany",
        ];
        let outcome = self.platform.mig("alice", &args)?;
        if outcome.code != Some(0) {
            bail!("launching: {outcome:#?}");
        }
        Ok(outcome.stdout.trim().parse()?)
    }

    async fn action(&self, id: ActionId) -> Option<Action> {
        self.api.action(id).await.ok()
    }

    /// Waits until the action is under way.
    async fn under_way(&self, id: ActionId) -> anyhow::Result<()> {
        until_async("the action to be under way", COMPLETION, || async {
            let action = self.action(id).await?;
            (action.counters.sent > 0).then_some(())
        })
        .await
    }

    /// Kills `victim` in the middle of an action and starts it again.
    async fn strike(&mut self, victim: Victim, delay: Duration) -> anyhow::Result<()> {
        let id = self.launch()?;
        if victim != Victim::Scheduler && victim != Victim::Servers {
            self.under_way(id).await?;
        }
        // Not a wait for a condition: the moment of the fault is the point,
        // and it differs from round to round.
        tokio::time::sleep(delay).await;
        self.kill(victim)?;
        self.tally.faults += 1;
        self.account(id).await.with_context(|| format!("after killing {victim:?}"))
    }

    fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        let server = |platform: &TestPlatform, name: &str| {
            let position = platform.servers.iter().position(|server| server.is(name));
            position.with_context(|| format!("no {name} runs"))
        };
        match victim {
            Victim::Servers => self.platform.kill9_servers(),
            Victim::Scheduler => {
                let at = server(&self.platform, "mig-scheduler")?;
                self.platform.servers.remove(at).kill9();
                self.platform.start_server("mig-scheduler", "scheduler.cfg")
            }
            Victim::Api => {
                let at = server(&self.platform, "mig-api")?;
                self.platform.servers.remove(at).kill9();
                self.platform.start_server("mig-api", "api.cfg")?;
                self.platform.wait_api()
            }
            Victim::Agent => {
                let agent = self.platform.agents.first_mut().context("no agent")?;
                agent.restart()
            }
            Victim::Broker | Victim::Database => {
                let Backends::Servers(servers) = &mut self.platform.backends else {
                    bail!("the embedded pair has no {victim:?}");
                };
                if victim == Victim::Broker {
                    servers.rabbitmq.kill9()?;
                    servers.rabbitmq.restart()
                } else {
                    servers.postgres.kill9()?;
                    servers.postgres.restart()
                }
            }
        }
    }

    /// Waits for the end of an action and counts what became of its commands.
    async fn account(&mut self, id: ActionId) -> anyhow::Result<()> {
        let action = until_async("the action to complete", COMPLETION, || async {
            let action = self.action(id).await?;
            action.status.is_some_and(ActionStatus::is_final).then_some(action)
        })
        .await;
        let action = match action {
            Ok(action) => action,
            Err(error) => {
                let now = self.action(id).await;
                return Err(error.context(format!("it stands at {now:?}")));
            }
        };
        let commands = self.api.commands(&CommandQuery::of(id)).await?;
        let mut agents: Vec<&str> =
            commands.iter().map(|command| command.agent.name.as_str()).collect();
        agents.sort_unstable();
        let rows = agents.len() as u64;
        agents.dedup();
        self.tally.doubled += rows - agents.len() as u64;
        self.tally.unaccounted += (AGENTS as u64).abs_diff(agents.len() as u64);
        let answered =
            commands.iter().filter(|command| command.status == CommandStatus::Success).count();
        self.tally.lost += (AGENTS - answered.min(AGENTS)) as u64;
        let counters = action.counters;
        if counters.sent != rows || counters.done != counters.sent {
            bail!("the counters do not add up: {counters:?} for {rows} commands");
        }
        if answered != AGENTS {
            let failed: Vec<String> = commands
                .iter()
                .filter(|command| command.status != CommandStatus::Success)
                .map(|command| {
                    format!("{} {} {:?}", command.agent.name, command.status, command.results)
                })
                .collect();
            bail!("not every agent answered: {failed:#?}");
        }
        Ok(())
    }

    fn verdict(self, name: &str) {
        let Tally { faults, lost, doubled, unaccounted } = self.tally;
        println!(
            "chaos on {name}: {faults} faults injected, {lost} results lost, {doubled} doubled, \
             {unaccounted} agents unaccounted"
        );
        assert_eq!((lost, doubled, unaccounted), (0, 0, 0));
        assert!(faults > 0);
    }
}

/// Enough files that a search takes a moment.
fn forest(directory: &Path) -> anyhow::Result<String> {
    let root = directory.join("forest");
    let line = "hay and more hay, nothing to see here 0123456789\n".repeat(400);
    for branch in 0..40 {
        let branch_dir = root.join(format!("branch{branch}"));
        std::fs::create_dir_all(&branch_dir)?;
        for leaf in 0..30 {
            let needle = if leaf == 7 { "neodle42\n" } else { "" };
            std::fs::write(branch_dir.join(format!("leaf{leaf}")), format!("{line}{needle}"))?;
        }
    }
    Ok(root.display().to_string())
}

fn client(platform: &TestPlatform) -> anyhow::Result<ApiClient> {
    let alice = platform.investigator("alice")?;
    let home = alice.home().display().to_string();
    let environment = move |name: &str| (name == "HOME").then(|| home.clone());
    let (config, _) = ClientConfig::load(&alice.home().join(".migrc"), &environment)?;
    let clock = std::sync::Arc::new(SystemClock);
    let signer = SoftwareSigner::load(&alice.secret_key_file(), clock.clone())?;
    let signer = std::sync::Arc::new(signer);
    Ok(ApiClient::new(&config, "chaos", "1", Some(signer), clock)?)
}

async fn rounds(bench: &mut Bench, victims: &[Victim]) -> anyhow::Result<()> {
    for (round, victim) in victims.iter().enumerate() {
        let delay = Duration::from_millis(37 * (round as u64 % 5));
        bench.strike(*victim, delay).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_on_the_embedded_pair_loses_and_doubles_nothing() {
    let mut bench = Bench::start(TestPlatform::embedded().unwrap()).unwrap();
    let victims = [Servers, Agent, Servers, Agent, Servers, Agent];
    rounds(&mut bench, &victims).await.unwrap();
    bench.verdict("the embedded pair");
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_on_postgresql_and_rabbitmq_loses_and_doubles_nothing() {
    let mut platform = TestPlatform::servers().unwrap();
    platform.add_scheduler().unwrap();
    let mut bench = Bench::start(platform).unwrap();
    let victims = [Scheduler, Agent, Broker, Database, Api, Scheduler, Database, Broker];
    rounds(&mut bench, &victims).await.unwrap();
    bench.verdict("PostgreSQL and RabbitMQ with two schedulers");
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_follower_survives_a_restart_of_the_server() {
    let mut bench = Bench::start(TestPlatform::embedded().unwrap()).unwrap();
    let args = ["file", "--strict", "-path", &bench.tree, "-content", "n[eo]+dle[0-9]+$"];
    let mut command = bench.platform.mig_command("alice", &args).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bench.platform.kill9_servers().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Either the question was posted before the fault, and then every answer
    // arrives, or the launch failed and says so.
    if output.status.success() {
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, AGENTS * 40, "{stderr}");
    } else {
        assert!(stderr.contains("error: "), "{stderr}");
    }
}
