//! A key on a smartcard, from the command line to the agent: the real `gpg`,
//! its `scdaemon` and a `pcscd`; the card and its reader are software.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "that a test was skipped")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mig_e2e::card::{Card, Reader};
use mig_e2e::gnupg::{CARDS, GnuPg};
use mig_e2e::operator::program;
use mig_e2e::terminal::Terminal;
use mig_testkit::{AgentOptions, Outcome, TestInvestigator, TestPlatform, until};
use mig_types::{Acl, AclEntry, Fingerprint};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// Later than `mig` says that it waits for a card.
const NOTICE: Duration = Duration::from_millis(2500);

/// What a person has set who signs at a desk without a terminal, or has not.
const UNSET: [&str; 10] = [
    "MIG_CONFIG",
    "MIG_CONTEXT",
    "MIG_OUTPUT",
    "MIG_GPG",
    "MIG_API_KEY",
    "MIG_SIGNING_KEY",
    "MIGPGPPASSPHRASE",
    "MIGPGPPASSPHRASE_FILE",
    "GPG_TTY",
    "DISPLAY",
];

/// A pinentry without a face. It notes what it is asked, answers with the PINs
/// in its directory, and confirms when there is a file for it.
const PINENTRY: &str = r#"#!/bin/bash
cd "$(dirname "$0")" || exit 1
pin=pin
echo 'OK ready'
while read -r line; do case "$line" in
SETPROMPT*Admin*) pin=admin; echo OK ;;
GETPIN*) echo "$pin" >> asked; echo "D $(cat $pin)"; echo OK ;;
CONFIRM*) echo card >> asked
    until [ -e confirmed ] || [ ! -e patient ]; do sleep 0.05; done
    if [ -e confirmed ]; then echo OK
    else echo 'ERR 83886179 Operation cancelled <Pinentry>'; fi ;;
BYE*) echo OK; exit ;;
*) echo OK ;;
esac; done
"#;

/// A desk with a reader, a card in it, and a `gpg` that uses it.
struct Desk {
    // Its agent ends before the reader does.
    gpg: GnuPg,
    reader: Reader,
    home: tempfile::TempDir,
}

