//! Investigators' real `gpg`: what it signs properly runs, from the command
//! line to the agent, and what a bad key of it signs does not.

#![expect(clippy::print_stdout, reason = "the figures, and that a test was skipped")]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons};
use mig_e2e::gnupg::{GnuPg, faked};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::{canonical, oneline};
use mig_testkit::{AgentOptions, Outcome, TestInvestigator, TestPlatform, binary};
use mig_types::{Acl, AclEntry, AclInvestigator, Action, Command, Fingerprint, Operation, wire};
use serde_json::json;

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

/// `None`, with a word about it, where `gpg` is not installed.
fn gnupg() -> anyhow::Result<Option<GnuPg>> {
    let gpg = GnuPg::new()?;
    if gpg.is_none() {
        println!("skipped: gpg is not installed");
    }
    Ok(gpg)
}

/// The options that make gpg believe it is `ago` before now.
fn ago(ago: Duration) -> String {
    faked(SystemClock.now() - ago)
}

/// One signature: by whom, how, and what the agent must say. Without a reason
/// it must be accepted.
struct Case {
    name: &'static str,
    reason: Option<&'static str>,
    /// The value of `--local-user`.
    signer: String,
    options: Vec<String>,
}

/// Keys of people, and the copies of them agents were given.
struct Cast<'a> {
    /// Where people sign, with keys that gpg itself thinks are good.
    own: GnuPg,
    /// Where the copies for agents are made.
    office: GnuPg,
    scratch: &'a Path,
    people: Vec<TestInvestigator>,
    cases: Vec<Case>,
}

