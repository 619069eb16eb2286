//! The program `mig-swarm` against real platforms: what it promises about a
//! platform that keeps its promises, and about one that does not.

use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use mig_testkit::{PlatformOptions, TestPlatform, binary};
use serde_json::Value;

/// `mig-swarm run` as an agent of that platform, asking as alice.
#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn swarm(platform: &TestPlatform, args: &[&str]) -> anyhow::Result<Output> {
    let access = platform.relay_access()?;
    let alice = platform.investigator("alice")?;
    let mut command = Command::new(binary("mig-swarm")?);
    command
        .arg("run")
        .args(args)
        .env("MIG_SWARM_RELAY", &access.url)
        .env("HOME", alice.home())
        .env("MIG_SIGNING_KEY", alice.secret_key_file())
        .arg("--verify")
        .arg(alice.public_key_file())
        .env_remove("MIG_CONFIG")
        .stdin(Stdio::null());
    if let Some(ca) = &access.ca {
        command.arg("--ca").arg(ca);
    }
    if let Some((certificate, key)) = &access.certificate {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    Ok(command.output()?)
}

/// Agents that verify, take their time, fail and stay silent.
fn is_told_exactly(platform: &TestPlatform) -> anyhow::Result<()> {
    let args = [
        "--agents",
        "60",
        "--per-connection",
        "7",
        "--actions",
        "3",
        "--every",
        "100ms",
        "--delay",
        "0s..300ms",
        "--fail",
        "20%",
        "--lose",
        "10%",
        "--validity",
        "8s",
        "--json",
    ];
    let output = swarm(platform, &args)?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).context("no JSON")?;
    let number = |name: &str| report[name].as_u64().unwrap_or(u64::MAX);
    assert_eq!(number("commands"), 180, "{report}");
    assert_eq!(number("succeeded") + number("failed") + number("lost"), 180, "{report}");
    assert!(number("failed") > 0 && number("lost") > 0, "{report}");
    assert_eq!(report["audit"]["commands"], 180);
    assert_eq!(report["took"].as_array().map(Vec::len), Some(3));
    assert!(text.contains("60 agents ready"), "{text}");
    Ok(())
}

#[test]
fn a_swarm_on_rabbitmq_and_postgresql_is_accounted_for() -> anyhow::Result<()> {
    is_told_exactly(&TestPlatform::servers_with(PlatformOptions::crowd())?)
}

#[test]
fn a_swarm_on_the_built_in_relay_is_accounted_for() -> anyhow::Result<()> {
    is_told_exactly(&TestPlatform::embedded_with(PlatformOptions::crowd())?)
}

#[test]
fn a_platform_that_does_not_finish_in_time_fails_the_run() -> anyhow::Result<()> {
    let platform = TestPlatform::embedded_with(PlatformOptions::crowd())?;
    // Nobody answers, and the actions outlive the patience.
    let args = ["--agents", "5", "--actions", "1", "--lose", "100%", "--limit", "5s"];
    let output = swarm(&platform, &args)?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("5 agents unaccounted"), "{out}");
    assert!(err.contains("does not tell what the agents did"), "{err}");
    Ok(())
}

#[test]
fn a_plan_that_cannot_be_is_refused_at_once() -> anyhow::Result<()> {
    let platform = TestPlatform::embedded_with(PlatformOptions::crowd())?;
    for (args, reason) in [
        (["--agents", "0"], "between 1 and"),
        (["--name", "it's"], "it's"),
        (["--per-connection", "0"], "at least one agent"),
    ] {
        let output = swarm(&platform, &args)?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(reason), "{text}");
    }
    Ok(())
}
