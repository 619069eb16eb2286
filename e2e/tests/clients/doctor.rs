//! What `mig doctor` says when something is broken: the hop, the way out, and
//! the exit code.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mig_client::{ApiClient, ClientConfig, InvestigatorChange, SoftwareSigner};
use mig_e2e::operator::program;
use mig_runtime::clock::SystemClock;
use mig_types::{InvestigatorStatus, Permissions};
use serde_json::Value;

use super::Lab;
use super::crooked;

/// One thing that is broken, and what must be said about it.
struct Fault<'a> {
    what: &'a str,
    /// The configuration; `None` leaves the investigator's own.
    migrc: Option<String>,
    environment: Vec<(&'a str, String)>,
    args: Vec<&'a str>,
    hop: &'a str,
    code: i32,
    /// In the finding.
    says: &'a str,
    /// In the way out.
    hints: &'a str,
}

impl<'a> Fault<'a> {
    fn new(what: &'a str, (hop, code): (&'a str, i32), says: &'a str, hints: &'a str) -> Self {
        let (environment, args) = (Vec::new(), Vec::new());
        Self { what, migrc: None, environment, args, hop, code, says, hints }
    }

    fn migrc(mut self, text: impl Into<String>) -> Self {
        self.migrc = Some(text.into());
        self
    }

    /// Only the address of the API is another one.
    fn url(self, url: impl std::fmt::Display) -> Self {
        self.migrc(format!("[api]\nurl = \"{url}\"\n"))
    }

    fn env(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    fn args(mut self, args: &[&'a str]) -> Self {
        self.args.extend(args);
        self
    }
}

const CONFIG: (&str, i32) = ("config", 2);
const KEY: (&str, i32) = ("key", 3);
const NETWORK: (&str, i32) = ("network", 4);
const TLS: (&str, i32) = ("tls", 4);
const TOKEN: (&str, i32) = ("token", 3);
const PERMISSION: (&str, i32) = ("permission", 3);

impl Lab {
    /// Breaks one thing and asks the doctor, in both forms.
    fn diagnose(&self, who: &str, fault: &Fault<'_>) -> anyhow::Result<()> {
        let person = self.platform.investigator(who)?;
        let mut command = program("mig", self.platform.directory())?;
        command.arg("doctor").args(&fault.args);
        command.env("HOME", person.home()).env("MIG_SIGNING_KEY", person.secret_key_file());
        command.env_remove("MIG_CONFIG").env_remove("MIG_CONTEXT").env_remove("GNUPGHOME");
        if let Some(text) = &fault.migrc {
            let path = person.home().join("broken.migrc");
            fs::write(&path, text)?;
            command.arg("-c").arg(path);
        }
        for (name, value) in &fault.environment {
            match value.as_str() {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        let text = command.output()?;
        let json = command.arg("--json").output()?;
        let what = format!("{}: {text:#?} {json:#?}", fault.what);
        ensure!(text.status.code() == Some(fault.code), "exit code of {what}");
        ensure!(json.status.code() == Some(fault.code), "exit code of {what}");
        let document: Value = serde_json::from_slice(&json.stdout).context(what.clone())?;
        ensure!(document["broken"][0] == fault.hop, "hop of {what}");
        let findings = document["findings"].as_array().context(what.clone())?;
        let found = findings.iter().find(|one| one["state"] == "broken").context(what.clone())?;
        let says = found["text"].as_str().unwrap_or_default();
        ensure!(says.contains(fault.says), "finding of {what}");
        let hint = found["hint"].as_str().unwrap_or_default();
        ensure!(!hint.is_empty() && hint.contains(fault.hints), "hint of {what}");
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let line = format!("BROKEN  {}: ", fault.hop);
        ensure!(text.contains(&line) && text.contains("        hint: "), "{what}");
        ensure!(text.lines().last().unwrap_or_default().starts_with("broken: "), "{what}");
        Ok(())
    }

    pub(super) fn api_address(&self) -> anyhow::Result<SocketAddr> {
        let url = self.platform.api_url();
        let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        Ok(address.context("no address")?.parse()?)
    }

    /// Where the relay listens, which speaks TLS.
    fn relay_address(&self) -> anyhow::Result<SocketAddr> {
        let url = self.platform.relay_access()?.url;
        let port = url.trim_end_matches('/').rsplit(':').next().context("no port")?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
    }

    fn authority(&self) -> anyhow::Result<PathBuf> {
        self.platform.relay_access()?.ca.context("no authority")
    }
}

fn own(lab: &Lab) -> anyhow::Result<Vec<Fault<'static>>> {
    let url = lab.platform.api_url();
    let locked = lab.platform.directory().join("locked.asc");
    fs::write(&locked, "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END\n")?;
    let none = "/nonexistent/file";
    let key = "0123456789ABCDEF0123456789ABCDEF01234567";
    let with_key = format!("[api]\nurl = {url}\n[gpg]\nkeyid = {key}\n");
    Ok(vec![
        Fault::new("no configuration", CONFIG, "no configuration at", "mig config init")
            .args(&["-c", none]),
        Fault::new("a section is not closed", CONFIG, "broken.migrc:1:", "config check")
            .migrc("[api\nurl = http://h/\n"),
        Fault::new("a quote is left open", CONFIG, "broken.migrc:2:", "config check")
            .migrc("[api]\nurl = \"http://h/\n"),
        Fault::new("no address of the API", CONFIG, "api.url", "config check").migrc("[api]\n"),
        Fault::new("an address of another kind", CONFIG, "http://", "config check")
            .migrc("[api]\nurl = ftp://h/\n"),
        Fault::new("a macro without a target", CONFIG, "name:target", "config check")
            .migrc("[api]\nurl = http://h/\n[targets]\nmacro = x\n"),
        Fault::new("a directory in place of the file", CONFIG, "cannot be read", "config check")
            .args(&["-c", "/"]),
        Fault::new("no file with the passphrase", CONFIG, "MIGPGPPASSPHRASE_FILE", "config check")
            .env("MIGPGPPASSPHRASE_FILE", none),
        Fault::new("an API key that others read", CONFIG, "readable by others", "chmod 600")
            .migrc(format!("[api]\nurl = {url}\n[gpg]\nuseapikeyauth = {}\n", "k".repeat(32))),
        Fault::new("no key is configured", KEY, "no key to sign with", "gpg.keyid")
            .url(&url)
            .env("MIG_SIGNING_KEY", ""),
        Fault::new("the file of the key is missing", KEY, none, "MIG_SIGNING_KEY")
            .env("MIG_SIGNING_KEY", none),
        Fault::new("the file of the key is damaged", KEY, "secret key", "export it with gpg")
            .env("MIG_SIGNING_KEY", locked.display().to_string()),
        Fault::new("gpg is not installed", ("gpg", 3), "cannot start", "install GnuPG")
            .migrc(with_key)
            .env("MIG_SIGNING_KEY", "")
            .env("MIG_GPG", "/nonexistent/gpg"),
    ])
}

fn network(lab: &Lab) -> anyhow::Result<Vec<Fault<'static>>> {
    let (api, base) = (lab.api_address()?, "/api/v1/");
    let page = "Content-Type: text/html\r\n\r\n<html><h1>It works!</h1></html>";
    let welcome = crooked::canned("200 OK", page)?;
    let gateway = crooked::canned("502 Bad Gateway", "\r\n<html></html>")?;
    let moved = crooked::canned("301 Moved", "Location: https://mig.example.net/api/v1/\r\n\r\n")?;
    let login = crooked::canned("403 Forbidden", "\r\n")?;
    let silent = crooked::silent()?;
    Ok(vec![
        Fault::new("a name without an address", NETWORK, "cannot reach", "has no address")
            .url("http://no-such-host.invalid/api/v1/"),
        Fault::new("nobody listens", NETWORK, "cannot reach", "the API runs there")
            .url("http://127.0.0.1:1/api/v1/"),
        Fault::new("no answer", NETWORK, "did not answer within 1s", "firewalls")
            .url(format!("http://{silent}{base}"))
            .args(&["--timeout", "1s"]),
        Fault::new("a proxy that is not there", NETWORK, "cannot reach", "http_proxy is set")
            .url("http://mig.invalid/api/v1/")
            .env("http_proxy", "http://127.0.0.1:1"),
        Fault::new("the path is wrong", NETWORK, "404", "/api/v1/")
            .url(format!("http://{api}/api/v2/")),
        Fault::new("another web server", NETWORK, "cannot be read", "no MIG API answers")
            .url(format!("http://{welcome}{base}")),
        Fault::new("a proxy without an API", NETWORK, "502", "a proxy in front of the API")
            .url(format!("http://{gateway}{base}")),
        Fault::new("the API has moved", NETWORK, "301", "another address")
            .url(format!("http://{moved}{base}")),
        Fault::new("a proxy with a login", NETWORK, "403", "something of its own")
            .url(format!("http://{login}{base}")),
    ])
}

fn tls(lab: &Lab) -> anyhow::Result<Vec<Fault<'static>>> {
    let (api, relay) = (lab.api_address()?, lab.relay_address()?);
    let authority = lab.authority()?.display().to_string();
    let empty = lab.platform.directory().join("empty.pem");
    fs::write(&empty, "nothing here\n")?;
    let other = crooked::elsewhere(relay)?;
    let https = format!("https://localhost:{}/api/v1/", relay.port());
    Ok(vec![
        Fault::new("an authority of one's own", TLS, "UnknownIssuer", "MIG_CA_FILE").url(&https),
        Fault::new("a certificate for another host", TLS, "127.0.0.2", "use the name")
            .url(format!("https://{other}/api/v1/"))
            .env("MIG_CA_FILE", authority),
        Fault::new("no file with the authority", TLS, "/nonexistent", "MIG_CA_FILE")
            .env("MIG_CA_FILE", "/nonexistent/ca.pem"),
        Fault::new("no authority in the file", TLS, "no certificate", "MIG_CA_FILE")
            .env("MIG_CA_FILE", empty.display().to_string()),
        Fault::new("TLS where there is none", TLS, "cannot reach", "http://")
            .url(format!("https://{api}/api/v1/")),
        Fault::new("none where there is TLS", TLS, "cannot reach", "https://")
            .url(format!("http://{relay}/api/v1/")),
    ])
}