impl Cast<'_> {
    fn trust(&mut self, name: &str, key: &Fingerprint, public: &str) -> anyhow::Result<()> {
        let secret = self.own.secret(key)?;
        self.people.push(TestInvestigator::from_parts(name, self.scratch, public, &secret)?);
        Ok(())
    }

    fn case(
        &mut self,
        name: &'static str,
        reason: &'static str,
        signer: &Fingerprint,
        options: &[&str],
    ) {
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        // The mark: this very key and no other of the certificate.
        let signer = format!("{signer}!");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        self.cases.push(Case { name, reason, signer, options });
    }

    /// Keys in order: they may sign, but not in every way.
    fn good(&mut self) -> anyhow::Result<()> {
        let made = ago(HOUR);
        let rsa = self.own.generate("rsa", ["rsa3072", "sign", "never"], &[&made])?;
        self.trust("rsa", &rsa, &self.own.public(&rsa)?)?;
        let edwards = self.own.generate("edwards", ["ed25519", "sign", "1y"], &[&made])?;
        self.trust("edwards", &edwards, &self.own.public(&edwards)?)?;
        let owner = self.own.generate("owner", ["rsa2048", "cert", "never"], &[&made])?;
        let sub = self.own.add_subkey(&owner, ["rsa2048", "sign", "never"], &[&made])?;
        self.trust("owner", &owner, &self.own.public(&owner)?)?;
        self.case("RSA 3072", "", &rsa, &[]);
        self.case("RSA 3072 with SHA-512", "", &rsa, &["--digest-algo", "SHA512"]);
        self.case("Ed25519", "", &edwards, &[]);
        self.case("a signing subkey", "", &sub, &[]);

        for (name, hash) in
            [("hash SHA-1", "SHA1"), ("hash RIPEMD-160", "RIPEMD160"), ("hash SHA-224", "SHA224")]
        {
            self.case(name, "SHA-256 or better is required", &rsa, &["--digest-algo", hash]);
        }
        let critical = ["--sig-notation", "!x@example.net=y"];
        self.case("a critical notation", "is not understood", &rsa, &critical);
        let earlier = ago(HOUR / 2);
        let lapsed = ["--default-sig-expire", "seconds=60", &earlier];
        self.case("a signature that lapsed", "has expired", &rsa, &lapsed);
        let tomorrow = faked(SystemClock.now() + DAY);
        self.case("a signature of tomorrow", "dated in the future", &edwards, &[&tomorrow]);
        let before = ago(2 * HOUR);
        let before = [&before, "--ignore-time-conflict"];
        self.case("older than its key", "before the key was made", &rsa, &before);

        let stranger = self.own.generate("stranger", ["rsa3072", "sign", "never"], &[&made])?;
        self.case("a stranger", "signature made by unknown entity", &stranger, &[]);
        Ok(())
    }

    /// Keys that are not good any more.
    fn gone(&mut self) -> anyhow::Result<()> {
        let (old, made) = (ago(2 * DAY), ago(HOUR));
        let expired = self.own.generate("expired", ["rsa2048", "sign", "1d"], &[&old])?;
        let copy = self.own.public(&expired)?;
        // The owner lengthened its life and told nobody: gpg signs.
        self.own.run(&["--quick-set-expire", expired.as_str(), "0"], b"")?;
        self.trust("expired", &expired, &copy)?;
        self.case("an expired key", "had expired when it signed", &expired, &[]);

        let revoked = self.own.generate("revoked", ["rsa2048", "sign", "never"], &[&old])?;
        self.office.import(&self.own.public(&revoked)?)?;
        self.office.import(&self.own.revocation(&revoked)?)?;
        self.trust("revoked", &revoked, &self.office.public(&revoked)?)?;
        self.case("a revoked key", "is revoked", &revoked, &[]);
        let earlier = ago(DAY);
        self.case("a revoked key, dated back", "is revoked", &revoked, &[&earlier]);

        let certifier = self.own.generate("certifier", ["ed25519", "sign", "never"], &[&made])?;
        let copy = self.edited(&certifier, "change-usage\ns\nq\nsave\n")?;
        self.trust("certifier", &certifier, &copy)?;
        self.case("a key that only certifies", "not allowed to sign", &certifier, &[]);
        Ok(())
    }

    /// Subkeys of good keys that are not good, or that nobody knows.
    fn subkeys(&mut self) -> anyhow::Result<()> {
        let (old, made) = (ago(2 * DAY), ago(HOUR));
        for (name, case, reason, answers) in [
            ("login", "a subkey for logins", "not allowed to sign", "change-usage\ns\na\nq\n"),
            ("lost", "a revoked subkey", "is revoked", "revkey\ny\n0\n\ny\n"),
        ] {
            let owner = self.own.generate(name, ["ed25519", "cert", "never"], &[&made])?;
            let sub = self.own.add_subkey(&owner, ["ed25519", "sign", "never"], &[&made])?;
            let copy = self.edited(&owner, &format!("key 1\n{answers}save\n"))?;
            self.trust(name, &owner, &copy)?;
            self.case(case, reason, &sub, &[]);
        }
        let owner = self.own.generate("yearly", ["ed25519", "cert", "never"], &[&old])?;
        let sub = self.own.add_subkey(&owner, ["ed25519", "sign", "1d"], &[&old])?;
        let copy = self.own.public(&owner)?;
        self.own.run(&["--quick-set-expire", owner.as_str(), "0", sub.as_str()], b"")?;
        self.trust("yearly", &owner, &copy)?;
        self.case("an expired subkey", "had expired when it signed", &sub, &[]);

        let owner = self.own.generate("twice", ["ed25519", "sign", "never"], &[&made])?;
        let copy = self.own.public(&owner)?;
        let sub = self.own.add_subkey(&owner, ["ed25519", "sign", "never"], &[&made])?;
        self.trust("renewed", &owner, &copy)?;
        self.case("a subkey agents do not know", "signature made by unknown entity", &sub, &[]);
        Ok(())
    }

    /// The public key after somebody with the secret one changed it.
    fn edited(&self, key: &Fingerprint, answers: &str) -> anyhow::Result<String> {
        self.office.import(&self.own.secret(key)?)?;
        self.office.edit(key, answers)?;
        self.office.public(key)
    }

    fn signature(&self, action: &Action, case: &Case) -> anyhow::Result<String> {
        let text = canonical::action_string(action)?;
        let options: Vec<&str> = case.options.iter().map(String::as_str).collect();
        self.own.sign(&text, &case.signer, &options).context(case.name)
    }

    fn command(&self, attacker: &Attacker, case: &Case) -> anyhow::Result<Command> {
        let mut action = attacker.question();
        action.pgpsignatures = vec![self.signature(&action, case)?];
        Ok(attacker.command(action))
    }
}

