//! The process of the module, without an agent around it, on real directories.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use mig_module::persist::{Connection, Message, Outlet, Said, session};
use mig_module::{DynModule as _, ModuleResult, ParsedArgs, Registry};
use mig_module_fswatch::FsWatch;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One session, both ends of its channels, and a directory to watch.
struct Lab {
    dir: TempDir,
    input: UnixStream,
    output: BufReader<UnixStream>,
    connections: Sender<Box<dyn Connection>>,
}

impl Lab {
    fn start() -> Self {
        let registry = Arc::new(Registry::new(vec![Box::new(FsWatch)]));
        let (input, theirs) = UnixStream::pair().unwrap();
        let (output, outlet) = UnixStream::pair().unwrap();
        output.set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
        let (connections, taken) = channel();
        std::thread::spawn(move || {
            let outlet = Outlet::new(outlet);
            session(&registry, "fswatch", "unix:/r/s", theirs, &outlet, taken)
        });
        let dir = tempfile::tempdir().unwrap();
        let mut lab = Self { dir, input, output: BufReader::new(output), connections };
        assert_eq!(lab.hear(), Said::Register("unix:/r/s".into()));
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Configures the module and waits until all paths that exist are watched.
    fn watch(&mut self, paths: &[String]) {
        let config = json!({ "class": "config",
            "parameters": { "config": { "Paths": { "Path": paths } } } });
        writeln!(self.input, "{config}").unwrap();
        self.hear_log("module received configuration");
        for path in paths {
            let path = path.strip_prefix("recursive:").unwrap_or(path);
            let kind = fs::metadata(path);
            if kind.is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
                self.hear_attached(path);
            }
        }
    }

    fn hear(&mut self) -> Said {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).unwrap();
        Message::read(&line).unwrap().said()
    }

    #[track_caller]
    fn hear_log(&mut self, text: &str) {
        assert_eq!(self.hear(), Said::Log(text.to_owned()));
    }

    /// The path is watched, and what is there is known.
    #[track_caller]
    fn hear_attached(&mut self, path: &str) {
        self.hear_log(&format!("adding monitoring for object {path}"));
        let Said::Log(text) = self.hear() else { panic!("a log line is expected") };
        assert!(text.ends_with(&format!(" files examined of {path}")), "{text}");
    }

    /// The next alert: its severity and text, with the directory as `D`.
    #[track_caller]
    fn alert(&mut self) -> (String, String) {
        let Said::Alert(text) = self.hear() else { panic!("an alert is expected") };
        let alert: Value = serde_json::from_str(&text).unwrap();
        let part = |key: &str| alert[key].as_str().unwrap().to_owned();
        let directory = self.dir.path().display().to_string();
        (part("severity"), part("alert").replace(&directory, "D"))
    }

    #[track_caller]
    fn expect(&mut self, severity: &str, text: &str) {
        assert_eq!(self.alert(), (severity.to_owned(), text.to_owned()));
    }
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}

fn changed(path: &str, before: &str, now: &str) -> String {
    format!("{path} signature changed {} -> {}", sha256(before), sha256(now))
}

