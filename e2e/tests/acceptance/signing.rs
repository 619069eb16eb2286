//! Who signs, with the real `gpg`: agents, pinentries, cards, and what is said
//! when nothing was signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use mig_e2e::gnupg::GnuPg;
use mig_e2e::operator::program;
use mig_e2e::terminal::Terminal;
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_testkit::Outcome;
use mig_types::Fingerprint;

use crate::{Lab, UNSET};

const PASSPHRASE: &str = "correct horse";

/// A desk with a `gpg` and no platform: what is signed is printed.
struct Desk {
    gpg: GnuPg,
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> anyhow::Result<Option<Self>> {
        let Some(gpg) = GnuPg::new()? else {
            println!("skipped: gpg is not installed");
            return Ok(None);
        };
        Ok(Some(Self { gpg, home: tempfile::tempdir()? }))
    }

    /// `mig file -s` as this key's owner.
    fn signing(&self, key: &str) -> anyhow::Result<Command> {
        let migrc = format!(
            "[api]\n    url = \"http://127.0.0.1:1/api/v1/\"\n[gpg]\n    home = \"{}/\"\n    \
             keyid = \"{key}\"\n",
            self.gpg.home().display()
        );
        fs::write(self.home.path().join(".migrc"), migrc)?;
        let mut mig = program("mig", self.home.path())?;
        for name in UNSET.iter().chain(&["MIG_SIGNING_KEY", "GPG_TTY", "DISPLAY"]) {
            mig.env_remove(name);
        }
        mig.args(["file", "-s", "-t", "name='web1'", "-path", "/etc"]);
        mig.env("HOME", self.home.path()).stdin(std::process::Stdio::null());
        Ok(mig)
    }

    fn sign(&self, key: &str, environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        let mut mig = self.signing(key)?;
        Ok(mig.envs(environment.iter().copied()).output()?.into())
    }

    /// A key that takes a passphrase which nobody remembers.
    fn locked(&self, name: &str) -> anyhow::Result<Fingerprint> {
        let options = ["--passphrase", PASSPHRASE];
        let key = self.gpg.generate(name, ["rsa2048", "sign", "never"], &options)?;
        self.gpg.lock();
        Ok(key)
    }

    /// Has the agent ask that program.
    fn pinentry(&self, program: &Path) -> anyhow::Result<()> {
        let line = format!("pinentry-program {}\n", program.display());
        fs::write(self.gpg.home().join("gpg-agent.conf"), line)?;
        self.gpg.lock();
        Ok(())
    }

    fn script(&self, name: &str, text: &str) -> anyhow::Result<std::path::PathBuf> {
        let path = self.home.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

fn is_signed(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.code == Some(0), "{outcome:#?}");
    let action: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    ensure!(action["pgpsignatures"].as_array().is_some_and(|all| all.len() == 1), "{outcome:#?}");
    Ok(())
}

/// Nothing on standard output, a sentence and a way out.
fn is_refused(outcome: &Outcome, code: i32, sentence: &str, hint: &str) -> anyhow::Result<()> {
    ensure!((outcome.code, outcome.stdout.as_str()) == (Some(code), ""), "{outcome:#?}");
    let line = |start| outcome.stderr.lines().find(|line: &&str| line.starts_with(start));
    ensure!(
        line("error: ").is_some_and(|line| line.contains(sentence)),
        "{sentence}: {outcome:#?}"
    );
    ensure!(line("hint: ").unwrap_or_default().contains(hint), "{hint}: {outcome:#?}");
    Ok(())
}

#[test]
fn a_passphrase_comes_from_agent_environment_or_file() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let key = desk.locked("ada")?;
    let file = desk.home.path().join("passphrase");
    fs::write(&file, format!("{PASSPHRASE}\n"))?;
    let named = file.display().to_string();
    is_signed(&desk.sign(key.as_str(), &[("MIGPGPPASSPHRASE", PASSPHRASE)])?)?;
    // The agent remembers: nothing is asked a second time.
    is_signed(&desk.sign(key.as_str(), &[])?)?;
    desk.gpg.lock();
    is_signed(&desk.sign(key.as_str(), &[("MIGPGPPASSPHRASE_FILE", &named)])?)?;
    desk.gpg.lock();
    let wrong = desk.sign(key.as_str(), &[("MIGPGPPASSPHRASE", "battery staple")])?;
    is_refused(&wrong, 3, "wrong passphrase or PIN", "")?;
    let missing = desk.sign(key.as_str(), &[("MIGPGPPASSPHRASE_FILE", "/nonexistent")])?;
    is_refused(&missing, 2, "cannot read /nonexistent", "")
}