/// What the agent did with the cases.
#[derive(Default)]
struct Score {
    tried: usize,
    executions: Vec<String>,
    wrong: Vec<String>,
}

impl Score {
    fn refused(&mut self, name: &str, answer: &Command, reason: &str) {
        self.tried += 1;
        if executed(answer) {
            self.executions.push(name.to_owned());
        } else if !reasons(answer).contains(reason) {
            self.wrong.push(format!("{name}: {:?} does not say {reason:?}", reasons(answer)));
        }
    }
}

/// Actions with two signatures and a signature in another place.
async fn combinations(
    cast: &Cast<'_>,
    attacker: &mut Attacker,
    score: &mut Score,
) -> anyhow::Result<()> {
    let named = |name: &str| {
        let found = cast.cases.iter().find(|case| case.name == name);
        found.with_context(|| format!("no case {name}"))
    };
    let good = named("RSA 3072")?;
    for (name, reason) in [("a revoked key", "is revoked"), ("hash SHA-1", "SHA-256 or better")] {
        let mut action = attacker.question();
        let pair = [cast.signature(&action, good)?, cast.signature(&action, named(name)?)?];
        action.pgpsignatures = pair.into();
        let answer = attacker.ask(&attacker.command(action)).await?;
        score.refused(&format!("a good key and {name}"), &answer, reason);
    }

    let mut action = attacker.question();
    action.pgpsignatures = vec![cast.signature(&attacker.question(), good)?];
    let answer = attacker.ask(&attacker.command(action)).await?;
    score.refused("a signature of another action", &answer, "does not match what was signed");

    // Not detached: gpg wraps the text it signed.
    let mut action = attacker.question();
    let text = canonical::action_string(&action)?;
    let arguments = ["--compress-algo", "none", "--sign", "--local-user", &good.signer];
    action.pgpsignatures = vec![oneline::from_binary(&cast.own.run(&arguments, &text)?)];
    let answer = attacker.ask(&attacker.command(action)).await?;
    score.refused("a signed message", &answer, "not a signature");
    Ok(())
}

/// Primary key and subkey of one person, where two people are needed.
async fn one_person_twice(
    gpg: &GnuPg,
    keys: [&Fingerprint; 2],
    attacker: &mut Attacker,
    score: &mut Score,
) -> anyhow::Result<()> {
    let mut action = attacker.question();
    action.operations = Some(vec![Operation {
        module: "netstat".to_owned(),
        parameters: json!({ "listeningport": ["65535"] }),
        ..Operation::default()
    }]);
    let text = canonical::action_string(&action)?;
    let sign = |key: &Fingerprint| gpg.sign(&text, &format!("{key}!"), &[]);
    action.pgpsignatures = keys.into_iter().map(sign).collect::<Result<_, _>>()?;
    let answer = attacker.ask(&attacker.command(action)).await?;
    score.refused("one person's key and subkey", &answer, "signed more than once by key");
    Ok(())
}