#[test]
fn a_file_that_changes_is_critical_once() {
    let mut lab = Lab::start();
    fs::write(lab.path("f"), "one").unwrap();
    fs::write(lab.path("other"), "not watched").unwrap();
    lab.watch(&[lab.text("f")]);
    fs::write(lab.path("other"), "still not").unwrap();
    // Touched and made executable, but the same.
    fs::write(lab.path("f"), "one").unwrap();
    fs::set_permissions(lab.path("f"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(lab.path("f"), "two").unwrap();
    lab.expect("critical", &changed("D/f", "one", "two"));
    // Within the silence: what comes next is the removal.
    fs::write(lab.path("f"), "three").unwrap();
    fs::remove_file(lab.path("f")).unwrap();
    lab.expect("low", "path D/f removed");
    // The path is watched, not that file.
    fs::write(lab.path("f"), "four").unwrap();
    lab.expect("low", "path D/f created");
}

#[test]
fn a_file_put_in_the_place_of_another_is_critical() {
    let mut lab = Lab::start();
    fs::create_dir(lab.path("d")).unwrap();
    fs::write(lab.path("d/f"), "one").unwrap();
    lab.watch(&[lab.text("d")]);
    fs::write(lab.path("d/new"), "two").unwrap();
    lab.expect("low", "path D/d/new created");
    fs::rename(lab.path("d/new"), lab.path("d/f")).unwrap();
    lab.expect("low", "path D/d/new removed");
    lab.expect("critical", &changed("D/d/f", "one", "two"));
    fs::rename(lab.path("d/f"), lab.path("out")).unwrap();
    lab.expect("low", "path D/d/f removed");
}

#[test]
fn directories_are_followed_as_they_come_and_go() {
    let mut lab = Lab::start();
    fs::create_dir(lab.path("d")).unwrap();
    lab.watch(&[format!("recursive:{}", lab.text("d"))]);
    fs::create_dir_all(lab.path("made/deep")).unwrap();
    fs::write(lab.path("made/deep/f"), "one").unwrap();
    fs::rename(lab.path("made"), lab.path("d/new")).unwrap();
    lab.expect("low", "path D/d/new created");
    lab.expect("low", "path D/d/new/deep created");
    lab.expect("low", "path D/d/new/deep/f created");
    // Once its state is known, a change is critical. It is looked at in time: a
    // second file tells when.
    fs::write(lab.path("d/new/g"), "g").unwrap();
    lab.expect("low", "path D/d/new/g created");
    let mut text = "one".to_owned();
    let critical = loop {
        // Until the first look the state is not known, and nothing is said.
        text.push('+');
        fs::write(lab.path("d/new/deep/f"), &text).unwrap();
        lab.output.get_ref().set_read_timeout(Some(std::time::Duration::from_secs(4))).unwrap();
        let mut line = Vec::new();
        if lab.output.read_until(b'\n', &mut line).is_ok() {
            break Message::read(&line).unwrap().said();
        }
    };
    let Said::Alert(critical) = critical else { panic!("{critical:?}") };
    assert!(critical.contains("critical") && critical.contains("deep/f signature changed"));
    lab.output.get_ref().set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
    fs::rename(lab.path("d/new"), lab.path("gone")).unwrap();
    lab.expect("low", "path D/d/new removed");
    // What lies elsewhere is not watched any more.
    fs::write(lab.path("gone/deep/f"), "three").unwrap();
    fs::write(lab.path("d/last"), "l").unwrap();
    lab.expect("low", "path D/d/last created");
}

#[test]
fn a_path_that_is_missing_is_watched_when_it_comes() {
    let mut lab = Lab::start();
    fs::create_dir(lab.path("there")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(lab.path("socket")).unwrap();
    let paths = ["later", "socket", "there"].map(|name| lab.text(name));
    let config = json!({ "class": "config",
        "parameters": { "config": { "paths": { "path": paths } } } });
    writeln!(lab.input, "{config}").unwrap();
    lab.hear_log("module received configuration");
    lab.hear_log(&format!("stat {}: no such file or directory", paths[0]));
    lab.hear_log(&format!("{} is neither a file nor a directory, not watched", paths[1]));
    lab.hear_attached(&paths[2]);
    fs::write(lab.path("there/f"), "x").unwrap();
    lab.expect("low", "path D/there/f created");
    fs::create_dir(lab.path("later")).unwrap();
    lab.hear_attached(&paths[0]);
    fs::remove_dir(lab.path("later")).unwrap();
    lab.expect("low", "path D/later removed");
    fs::create_dir(lab.path("later")).unwrap();
    lab.hear_attached(&paths[0]);
    fs::write(lab.path("later/f"), "x").unwrap();
    lab.expect("low", "path D/later/f created");
}

#[test]
fn odd_names_make_valid_alerts() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut lab = Lab::start();
    fs::create_dir(lab.path("d")).unwrap();
    lab.watch(&[lab.text("d")]);
    let name = std::ffi::OsStr::from_bytes(b"100%s \"q\" \xff\xfe\n");
    fs::write(lab.path("d").join(name), "x").unwrap();
    lab.expect("low", "path D/d/100%s \"q\" \u{fffd}\u{fffd}\n created");
}

#[test]
fn a_storm_of_changes_is_survived() {
    let mut lab = Lab::start();
    fs::create_dir(lab.path("d")).unwrap();
    lab.watch(&[lab.text("d")]);
    let directory = lab.path("d");
    let storm = std::thread::spawn(move || {
        for round in 0..10_000 {
            let path = directory.join(format!("f{}", round % 50));
            fs::write(&path, "x").unwrap();
            fs::remove_file(&path).unwrap();
        }
        fs::write(directory.join("end"), "x").unwrap();
    });
    loop {
        let (_, text) = lab.alert_or_log();
        if text == "path D/d/end created" {
            break;
        }
    }
    storm.join().unwrap();
    fs::remove_file(lab.path("d/end")).unwrap();
    loop {
        if lab.alert_or_log().1 == "path D/d/end removed" {
            break;
        }
    }
}

impl Lab {
    fn alert_or_log(&mut self) -> (String, String) {
        match self.hear() {
            Said::Log(text) => ("log".to_owned(), text),
            Said::Alert(text) => {
                let alert: Value = serde_json::from_str(&text).unwrap();
                let text = alert["alert"].as_str().unwrap();
                let directory = self.dir.path().display().to_string();
                ("alert".to_owned(), text.replace(&directory, "D"))
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, question: &str) -> String {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        self.connections.send(Box::new(theirs)).unwrap();
        ours.write_all(question.as_bytes()).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn answers_that_it_is_alive() {
    let lab = Lab::start();
    let answer = lab.ask("{\"class\":\"parameters\",\"parameters\":{}}\n");
    let result: ModuleResult = serde_json::from_str(&answer).unwrap();
    assert!(result.success && result.foundanything);
    assert_eq!(result.elements, json!({ "ok": true }));
    assert_eq!(FsWatch.print(&result, true).unwrap(), ["ok:true"]);
    let parsed = FsWatch.parse_args(&[]);
    assert_eq!(parsed.unwrap(), ParsedArgs::Params(json!({})));
    assert!(matches!(FsWatch.parse_args(&["help".to_owned()]), Ok(ParsedArgs::Help(_))));
    assert!(FsWatch.parse_args(&["-x".to_owned()]).is_err());
}