impl Desk {
    /// `None`, with a word about it, where there can be no reader.
    fn new() -> anyhow::Result<Option<Self>> {
        if let Some(missing) = Reader::missing() {
            println!("skipped: {missing}");
            return Ok(None);
        }
        let Some(gpg) = GnuPg::new()? else {
            println!("skipped: gpg is not installed");
            return Ok(None);
        };
        let mut reader = match Reader::start(gpg.home()) {
            Ok(reader) => reader,
            // Namespaces are root's, where the system wants it so.
            Err(error) if !rustix::process::geteuid().is_root() => {
                println!("skipped: {error:#}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        reader.insert()?;
        let gpg = gpg.with_reader(&reader)?;
        let desk = Self { gpg, reader, home: tempfile::tempdir()? };
        let pinentry = desk.path("pinentry");
        fs::write(&pinentry, PINENTRY)?;
        fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o755))?;
        fs::write(desk.path("pin"), Card::PIN)?;
        fs::write(desk.path("admin"), Card::ADMIN_PIN)?;
        desk.use_pinentry(&pinentry)?;
        Ok(Some(desk))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Has the agent ask that program.
    fn use_pinentry(&self, program: &Path) -> anyhow::Result<()> {
        let line = format!("pinentry-program {}\n", program.display());
        fs::write(self.gpg.home().join("gpg-agent.conf"), line)?;
        self.gpg.lock();
        self.settle()
    }

    /// Waits until gpg sees the card: the reader is looked at now and then, and
    /// belongs for a moment to the agent that was ended.
    fn settle(&self) -> anyhow::Result<()> {
        until("gpg to see the card", PATIENCE, || self.gpg.sees_a_card().then_some(()))
    }

    /// A key that is on the card and nowhere else, with both halves as they were
    /// before.
    fn moved(&self, algorithm: &str) -> anyhow::Result<(Fingerprint, TestInvestigator)> {
        let key = self.gpg.generate("carol", [algorithm, "sign", "never"], &[])?;
        let (public, secret) = (self.gpg.public(&key)?, self.gpg.secret(&key)?);
        let carol = TestInvestigator::from_parts("carol", self.home.path(), &public, &secret)?;
        self.gpg.move_to_card(&key, None)?;
        let list = self.gpg.run(&["--with-colons", "--list-secret-keys", key.as_str()], b"")?;
        let list = String::from_utf8(list)?;
        // Not `+`, which is a key on the disk.
        ensure!(list.contains(&format!(":scSC:::{}:", self.serial())), "{list}");
        Ok((key, carol))
    }

    /// `mig` as this key's owner, of the API at `url`.
    fn mig(&self, url: &str, key: &Fingerprint, args: &[&str]) -> anyhow::Result<Command> {
        let migrc = format!(
            "[api]\n    url = \"{url}\"\n[gpg]\n    home = \"{}\"\n    keyid = \"{key}\"\n",
            self.gpg.home().display()
        );
        fs::write(self.path(".migrc"), migrc)?;
        let mut mig = program("mig", self.home.path())?;
        for name in UNSET {
            mig.env_remove(name);
        }
        mig.args(args).stdin(Stdio::null());
        mig.env("HOME", self.home.path()).env("MIG_YES", "1").env(CARDS, self.reader.socket());
        Ok(mig)
    }

    /// `mig file -s`, which needs one signature and no platform.
    fn signing(&self, key: &Fingerprint) -> anyhow::Result<Command> {
        let question = ["file", "-s", "-t", "name='web1'", "-path", "/etc"];
        self.mig("http://127.0.0.1:1/api/v1/", key, &question)
    }

    fn sign(&self, key: &Fingerprint, environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        Ok(self.signing(key)?.envs(environment.iter().copied()).output()?.into())
    }

    /// What the pinentry was asked for since the last time: `pin`, `admin` or
    /// `card`.
    fn asked(&self) -> Vec<String> {
        let file = self.path("asked");
        let lines = fs::read_to_string(&file).unwrap_or_default();
        drop(fs::remove_file(file));
        lines.lines().map(str::to_owned).collect()
    }

    /// Wrong PINs until the card is blocked, and signatures so far.
    fn counters(&self) -> (u8, u32) {
        let card = self.reader.card();
        (card.tries(), card.signatures())
    }

    fn serial(&self) -> String {
        self.reader.card().serial()
    }

    /// Whether the action that `mig` printed is signed by that key and no other.
    fn is_signed(&self, outcome: &Outcome, public: &str, name: &str) -> anyhow::Result<()> {
        ensure!(outcome.code == Some(0), "{outcome:#?}");
        let (action, keyring) = (self.path("action.json"), self.path("public.asc"));
        fs::write(&action, &outcome.stdout)?;
        fs::write(&keyring, public)?;
        let mut verifier = program("mig-action-verifier", self.home.path())?;
        verifier.arg("-a").arg(&action).arg("-keyring").arg(&keyring);
        let verdict: Outcome = verifier.env("HOME", self.home.path()).output()?.into();
        let good = verdict.stdout.starts_with("Valid signature\nsignature 1: good, ");
        ensure!(good && verdict.stdout.contains(name), "{verdict:#?}");
        ensure!(!verdict.stdout.contains("signature 2"), "{verdict:#?}");
        Ok(())
    }
}

/// Nothing on standard output, a sentence and a way out.
fn is_refused(outcome: &Outcome, code: i32, sentence: &str, hint: &str) -> anyhow::Result<()> {
    ensure!((outcome.code, outcome.stdout.as_str()) == (Some(code), ""), "{outcome:#?}");
    let line = |start| outcome.stderr.lines().find(|line: &&str| line.starts_with(start));
    let error = line("error: ").unwrap_or_default();
    ensure!(error.contains(sentence), "{sentence}: {outcome:#?}");
    ensure!(line("hint: ").unwrap_or_default().contains(hint), "{hint}: {outcome:#?}");
    Ok(())
}

/// A platform that knows one person more, with an agent that obeys nobody else.
fn platform_of(carol: TestInvestigator) -> anyhow::Result<TestPlatform> {
    let mut platform = TestPlatform::embedded()?;
    let enrolled = program("mig-standalone", platform.directory())?
        .args(["-c", "standalone.cfg", "add-investigator", &carol.name])
        .arg(carol.public_key_file())
        .output()?;
    ensure!(enrolled.status.success(), "{enrolled:#?}");
    let mut acl = Acl::default();
    let investigators = [carol.weighing(1)].into();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    platform.investigators.push(carol);
    let name = "web1".to_owned();
    platform.start_agent(&AgentOptions { name, acl, ..AgentOptions::default() })?;
    platform.wait_agents(1)?;
    Ok(platform)
}

const QUESTION: [&str; 5] = ["file", "-path", "/etc", "-name", "^passwd$"];

fn is_answered(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.code == Some(0), "{outcome:#?}");
    ensure!(outcome.stdout.contains("web1 /etc/passwd ["), "{outcome:#?}");
    ensure!(outcome.stderr.contains("1 sent, 1 done, 1 succeeded"), "{outcome:#?}");
    Ok(())
}

#[test]
fn an_action_signed_by_a_card_is_answered() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let (key, carol) = desk.moved("rsa2048")?;
    let platform = platform_of(carol)?;
    let url = platform.api_url();
    desk.asked();
    is_answered(&desk.mig(&url, &key, &QUESTION)?.output()?.into())?;
    // One for the token and one for the action: a new card wants its PIN for
    // each signature.
    ensure!(desk.asked() == ["pin", "pin"]);
    ensure!(desk.counters() == (3, 2), "{:?}", desk.counters());