async fn attack(own: GnuPg, office: GnuPg) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut cast =
        Cast { own, office, scratch: scratch.path(), people: Vec::new(), cases: Vec::new() };
    cast.good()?;
    cast.gone()?;
    cast.subkeys()?;
    let made = ago(HOUR);
    let both = cast.own.generate("both", ["ed25519", "sign", "never"], &[&made])?;
    let sub = cast.own.add_subkey(&both, ["ed25519", "sign", "never"], &[&made])?;
    cast.trust("both", &both, &cast.own.public(&both)?)?;

    let relay = AttackersRelay::built_in().await?;
    let people: Vec<&TestInvestigator> = cast.people.iter().collect();
    let mut attacker = Attacker::start("gnupg", relay, scratch.path(), &people, &[]).await?;
    let mut score = Score::default();
    for case in &cast.cases {
        let command = cast.command(&attacker, case)?;
        let answer = attacker.ask(&command).await.context(case.name)?;
        match case.reason {
            Some(reason) => score.refused(case.name, &answer, reason),
            None => ensure!(executed(&answer), "{}: {}", case.name, reasons(&answer)),
        }
    }
    combinations(&cast, &mut attacker, &mut score).await?;
    one_person_twice(&cast.own, [&both, &sub], &mut attacker, &mut score).await?;
    attacker.control().await.context("after the attack")?;

    let Score { tried, executions, wrong } = score;
    println!(
        "attack with GnuPG keys: {tried} cases tried, {} unauthorised executions",
        executions.len()
    );
    ensure!(executions.is_empty() && wrong.is_empty(), "{executions:#?} {wrong:#?}");
    ensure!(tried >= 15, "only {tried} cases");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_with_bad_gnupg_keys_runs_nothing() {
    let (Some(own), Some(office)) = (gnupg().unwrap(), gnupg().unwrap()) else { return };
    attack(own, office).await.unwrap();
}

/// A person whose keys are in a `GnuPG` home and nowhere else.
struct Person<'a> {
    platform: &'a TestPlatform,
    gpg: &'a GnuPg,
    home: tempfile::TempDir,
}

impl<'a> Person<'a> {
    fn new(platform: &'a TestPlatform, gpg: &'a GnuPg) -> anyhow::Result<Self> {
        let home = tempfile::Builder::new().prefix("home-").tempdir_in(platform.directory())?;
        Ok(Self { platform, gpg, home })
    }

    /// Runs `mig` with that `gpg.keyid`.
    fn mig(&self, keyid: &str, args: &[&str]) -> anyhow::Result<Outcome> {
        self.mig_with(keyid, args, &[])
    }

