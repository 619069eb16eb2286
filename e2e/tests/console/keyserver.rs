//! `create investigator` with a fingerprint that only a key server knows.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use mig_e2e::gnupg::GnuPg;
use mig_e2e::terminal::Terminal;
use mig_runtime::tls;
use mig_sign::keyring;
use mig_testkit::{TestInvestigator, TestPlatform};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{console, leave};

/// A key server over TLS, with the paths it was asked for.
struct KeyServer {
    address: SocketAddr,
    /// The certificate to trust, PEM.
    authority: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl KeyServer {
    /// Answers `op=get` with the text for what is searched.
    fn start(keys: HashMap<String, String>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (authority, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let config = tls::server_config(authority.as_bytes(), key.as_bytes(), None)?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&asked);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Ok(path) = answer(stream, &config, &keys) {
                    paths.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                }
            }
        });
        Ok(Self { address, authority, asked })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one request, and tells its path.
fn answer(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    keys: &HashMap<String, String>,
) -> anyhow::Result<String> {
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config))?, stream);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).context("no path")?.to_owned();
    let key = keys.iter().find(|(key, _)| path.ends_with(&format!("search=0x{key}")));
    let (status, body) =
        key.map_or(("404 Not Found", "no such key"), |(_, text)| ("200 OK", text.as_str()));
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(path)
}

#[test]
fn a_fingerprint_is_looked_up_and_no_other_key_is_taken() -> anyhow::Result<()> {
    let Some(gpg) = GnuPg::new()? else {
        println!("skipped: gpg is not installed");
        return Ok(());
    };
    let platform = TestPlatform::embedded()?;
    let person = |name| TestInvestigator::create(name, platform.directory());
    let (grace, victim, nobody) = (person("grace")?, person("victim")?, person("nobody")?);
    let armored = fs::read_to_string(grace.public_key_file())?;
    let [right, forged, unknown, odd] = [
        grace.fingerprint().to_string(),
        victim.fingerprint().to_string(),
        nobody.fingerprint().to_string(),
        "0123456789ABCDEF0123456789ABCDEF01234567".to_owned(),
    ];
    let server = KeyServer::start(HashMap::from([
        (right.clone(), armored.clone()),
        // Somebody else's key under that fingerprint, and what is none at all.
        (forged.clone(), armored.clone()),
        (odd.clone(), "<html>welcome</html>".to_owned()),
    ]))?;
    let authority = platform.directory().join("authority.pem");
    fs::write(&authority, &server.authority)?;

    // Behind TLS, without it, and nowhere.
    let address = server.address;
    let nowhere = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let dialog = |keyserver: &str| -> anyhow::Result<Terminal> {
        let alice = platform.investigator("alice")?;
        let migrc = platform.directory().join("keyserver.migrc");
        let (url, home) = (platform.api_url(), gpg.home().display());
        let text = format!("[api]\nurl = {url}\n[gpg]\nhome = {home}\nkeyserver = {keyserver}\n");
        fs::write(&migrc, text)?;
        let mut command = console(alice.home())?;
        command.arg("-c").arg(migrc).env("MIG_CA_FILE", &authority);
        command.env("MIG_SIGNING_KEY", alice.secret_key_file());
        let mut terminal = Terminal::start(&command, 240)?;
        terminal.prompt("mig>")?;
        terminal.answer("create investigator", "name>")?;
        let allow = "Allow investigator to manage users (admin)? (yes/no)>";
        terminal.answer("Grace Field", allow)?;
        terminal.answer("yes", "pubkey>")?;
        Ok(terminal)
    };
    let refused = |terminal: &mut Terminal, key: &str, texts: &[&str]| -> anyhow::Result<()> {
        let shown = terminal.answer(key, "pubkey>")?.join("\n");
        let all = [&["retrieving public key from your GnuPG key ring"], texts].concat();
        for text in all {
            ensure!(shown.contains(text), "no {text:?} in {shown}");
        }
        Ok(())
    };

    for (server, texts) in [
        (format!("https://{nowhere}"), ["cannot ask key server", "set gpg.keyserver in .migrc"]),
        (format!("http://{address}"), ["is not an https:// address", "give the path"]),
    ] {
        let mut terminal = dialog(&server)?;
        refused(&mut terminal, &right, &texts)?;
        // The dialog goes on, and can be left.
        terminal.keys("\u{4}")?;
        terminal.prompt("mig>")?;
        leave(&mut terminal)?;
    }
    ensure!(server.asked().is_empty(), "{:?}", server.asked());

    let mut terminal = dialog(&format!("https://{address}"))?;
    let there = format!("it is not there; retrieving public key from https://{address}");
    refused(&mut terminal, &unknown, &[&there, "does not have key", &unknown])?;
    refused(&mut terminal, &odd, &[&there, "did not send one public key"])?;
    let instead = format!("sent key {right} in place of {forged}");
    refused(&mut terminal, &forged, &[&there, &instead])?;
    // Small letters are the same.
    let confirm = "create investigator? (y/n)>";
    let shown = terminal.answer(&right.to_lowercase(), confirm)?.join("\n");
    ensure!(shown.contains(&there) && shown.contains("grace <grace@example.net>"), "{shown}");
    let created = terminal.answer("y", "mig>")?.join("\n");
    let id = created.rsplit_once("successfully created with ID ").context(created.clone())?.1;
    let id = id.trim().to_owned();
    let prompt = format!("inv {id}>");
    terminal.answer(&format!("investigator {id}"), &prompt)?;
    let shown = terminal.answer("pubkey", &prompt)?.join("\n");
    let from = shown.find("-----BEGIN PGP").context("no key")?;
    let stored = keyring::inspect(shown.get(from..).unwrap_or_default())?;
    ensure!(stored.fingerprint == *grace.fingerprint(), "{shown}");
    leave(&mut terminal)?;
    let paths: Vec<String> = [unknown, odd, forged, right]
        .iter()
        .map(|key| format!("/pks/lookup?op=get&options=mr&search=0x{key}"))
        .collect();
    assert_eq!(server.asked(), paths);
    Ok(())
}