/// A pinentry without a face, as the graphical ones are here.
fn pinentry(answer: &str) -> String {
    format!(
        "#!/bin/bash\necho 'OK ready'\nwhile read -r line; do case \"$line\" in\nGETPIN*) \
         {answer} ;;\nBYE*) echo OK; exit ;;\n*) echo OK ;;\nesac; done\n"
    )
}

#[test]
fn any_pinentry_asks_and_may_be_cancelled() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let key = desk.locked("ada")?;
    let good = desk.script("good", &pinentry(&format!("echo 'D {PASSPHRASE}'; echo OK")))?;
    desk.pinentry(&good)?;
    is_signed(&desk.sign(key.as_str(), &[])?)?;
    let bad = desk.script("bad", &pinentry("echo 'D battery staple'; echo OK"))?;
    desk.pinentry(&bad)?;
    is_refused(&desk.sign(key.as_str(), &[])?, 3, "wrong passphrase or PIN", "")?;
    let cancel = pinentry("echo 'ERR 83886179 Operation cancelled <Pinentry>'");
    desk.pinentry(&desk.script("cancel", &cancel)?)?;
    is_refused(&desk.sign(key.as_str(), &[])?, 130, "signing was cancelled", "")?;
    desk.pinentry(Path::new("/nonexistent/pinentry"))?;
    is_refused(&desk.sign(key.as_str(), &[])?, 3, "cannot ask for the passphrase", "pinentry")
}

#[test]
fn the_pinentry_of_the_terminal_draws_on_ours() -> anyhow::Result<()> {
    let curses = Path::new("/usr/bin/pinentry-curses");
    let Some(desk) = Desk::new()? else { return Ok(()) };
    if !curses.exists() {
        println!("skipped: pinentry-curses is not installed");
        return Ok(());
    }
    let key = desk.locked("ada")?;
    desk.pinentry(curses)?;
    let mut terminal = Terminal::start(&desk.signing(key.as_str())?, 100)?;
    terminal.wait("assphrase")?;
    terminal.keys(&format!("{PASSPHRASE}\r"))?;
    let status = terminal.end()?;
    ensure!(status.success(), "{status}: {}", terminal.raw());
    terminal.wait("\"pgpsignatures\": [")?;
    ensure!(!terminal.raw().contains(PASSPHRASE), "the passphrase is on the screen");
    Ok(())
}

#[test]
fn a_key_whose_primary_part_is_elsewhere_signs_with_its_subkey() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let key = desk.gpg.generate("ada", ["rsa2048", "sign", "never"], &[])?;
    desk.gpg.add_subkey(&key, ["rsa2048", "sign", "never"], &[])?;
    // As on a laptop: the primary key stays in the safe.
    let subkeys = desk.gpg.run(&["--armor", "--export-secret-subkeys", key.as_str()], b"")?;
    let Some(laptop) = Desk::new()? else { return Ok(()) };
    laptop.gpg.run(&["--import"], &subkeys)?;
    let signed = laptop.sign(key.as_str(), &[])?;
    is_signed(&signed)?;
    let file = laptop.home.path().join("signed.json");
    fs::write(&file, &signed.stdout)?;
    let keyring = laptop.home.path().join("public.asc");
    fs::write(&keyring, laptop.gpg.public(&key)?)?;
    let mut verifier = program("mig-action-verifier", laptop.home.path())?;
    verifier.arg("-a").arg(&file).arg("-keyring").arg(&keyring).env("HOME", laptop.home.path());
    let verdict: Outcome = verifier.output()?.into();
    // It is the owner's, whichever part of the key made it.
    ensure!(verdict.stdout.starts_with("Valid signature\nsignature 1: good, "), "{verdict:#?}");
    ensure!(verdict.stdout.contains("ada <ada@example.net>"), "{verdict:#?}");
    Ok(())
}

/// What `gpg` says when the key is on a card, in its own status lines: where a
/// card itself would have to be waited for. The suite `card` has one.
fn card(listing: &str, outcome: &str) -> String {
    format!(
        "#!/bin/bash\nfor word in \"$@\"; do case \"$word\" in\n--list-secret-keys) cat <<'END'\n\
         {listing}\nEND\nexit 0 ;;\nesac; done\ncat >/dev/null\n{outcome}\n"
    )
}

