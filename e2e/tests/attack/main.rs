//! Take our server; you still cannot run anything.
//!
//! The attacker owns broker, database and API: every message a real agent
//! process receives here was written by them. Each case must be refused, with a
//! reason the investigator can read, and a proper action must still work
//! before and after.

#![expect(clippy::print_stdout, reason = "figures are what a suite is run for")]

mod crafted;
mod replayed;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons};
use mig_relay::RelayConfig;
use mig_testkit::{RelayAccess, TestInvestigator};
use mig_types::wire;

/// What a suite tried and what went wrong.
#[derive(Default)]
pub(crate) struct Score {
    tried: usize,
    executions: Vec<String>,
    silent: Vec<String>,
}

impl Score {
    /// Notes a case: it must not have run, and must say why.
    pub(crate) fn note(&mut self, case: &str, ran: bool, reasons: &str, wanted: &str) {
        self.tried += 1;
        if ran {
            self.executions.push(case.to_owned());
        } else if !reasons.contains(wanted) {
            self.silent.push(format!("{case}: {reasons:?} does not say {wanted:?}"));
        }
    }

    fn verdict(self, relay: &str) {
        let Self { tried, executions, silent } = self;
        println!(
            "attack over {relay}: {tried} cases tried, {} unauthorised executions, {} refusals \
             without their reason",
            executions.len(),
            silent.len()
        );
        assert!(executions.is_empty() && silent.is_empty(), "{executions:#?} {silent:#?}");
        assert!(tried >= 65, "only {tried} cases");
    }
}

async fn suite(relay: AttackersRelay, name: &str) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let outsider = TestInvestigator::create("mallory", scratch.path())?;
    let mut attacker = Attacker::start(name, relay, scratch.path(), &[], &[]).await?;
    let mut score = Score::default();

    attacker.control().await.context("before the attack")?;
    for case in crafted::cases() {
        let command = (case.craft)(&attacker, &outsider)?;
        let answer = attacker.ask(&command).await.with_context(|| case.name)?;
        score.note(case.name, executed(&answer), &reasons(&answer), case.reason);
    }
    crafted::floods(&mut attacker, &mut score).await?;
    replayed::suite(&mut attacker, &mut score).await?;
    attacker.control().await.context("after the attack")?;
    score.verdict(name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_over_the_built_in_relay_runs_nothing() {
    Box::pin(suite(AttackersRelay::built_in().await.unwrap(), "built-in")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_over_rabbitmq_runs_nothing() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(address), Some(agents), Some(ca), Some(certificate), Some(key)) = (
        variable("MIG_TEST_AMQP_URL"),
        variable("MIG_TEST_AMQP_AGENT_URL"),
        variable("MIG_TEST_AMQP_CA"),
        variable("MIG_TEST_AMQP_CERT"),
        variable("MIG_TEST_AMQP_KEY"),
    ) else {
        println!("skipped: MIG_TEST_AMQP_URL is not set");
        return;
    };
    let config = RelayConfig {
        ca_pem: Some(std::fs::read(&ca).unwrap()),
        cert_pem: Some(std::fs::read(&certificate).unwrap()),
        key_pem: Some(std::fs::read(&key).unwrap()),
        heartbeat: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ..RelayConfig::new(address)
    };
    let relay = mig_relay::connect(&config).await.unwrap();
    let access = RelayAccess {
        url: agents,
        ca: Some(ca.into()),
        certificate: Some((certificate.into(), key.into())),
    };
    Box::pin(suite(AttackersRelay { relay, access }, "rabbitmq")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_on_an_agent_that_refuses_what_it_cannot_verify() {
    let scratch = tempfile::tempdir().unwrap();
    let relay = AttackersRelay::built_in().await.unwrap();
    let settings = ["unverifiabletargets = deny"];
    let mut attacker =
        Attacker::start("strict", relay, scratch.path(), &[], &settings).await.unwrap();
    let answer = attacker.ask(&attacker.command(attacker.signed().unwrap())).await.unwrap();
    assert!(!executed(&answer), "a target on `status` cannot be verified");
    assert!(reasons(&answer).contains("target"), "{}", reasons(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_with_mutations_runs_the_signed_action_at_most() {
    // The exhaustive run is a property of the verification itself; this sample
    // shows that the agent process is the same code.
    let scratch = tempfile::tempdir().unwrap();
    let relay = AttackersRelay::built_in().await.unwrap();
    let mut attacker = Attacker::start("mutant", relay, scratch.path(), &[], &[]).await.unwrap();
    let proper = wire::to_vec(&attacker.command(attacker.signed().unwrap())).unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..400 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut mutant = proper.clone();
        let at = usize::try_from(seed >> 32).unwrap() % mutant.len();
        mutant[at] ^= 1 << (seed & 7);
        attacker.inject(mutant).await.unwrap();
    }
    // The queue is in order: once this is answered, all mutants were looked at.
    attacker.control().await.unwrap();
    let accepted = attacker.agent.process.log().matches("action accepted").count();
    let answered = Arc::new(accepted);
    // Mutations outside the signed parts (ids, times of the command) may pass;
    // none may change what runs: every accepted action is the signed one, run
    // once, and the control.
    assert!(*answered <= 2, "{answered} different actions were accepted");
}