fn token(lab: &Lab) -> anyhow::Result<Vec<Fault<'static>>> {
    let api = lab.api_address()?;
    let stranger = mig_testkit::TestInvestigator::create("eve", lab.platform.directory())?;
    let late = crooked::between(api, crooked::unchanged, crooked::of_yesterday)?;
    let filter = crooked::between(api, crooked::without_token, crooked::unchanged)?;
    let key = stranger.secret_key_file().display().to_string();
    Ok(vec![
        Fault::new("clocks differ by years", ("clock", 3), "differs", "set the clock")
            .url(format!("http://{late}/api/v1/")),
        Fault::new(
            "a key that nobody knows",
            TOKEN,
            "is not an active investigator there",
            "create investigator",
        )
        .env("MIG_SIGNING_KEY", key),
        Fault::new("a wrong API key", TOKEN, "API key authentication failed", "administrator")
            .env("MIG_API_KEY", "w".repeat(32)),
        Fault::new("a proxy that drops the token", TOKEN, "header not found", "X-PGPAUTHORIZATION")
            .url(format!("http://{filter}/api/v1/")),
    ])
}

/// What only an administrator can break: bob's rights.
fn rights(lab: &Lab) -> anyhow::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (alice, clock) = (lab.platform.investigator("alice")?, Arc::new(SystemClock));
    let (config, _) = ClientConfig::load(&alice.home().join(".migrc"), &|_| None)?;
    let signer = Arc::new(SoftwareSigner::load(&alice.secret_key_file(), clock.clone())?);
    let admin = ApiClient::new(&config, "cmd", "1", Some(signer), clock)?;
    let everybody = runtime.block_on(admin.investigators())?;
    let bob = everybody.iter().find(|one| one.name == "bob").context("no bob")?;
    let change = |change| runtime.block_on(admin.update_investigator(bob.id, change));
    let without = |set: Permissions| {
        let rest = Permissions::ALL.bits() & !set.bits();
        change(InvestigatorChange::Permissions(Permissions::from_bits(rest)))
    };
    let mut faults = 0;
    let key = lab.platform.investigator("bob")?.fingerprint().to_string();
    let key = format!("key {}…{}", &key[..4], &key[36..]);
    let url = lab.platform.api_url();
    for (name, set) in [
        ("dashboard", Permissions::DASHBOARD),
        ("action_create", Permissions::ACTION_CREATE),
        ("search", Permissions::SEARCH),
    ] {
        without(set)?;
        lab.diagnose("bob", &Fault::new("a permission is missing", PERMISSION, name, "setperms"))?;
        faults += 1;
    }
    // What an order that needs it says.
    let told = format!("error: 401 from {url}search: {key} lacks the permission \"search\"\n");
    lab.expect(3, super::BOB, &["agents"], &[&told, "hint: mig doctor"])?;
    lab.expect(3, super::BOB, &["file", "-path", "/etc", "-name", "x"], &[&told])?;
    without(Permissions::NONE)?;
    change(InvestigatorChange::Status(InvestigatorStatus::Disabled))?;
    lab.diagnose(
        "bob",
        &Fault::new("disabled", TOKEN, "is not an active investigator there", "setstatus"),
    )?;
    let told = format!("error: 401 from {url}action: {key} is not an active investigator there, ");
    lab.expect(3, super::BOB, &["action", "1"], &[&told, "the permission \"action\": "])?;
    change(InvestigatorChange::Status(InvestigatorStatus::Active))?;
    Ok(faults + 1)
}