    // Not in front of a pinentry.
    let mut mig = desk.mig(&url, &key, &QUESTION)?;
    is_answered(&mig.env("MIGPGPPASSPHRASE", Card::PIN).output()?.into())?;
    ensure!(desk.asked().is_empty());
    ensure!(desk.counters() == (3, 4), "{:?}", desk.counters());

    // The owner finds once enough.
    desk.gpg.edit_card("admin\nforcesig\nquit\n")?;
    desk.asked();
    is_answered(&desk.mig(&url, &key, &QUESTION)?.output()?.into())?;
    is_answered(&desk.mig(&url, &key, &QUESTION)?.output()?.into())?;
    ensure!(desk.asked() == ["pin"]);
    ensure!(desk.counters() == (3, 8), "{:?}", desk.counters());

    // The hops of the platform too.
    let well: Outcome = desk.mig(&url, &key, &["doctor"])?.output()?.into();
    let line = format!("ok      key: its card, {}, is in the reader\n", desk.serial());
    ensure!(well.code == Some(0) && well.stdout.contains(&line), "{well:#?}");
    ensure!(well.stdout.contains("ok      key: a signature was made\n"), "{well:#?}");
    Ok(())
}

#[test]
fn a_key_made_on_the_card_signs() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    // No copy of the key for decryption, never expires, is correct.
    desk.gpg.edit_card("admin\ngenerate\nn\n0\ny\nCarol Card\ncarol@example.net\n\nO\nquit\n")?;
    let key = desk.gpg.key_of("carol@example.net")?;
    desk.asked();
    let signed = desk.sign(&key, &[])?;
    desk.is_signed(&signed, &desk.gpg.public(&key)?, "Carol Card <carol@example.net>")?;
    ensure!(desk.asked() == ["pin"]);
    Ok(())
}

#[test]
fn a_subkey_on_a_card_signs_for_a_primary_key_in_the_safe() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let Some(safe) = GnuPg::new()? else { return Ok(()) };
    let key = safe.generate("carol", ["ed25519", "sign", "never"], &[])?;
    safe.add_subkey(&key, ["ed25519", "sign", "never"], &[])?;
    let laptop = safe.run(&["--armor", "--export-secret-subkeys", key.as_str()], b"")?;
    desk.gpg.import(std::str::from_utf8(&laptop)?)?;
    desk.gpg.move_to_card(&key, Some(1))?;
    let signed = desk.sign(&key, &[])?;
    desk.is_signed(&signed, &safe.public(&key)?, "carol <carol@example.net>")?;
    ensure!(desk.counters() == (3, 1), "{:?}", desk.counters());
    Ok(())
}

