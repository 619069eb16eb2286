//! An agent that carries everything, on PostgreSQL and RabbitMQ over TLS with
//! client certificates.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_testkit::{Managed, TestPlatform, binary, until};
use mig_types::{Acl, AclEntry, wire};

/// What administrators have before they pack an agent.
fn ingredients(platform: &TestPlatform, folder: &Path) -> anyhow::Result<()> {
    let access = platform.relay_access()?;
    let (cert, key) = access.certificate.context("the relay wants client certificates")?;
    fs::create_dir_all(folder.join("keys"))?;
    fs::copy(access.ca.context("the relay has an authority")?, folder.join("ca.crt"))?;
    fs::copy(cert, folder.join("agent.crt"))?;
    fs::copy(key, folder.join("agent.key"))?;
    let mut acl = Acl::default();
    let investigators = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    fs::write(folder.join("acl.cfg"), wire::to_vec(&acl)?)?;
    for person in &platform.investigators {
        fs::copy(person.public_key_file(), folder.join("keys").join(&person.name))?;
    }
    let rundir = platform.directory().join("packed-run");
    let text = format!(
        "[agent]\nrelay = \"{}\"\napi = \"{}\"\nsocket = \"\"\nheartbeatfreq = \"2s\"\n\
         hostname = \"packed1\"\nrundir = \"{}\"\nconfdir = \"{}\"\n\
         [certs]\nca = ca.crt\ncert = agent.crt\nkey = agent.key\n\
         [embed]\nacl = acl.cfg\nkeys = keys\n",
        access.url,
        platform.api_url(),
        rundir.display(),
        rundir.display(),
    );
    Ok(fs::write(folder.join("agent.cfg"), text)?)
}

#[test]
fn a_packed_agent_needs_nothing_but_itself() -> anyhow::Result<()> {
    let platform = TestPlatform::servers()?;
    let folder = platform.directory().join("packing");
    ingredients(&platform, &folder)?;
    let (config, copy) = (folder.join("agent.cfg"), platform.directory().join("mig-agent-packed"));
    let (config, out) = (config.to_str().context("text")?, copy.to_str().context("text")?);
    let agent = binary("mig-agent")?;
    let mut packing = Managed::start(
        "packing",
        &agent,
        &["-embed", config, "-out", out],
        &[],
        platform.directory(),
    )?;
    until("the packing", Duration::from_mins(1), || (!packing.is_running()).then_some(()))?;
    ensure!(packing.terminate(Duration::ZERO)?.success(), "{}", packing.log());
    // Gone, as on an endpoint that never had it.
    fs::remove_dir_all(&folder)?;
    let empty = platform.directory().join("empty.cfg");
    fs::write(&empty, "")?;
    let empty = empty.to_str().context("text")?;
    let mut packed =
        Managed::start("packed", &copy, &["-c", empty, "-d"], &[], platform.directory())?;
    platform.wait_agents(1).with_context(|| packed.log())?;
    let evidence = platform.directory().join("evidence");
    fs::create_dir_all(&evidence)?;
    fs::write(evidence.join("passwd"), "root\n")?;
    let path = evidence.to_str().context("text")?;
    let answer = platform.mig("alice", &["file", "-path", path, "-name", "^passwd$"])?;
    ensure!(answer.code == Some(0), "{answer:#?}");
    ensure!(answer.stdout.starts_with(&format!("packed1 {path}/passwd ")), "{answer:#?}");
    ensure!(packed.terminate(Duration::from_secs(30))?.success());
    Ok(())
}