/// Every fault; how many there were.
pub(super) fn faults(lab: &Lab) -> anyhow::Result<usize> {
    let parts = [own(lab)?, network(lab)?, tls(lab)?, token(lab)?];
    let all: Vec<Fault<'_>> = parts.into_iter().flatten().collect();
    // All of them, so that one run tells everything.
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|fault| lab.diagnose("alice", fault).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(all.len() + rights(lab)?)
}

/// The generation of the API is named, its clock compared, whichever it is.
pub(super) fn generations(lab: &Lab) -> anyhow::Result<()> {
    let own = ["ok      network: the API is of this generation", "ok      clock: "];
    lab.expect(0, super::ALICE, &["doctor"], &own)?;
    for (has_keys, year) in [(true, "2019"), (false, "2016")] {
        let address = crooked::original(has_keys)?;
        let path = lab.file(&format!("original-{year}.migrc"));
        fs::write(&path, format!("[api]\nurl = \"http://{address}/api/v1/\"\n"))?;
        let told = format!("note    network: the API is the original of {year}: ");
        // It was recorded long ago.
        let clock = "BROKEN  clock: the clock here differs from the API's by ";
        lab.expect(3, super::ALICE, &["doctor", "-c", &path], &[&told, clock])?;
    }
    Ok(())
}