#[test]
fn a_wrong_pin_is_tried_once_and_too_many_block_the_card() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let (key, carol) = desk.moved("rsa2048")?;
    let public = fs::read_to_string(carol.public_key_file())?;
    desk.asked();
    fs::write(desk.path("pin"), "654321")?;
    let outcome = desk.sign(&key, &[])?;
    is_refused(&outcome, 3, "wrong PIN; the card takes 2 more", "try again with the card's PIN")?;
    ensure!(desk.asked() == ["pin"]);
    ensure!(desk.counters() == (2, 0), "{:?}", desk.counters());
    // The right one makes up for it.
    fs::write(desk.path("pin"), Card::PIN)?;
    desk.is_signed(&desk.sign(&key, &[])?, &public, "carol")?;
    ensure!(desk.counters() == (3, 1), "{:?}", desk.counters());

    let wrong = [("MIGPGPPASSPHRASE", "654321")];
    is_refused(&desk.sign(&key, &wrong)?, 3, "wrong PIN; the card takes 2 more", "PIN")?;
    // Two orders of one console, one wrong PIN.
    let mut console = program("mig-console", desk.home.path())?;
    for name in UNSET {
        console.env_remove(name);
    }
    console.arg("-q").env("HOME", desk.home.path()).env(CARDS, desk.reader.socket());
    let orders = desk.path("orders");
    fs::write(&orders, "status\nagent 1\nstatus\n")?;
    console.envs(wrong).stdin(Stdio::from(fs::File::open(orders)?));
    let outcome: Outcome = console.output()?.into();
    ensure!(outcome.stderr.contains("wrong PIN; one more blocks the card"), "{outcome:#?}");
    ensure!(desk.counters() == (1, 1), "{:?}", desk.counters());

    let doctor = |desk: &Desk| -> anyhow::Result<Outcome> {
        Ok(desk.mig("http://127.0.0.1:1/api/v1/", &key, &["doctor"])?.output()?.into())
    };
    fs::write(desk.path("pin"), "654321")?;
    desk.asked();
    let outcome = doctor(&desk)?;
    let noted = outcome.stdout.contains("note    key: one more wrong PIN blocks the card\n");
    ensure!(outcome.code == Some(3) && noted, "{outcome:#?}");
    ensure!(desk.counters() == (0, 1), "{:?}", desk.counters());

    let sentence = "the PIN of the smartcard is blocked";
    for environment in [&[][..], &[("MIGPGPPASSPHRASE", Card::PIN)]] {
        fs::write(desk.path("pin"), Card::PIN)?;
        is_refused(&desk.sign(&key, environment)?, 3, sentence, "gpg --change-pin")?;
    }
    desk.asked();
    let outcome = doctor(&desk)?;
    let told =
        outcome.stdout.lines().any(|line| line.starts_with(&format!("BROKEN  key: {sentence}")));
    ensure!(outcome.code == Some(3) && told, "{outcome:#?}");
    // It knows without asking.
    ensure!(desk.asked().is_empty());

    // What the hint says.
    desk.gpg.change_pin("2\nq\n")?;
    desk.is_signed(&desk.sign(&key, &[])?, &public, "carol")
}