    fn mig_with(
        &self,
        keyid: &str,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Outcome> {
        let migrc = format!(
            "[api]\n    url = \"{}\"\n[gpg]\n    home = \"{}\"\n    keyid = \"{keyid}\"\n",
            self.platform.api_url(),
            self.gpg.home().display()
        );
        std::fs::write(self.home.path().join(".migrc"), migrc)?;
        let mut command = self.platform.mig_command("alice", args)?;
        command.env("HOME", self.home.path());
        for name in ["MIG_SIGNING_KEY", "MIGPGPPASSPHRASE", "MIG_GPG", "GNUPGHOME"] {
            command.env_remove(name);
        }
        Ok(command.envs(environment.iter().copied()).output()?.into())
    }
}

/// What an administrator does, while the server runs.
#[expect(clippy::disallowed_methods, reason = "the test starts the programs under test")]
fn enrol(platform: &TestPlatform, person: &TestInvestigator) -> anyhow::Result<()> {
    let output = std::process::Command::new(binary("mig-standalone")?)
        .args(["-c", "standalone.cfg", "add-investigator", &person.name])
        .arg(person.public_key_file())
        .current_dir(platform.directory())
        .output()?;
    let (told, error) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    let wanted = format!("Investigator '{}' successfully created with ID ", person.name);
    ensure!(output.status.success() && told.starts_with(&wanted), "{told} {error}");
    Ok(())
}

/// An agent that obeys one person and nobody else.
fn agent(platform: &mut TestPlatform, only: (String, AclInvestigator)) -> anyhow::Result<()> {
    let mut acl = Acl::default();
    acl.insert("default", AclEntry { minimumweight: 1, investigators: [only].into() });
    platform.start_agent(&AgentOptions {
        name: "web1".to_owned(),
        tags: Vec::new(),
        acl,
        settings: Vec::new(),
        ..AgentOptions::default()
    })?;
    platform.wait_agents(1)
}

/// `gpg --verify` of a signature over `text`, in a home with that public key.
fn verify(key: &str, text: &[u8], one_line: &str) -> anyhow::Result<Output> {
    let gpg = GnuPg::new()?.context("gpg is gone")?;
    gpg.import(key)?;
    let (signature, document) = (gpg.home().join("action.asc"), gpg.home().join("action.txt"));
    std::fs::write(&signature, oneline::to_armored(one_line)?)?;
    std::fs::write(&document, text)?;
    let (signature, document) = (signature.to_string_lossy(), document.to_string_lossy());
    gpg.output(&["--status-fd", "1", "--verify", &signature, &document], b"")
}

fn asks_and_is_answered(person: &Person<'_>, carol: &Fingerprint) -> anyhow::Result<()> {
    let evidence = person.platform.directory().join("evidence");
    std::fs::create_dir_all(&evidence)?;
    std::fs::write(evidence.join("passwd"), "root:x:0:0:root:/root:/bin/bash\n")?;
    let path = evidence.display().to_string();
    let question = ["-path", &path, "-name", "^passwd$"];
    // By fingerprint, in the ways people write one, and by address.
    let lower = carol.as_str().to_lowercase();
    for keyid in [carol.as_str(), &format!("0x{lower}"), "carol@example.net"] {
        let found = person.mig(keyid, &[&["file", "--strict"], &question[..]].concat())?;
        assert_eq!(found.code, Some(0), "{keyid}: {found:#?}");
        assert!(found.stdout.starts_with(&format!("web1 {path}/passwd [")), "{found:#?}");
        assert!(found.stderr.contains("1 sent, 1 done, 1 succeeded"), "{found:#?}");
    }

    let signed = person.mig(carol.as_str(), &[&["file", "-s"], &question[..]].concat())?;
    assert_eq!(signed.code, Some(0), "{signed:#?}");
    let action: Action = wire::from_slice(signed.stdout.as_bytes())?;
    assert_eq!(action.pgpsignatures.len(), 1, "{action:#?}");
    let mut text = canonical::action_string(&action)?;
    let public = person.gpg.public(carol)?;
    let status = verify(&public, &text, &action.pgpsignatures[0])?;
    let told = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && told.contains(&format!("VALIDSIG {carol}")), "{told}");
    text[0] ^= 1;
    let status = verify(&public, &text, &action.pgpsignatures[0])?;
    let told = String::from_utf8_lossy(&status.stdout);
    assert!(!status.status.success() && told.contains("BADSIG"), "{told}");
    Ok(())
}