#[test]
fn a_card_that_is_slow_or_cannot_be_used_is_told() -> anyhow::Result<()> {
    let Some(desk) = Desk::new()? else { return Ok(()) };
    let key = desk.gpg.generate("ada", ["rsa2048", "sign", "never"], &[])?;
    let listing = format!(
        "sec:u:2048:1:{}:1700000000:::u:::scSC:::D2760001240103040006123456780000::::0:\n\
         fpr:::::::::{key}:\nuid:u::::1700000000::X::ada <ada@example.net>::::::::::0:",
        &key.as_str()[24..]
    );
    let failure = |code: u32| {
        // The source, GPG agent or card daemon, is in the upper half.
        card(&listing, &format!("echo '[GNUPG:] FAILURE sign {}' >&2; exit 2", code + (4 << 24)))
    };
    for (name, code, sentence, hint) in [
        ("timeout", 62, "nobody answered in time", "again"),
        ("blocked", 130, "the PIN of the smartcard is blocked", "gpg --change-pin"),
        ("unsupported", 119, "gpg cannot use smartcards", "install scdaemon"),
    ] {
        let gpg = desk.script(name, &failure(code))?.display().to_string();
        is_refused(&desk.sign(key.as_str(), &[("MIG_GPG", &gpg)])?, 3, sentence, hint)?;
    }
    let gpg = desk.script("cancelled", &failure(99))?.display().to_string();
    is_refused(&desk.sign(key.as_str(), &[("MIG_GPG", &gpg)])?, 130, "signing was cancelled", "")?;
    is_refused(
        &desk.sign(key.as_str(), &[("MIG_GPG", "/none/gpg")])?,
        3,
        "cannot start /none/gpg",
        "install GnuPG",
    )?;
    // A touch takes its time: the owner is told what is waited for.
    let real = card(
        &listing,
        "while [ ! -e touched ]; do sleep 0.1; done\necho '[GNUPG:] SIG_CREATED D 1 8 00 1 X' >&2\n\
         cat signature",
    );
    fs::write(
        desk.home.path().join("signature"),
        desk.gpg
            .run(&["--detach-sign", "--local-user", key.as_str(), "--output", "-"], b"anything")?,
    )?;
    let mut mig = desk.signing(key.as_str())?;
    mig.env("MIG_GPG", desk.script("touch", &real)?);
    let mut terminal = Terminal::start(&mig, 100)?;
    terminal.wait("waiting for gpg (touch your key or enter the PIN)")?;
    fs::write(desk.home.path().join("touched"), "")?;
    let status = terminal.end()?;
    ensure!(status.success(), "{status}: {}", terminal.raw());
    Ok(())
}

#[test]
fn a_key_file_that_cannot_sign_is_named_with_a_way_out() -> anyhow::Result<()> {
    let lab = Lab::new(&[])?;
    let folder = lab.platform.directory();
    let public = lab.platform.investigator("alice")?.public_key_file().display().to_string();
    let garbage = folder.join("garbage.asc");
    fs::write(&garbage, [0xff, 0x00, 0x80])?;
    let text = folder.join("text.asc");
    fs::write(&text, "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n")?;
    let mut cases = vec![
        ("/nonexistent.asc".to_owned(), "cannot read signing key /nonexistent.asc", "can read"),
        (folder.display().to_string(), "cannot read signing key", "can read"),
        (garbage.display().to_string(), "cannot read signing key", "can read"),
        (text.display().to_string(), "cannot sign in process", "--export-secret-keys"),
        (public, "cannot sign in process", "--export-secret-keys"),
    ];
    let desk = Desk::new()?;
    if let Some(desk) = &desk {
        let day = std::time::Duration::from_hours(24);
        let old = mig_e2e::gnupg::faked(SystemClock.now() - day * 2);
        let expired = desk.gpg.generate("old", ["rsa2048", "sign", "1d"], &[&old])?;
        let file = folder.join("expired.asc");
        fs::write(&file, desk.gpg.secret(&expired)?)?;
        cases.push((file.display().to_string(), "has expired", "extend the key"));
    }
    for (key, sentence, hint) in &cases {
        let args = ["file", "-y", "--key", key, "-path", "/etc", "-name", "^passwd$"];
        is_refused(&lab.mig(&args)?, 3, sentence, hint)?;
        let mut generator = lab.program("mig-agent-search", &["-p", "name=web*"])?;
        let outcome: Outcome = generator.env("MIG_SIGNING_KEY", key).output()?.into();
        is_refused(&outcome, 3, sentence, hint)?;
        let mut console = lab.program("mig-console", &[])?;
        let outcome: Outcome = console.env("MIG_SIGNING_KEY", key).output()?.into();
        ensure!(outcome.code == Some(3) && outcome.stderr.contains(sentence), "{outcome:#?}");
    }
    Ok(())
}