#[test]
fn a_card_that_is_taken_out_is_asked_for() -> anyhow::Result<()> {
    let Some(mut desk) = Desk::new()? else { return Ok(()) };
    let (key, carol) = desk.moved("rsa2048")?;
    let public = fs::read_to_string(carol.public_key_file())?;
    let absent = format!("the smartcard of the key, {}, is not in a reader", desk.serial());
    desk.is_signed(&desk.sign(&key, &[])?, &public, "carol")?;

    desk.reader.remove();
    // Not a moment later: nothing has noticed yet. Nobody can be asked.
    let given = [("MIGPGPPASSPHRASE", Card::PIN)];
    is_refused(&desk.sign(&key, &given)?, 3, &absent, "insert it and try again")?;
    is_refused(&desk.sign(&key, &given)?, 3, &absent, "gpg --card-status")?;
    let outcome: Outcome =
        desk.mig("http://127.0.0.1:1/api/v1/", &key, &["doctor"])?.output()?.into();
    let told = outcome.stdout.contains(&format!("BROKEN  key: {absent}\n        hint: insert it"));
    ensure!(outcome.code == Some(3) && told, "{outcome:#?}");
    // Somebody is asked, and does not want to.
    desk.asked();
    is_refused(&desk.sign(&key, &[])?, 130, "signing was cancelled", "")?;
    ensure!(desk.asked() == ["card"]);

    // Somebody is asked, and puts it in.
    fs::write(desk.path("patient"), "")?;
    let mig = desk.signing(&key)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let asked = desk.path("asked");
    until("the question for the card", PATIENCE, || asked.exists().then_some(()))?;
    desk.reader.insert()?;
    fs::write(desk.path("confirmed"), "")?;
    desk.is_signed(&mig.wait_with_output()?.into(), &public, "carol")?;
    ensure!(desk.asked().last().is_some_and(|last| last == "pin"));
    // And it stays well.
    desk.is_signed(&desk.sign(&key, &given)?, &public, "carol")?;
    ensure!(desk.counters() == (3, 3), "{:?}", desk.counters());
    Ok(())
}

#[test]
fn a_terminal_shows_what_the_card_needs() -> anyhow::Result<()> {
    let curses = Path::new("/usr/bin/pinentry-curses");
    let Some(mut desk) = Desk::new()? else { return Ok(()) };
    if !curses.exists() {
        println!("skipped: pinentry-curses is not installed");
        return Ok(());
    }
    let (key, _) = desk.moved("rsa2048")?;
    desk.use_pinentry(curses)?;
    // Nobody sits there: neither the PIN nor the card is waited for.
    let outcome = desk.sign(&key, &[])?;
    is_refused(&outcome, 3, "gpg cannot ask for the passphrase", "GPG_TTY")?;
    desk.reader.remove();
    is_refused(&desk.sign(&key, &[])?, 3, "is not in a reader", "insert it")?;
    is_refused(&desk.sign(&key, &[])?, 3, "is not in a reader", "insert it")?;

    let mut terminal = Terminal::start(&desk.signing(&key)?, 100)?;
    terminal.wait("insert the card")?;
    let shown = Instant::now();
    desk.reader.insert()?;
    desk.settle()?;
    // By then whoever is not asked is told what is waited for.
    until("the notice's time", PATIENCE, || (shown.elapsed() > NOTICE).then_some(()))?;
    terminal.keys("\r")?;
    terminal.wait("unlock the card")?;
    terminal.keys(&format!("{}\r", Card::PIN))?;
    let status = terminal.end()?;
    ensure!(status.success(), "{status}: {}", terminal.raw());
    terminal.wait("\"pgpsignatures\": [")?;
    let raw = terminal.raw();
    ensure!(!raw.contains(Card::PIN), "the PIN is on the screen");
    ensure!(!raw.contains("waiting for gpg"), "something drew over the pinentry: {raw}");
    Ok(())
}

#[test]
fn a_card_that_another_agent_has_is_not_there() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let (key, carol) = desk.moved("ed25519")?;
    let public = fs::read_to_string(carol.public_key_file())?;
    desk.settle()?;
    // The same card from another home, whose scdaemon comes too late.
    let other = GnuPg::new()?.context("gpg is gone")?.with_reader(&desk.reader)?;
    ensure!(!other.sees_a_card(), "two programs had one card");
    desk.gpg.lock();
    until("the other to see the card", PATIENCE, || other.sees_a_card().then_some(()))?;
    let given = [("MIGPGPPASSPHRASE", Card::PIN)];
    is_refused(&desk.sign(&key, &given)?, 3, "is not in a reader", "another program has the card")?;
    other.lock();
    desk.settle()?;
    desk.is_signed(&desk.sign(&key, &given)?, &public, "carol")
}