fn is_told_what_is_wrong(person: &Person<'_>) -> anyhow::Result<()> {
    let gpg = person.gpg;
    let old = ago(2 * DAY);
    let expired = gpg.generate("expired", ["rsa3072", "sign", "1d"], &[&old])?;
    let passphrase = ["--passphrase", "correct horse"];
    let locked = gpg.generate("locked", ["rsa3072", "sign", "never"], &passphrase)?;
    // Making it unlocked it.
    gpg.lock();
    let unknown = "0123456789ABCDEF0123456789ABCDEF01234567";
    let wrong = &[("MIGPGPPASSPHRASE", "battery staple")][..];
    let no_program = &[("MIG_GPG", "/nonexistent/gpg")][..];
    for (keyid, environment, sentence, hint) in [
        (expired.as_str(), &[][..], "cannot be used for signing", "may have expired"),
        (unknown, &[], "no secret key for", "gpg --list-secret-keys"),
        ("nobody@example.net", &[], "no secret key for", "gpg --list-secret-keys"),
        ("", &[], "no key to sign with", "gpg.keyid"),
        (locked.as_str(), wrong, "wrong passphrase", ""),
        (locked.as_str(), no_program, "cannot start /nonexistent/gpg", "install GnuPG"),
    ] {
        let args = ["file", "-path", "/etc", "-name", "^passwd$"];
        let outcome = person.mig_with(keyid, &args, environment)?;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{keyid}: {outcome:#?}");
        let said = outcome.stderr.lines().find(|line| line.starts_with("error: "));
        assert!(said.is_some_and(|said| said.contains(sentence)), "{keyid}: {outcome:#?}");
        let told = outcome.stderr.lines().find(|line| line.starts_with("hint: "));
        assert!(told.unwrap_or_default().contains(hint), "{keyid}: {outcome:#?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
    }
    Ok(())
}

/// What `mig doctor` says of the same faults: the hop and the way out.
fn the_doctor_names_it(person: &Person<'_>, carol: &Fingerprint) -> anyhow::Result<()> {
    let gpg = person.gpg;
    let well = person.mig(carol.as_str(), &["doctor"])?;
    assert_eq!(well.code, Some(0), "{well:#?}");
    for line in ["ok      gpg: gpg (GnuPG", "ok      key: a signature was made"] {
        assert!(well.stdout.contains(line), "{well:#?}");
    }
    let old = ago(2 * DAY);
    let lapsed = gpg.generate("lapsed", ["ed25519", "sign", "1d"], &[&old])?;
    let revoked = gpg.generate("withdrawn", ["ed25519", "sign", "never"], &[])?;
    gpg.import(&gpg.revocation(&revoked)?)?;
    let passphrase = ["--passphrase", "correct horse"];
    let locked = gpg.generate("closed", ["ed25519", "sign", "never"], &passphrase)?;
    let configuration = gpg.home().join("gpg-agent.conf");
    std::fs::write(configuration, "pinentry-program /nonexistent/pinentry\n")?;
    gpg.lock();
    let unknown = "0123456789ABCDEF0123456789ABCDEF01234567";
    let wrong = &[("MIGPGPPASSPHRASE", "battery staple")][..];
    for (keyid, environment, line, hint) in [
        (lapsed.as_str(), &[][..], "BROKEN  key: it expired at ", "--quick-set-expire"),
        (revoked.as_str(), &[], "BROKEN  key: it is revoked", "create investigator"),
        (unknown, &[], "BROKEN  key: no secret key for", "gpg --list-secret-keys"),
        (locked.as_str(), wrong, "BROKEN  key: wrong passphrase", "MIGPGPPASSPHRASE"),
        (locked.as_str(), &[], "BROKEN  gpg: gpg cannot ask", "install a pinentry"),
    ] {
        let outcome = person.mig_with(keyid, &["doctor"], environment)?;
        assert_eq!(outcome.code, Some(3), "{line}: {outcome:#?}");
        let mut lines = outcome.stdout.lines().skip_while(|told| !told.starts_with(line));
        assert!(lines.next().is_some(), "{line}: {outcome:#?}");
        let told = lines.next().unwrap_or_default();
        assert!(told.starts_with("        hint: ") && told.contains(hint), "{line}: {outcome:#?}");
        assert!(outcome.stdout.contains("ok      network: an API answers"), "{outcome:#?}");
    }
    let url = person.platform.api_url();
    let elsewhere = format!("[api]\nurl = {url}\n[gpg]\nhome = /nonexistent/\nkeyid = {carol}\n");
    let path = person.home.path().join("elsewhere");
    std::fs::write(&path, elsewhere)?;
    let path = path.display().to_string();
    let outcome = person.mig(carol.as_str(), &["doctor", "-c", &path])?;
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    assert!(outcome.stdout.contains("BROKEN  gpg: gpg.home is /nonexistent/"), "{outcome:#?}");
    Ok(())
}

#[test]
fn an_investigator_signs_with_their_own_gpg() {
    let Some(gpg) = gnupg().unwrap() else { return };
    let mut platform = TestPlatform::embedded().unwrap();
    let key = gpg.generate("carol", ["rsa3072", "sign", "never"], &[]).unwrap();
    let (public, secret) = (gpg.public(&key).unwrap(), gpg.secret(&key).unwrap());
    let carol = TestInvestigator::from_parts("carol", platform.directory(), &public, &secret);
    let carol = carol.unwrap();
    enrol(&platform, &carol).unwrap();
    let only = carol.weighing(1);
    platform.investigators.push(carol);
    agent(&mut platform, only).unwrap();
    let person = Person::new(&platform, &gpg).unwrap();
    asks_and_is_answered(&person, &key).unwrap();
    is_told_what_is_wrong(&person).unwrap();
    the_doctor_names_it(&person, &key).unwrap();
}
