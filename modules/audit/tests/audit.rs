//! The process of the module, without an agent around it; where the kernel lets
//! us, with the real one.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mig_host::audit::Status;
use mig_module::persist::{Connection, Message, Outlet, Said, session};
use mig_module::{DynModule as _, ModuleResult, ParsedArgs, Registry};
use mig_module_audit::Audit;
use mig_testkit::Auditing;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One session, and both ends of its channels.
struct Lab {
    dir: TempDir,
    input: Option<UnixStream>,
    output: BufReader<UnixStream>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    connections: Sender<Box<dyn Connection>>,
    ended: Option<JoinHandle<Result<(), String>>>,
}

impl Lab {
    fn start() -> Self {
        let registry = Arc::new(Registry::new(vec![Box::new(Audit::default())]));
        let (input, theirs) = UnixStream::pair().unwrap();
        let (output, outlet) = UnixStream::pair().unwrap();
        output.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (connections, taken) = channel();
        let ended = std::thread::spawn(move || {
            let outlet = Outlet::new(outlet);
            session(&registry, "audit", "unix:/r/s", theirs, &outlet, taken)
        });
        let dir = tempfile::tempdir().unwrap();
        let output = BufReader::new(output);
        let mut lab = Self {
            dir,
            input: Some(input),
            output,
            line: Vec::new(),
            connections,
            ended: Some(ended),
        };
        assert_eq!(lab.hear(), Said::Register("unix:/r/s".into()));
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Configures the module with these rules.
    fn configure(&mut self, rules: &Value, more: &Value) {
        fs::write(self.path("rules.json"), json!({ "audit_rules": rules }).to_string()).unwrap();
        let mut settings = json!({ "rulespath": self.path("rules.json") });
        let settings = settings.as_object_mut().unwrap();
        settings.extend(more.as_object().unwrap().clone());
        let config = json!({ "class": "config",
            "parameters": { "config": { "audit": settings } } });
        writeln!(self.input.as_ref().unwrap(), "{config}").unwrap();
        self.hear_log("module received configuration");
    }

    /// What it says within a second.
    fn hear_soon(&mut self) -> Option<Said> {
        match self.output.read_until(b'\n', &mut self.line) {
            Ok(_) => Some(Message::read(&std::mem::take(&mut self.line)).unwrap().said()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn hear(&mut self) -> Said {
        let said = (0..60).find_map(|_| self.hear_soon());
        said.expect("something is said within a minute")
    }

    /// What the module ended with.
    fn end(&mut self) -> Result<(), String> {
        self.ended.take().unwrap().join().unwrap()
    }

    #[track_caller]
    fn hear_log(&mut self, text: &str) {
        assert_eq!(self.hear(), Said::Log(text.to_owned()));
    }

    /// Does something until an alert fits: for a second after a storm, the kernel
    /// drops what it should report. Log lines in between go to `logs`.
    #[track_caller]
    fn provoke(
        &mut self,
        logs: &mut Vec<String>,
        deed: impl Fn(),
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        for _ in 0..60 {
            deed();
            while let Some(said) = self.hear_soon() {
                match said {
                    Said::Alert(text) => {
                        let alert: Value = serde_json::from_str(&text).unwrap();
                        if fits(&alert) {
                            return alert;
                        }
                    }
                    Said::Log(text) => logs.push(text),
                    other => panic!("{other:?}"),
                }
            }
        }
        panic!("no alert fits; {logs:?}")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.input = None;
        // The kernel is given back before the test is over, however that ends.
        let _ = self.ended.take().map(JoinHandle::join);
    }
}

/// The kernel's auditing; `None`, and a line that says why, where it cannot be used.
fn kernel() -> Option<Auditing> {
    let claimed = Auditing::claim();
    claimed.inspect_err(|error| println!("skipped: auditing cannot be controlled: {error}")).ok()
}

/// A rule about a system call that nobody makes (`acct` of x86-64).
fn rule_of_somebody_else() -> Vec<u8> {
    let mut words = vec![0_u32; 260];
    words[0] = 4;
    words[1] = 2;
    words[3 + 163 / 32] = 1 << (163 % 32);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[expect(clippy::disallowed_methods, reason = "something the kernel reports")]
fn run(program: &Path, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success());
}

#[test]
fn what_this_kernel_audits_is_raised_and_the_host_left_as_it_was() {
    let Some(mut kernel) = kernel() else { return };
    kernel.link.add_rule(&rule_of_somebody_else()).unwrap();
    kernel.link.limit_backlog(77).unwrap();
    let before = kernel.link.status().unwrap();

    let mut lab = Lab::start();
    let (watched, busy) = (lab.path("watched"), lab.path("busy"));
    for path in [&watched, &busy] {
        fs::write(path, "one\n").unwrap();
    }
    let program = fs::canonicalize("/bin/true").unwrap();
    let missing = lab.path("missing");
    let rules = json!([
        { "path": watched, "permission": "wa", "key": "mig-watch" },
        { "path": missing, "permission": "w" },
        { "syscalls": ["execve"], "actions": ["always", "exit"], "key": "mig-run",
          "fields": [{ "name": "exe", "op": "eq", "value": program }] },
        { "path": busy, "permission": "w", "key": "mig-busy" },
    ]);
    lab.configure(&rules, &json!({ "ratelimit": 200, "backloglimit": 1000, "includeraw": true }));
    lab.hear_log("auditing enabled");
    lab.hear_log(&format!(
        "ruleset warning: rule 2: path {}: no such file or directory",
        missing.display()
    ));
    lab.hear_log("auditing configured");
    lab.hear_log("listening for audit events");
    let status = kernel.link.status().unwrap();
    assert_eq!((status.pid, status.enabled), (std::process::id(), 1));
    assert_eq!((status.rate_limit, status.backlog_limit), (200, 1000));

    let mut logs = Vec::new();
    let shell = Path::new("/bin/sh");
    let write = || run(shell, &["-c", "echo two >> \"$0\"", &watched.display().to_string()]);
    let whole = |alert: &Value, key: &str, records: usize| {
        alert["Data"]["key"] == key
            && alert["Records"].as_array().is_some_and(|r| r.len() >= records)
    };
    let alert = lab.provoke(&mut logs, write, |alert| whole(alert, "mig-watch", 4));
    assert_eq!(alert["Type"], "EOE");
    assert_eq!(alert["Data"]["comm"], "sh");
    let part = |alert: &Value, kind: &str| {
        let parts = alert["Records"].as_array().unwrap();
        parts.iter().find(|part| part["Type"] == kind).unwrap()["Data"].clone()
    };
    let name = watched.display().to_string();
    let parts = alert["Records"].as_array().unwrap();
    assert!(parts.iter().any(|part| part["Data"]["name"] == name), "{alert}");
    assert_eq!(part(&alert, "SYSCALL")["success"], "yes");
    let raw = alert["Raw"].as_str().unwrap();
    assert!(raw.starts_with("audit(") && raw.matches("audit(").count() == 1, "{raw}");
    let serial = alert["Serial"].as_str().unwrap();
    assert!(raw.contains(&format!(":{serial}): ")), "{raw}");

    let start = || run(&program, &["plain", "with blank"]);
    let alert = lab.provoke(&mut logs, start, |alert| whole(alert, "mig-run", 6));
    assert_eq!(part(&alert, "SYSCALL")["syscall"], "execve");
    let execve = part(&alert, "EXECVE");
    assert_eq!((&execve["a1"], &execve["a2"]), (&json!("plain"), &json!("with blank")));
    assert_eq!(
        part(&alert, "PROCTITLE")["proctitle"].as_str().unwrap(),
        format!("{} plain with blank", program.display())
    );

    // Another one is polite, and ends while it waits.
    let mut second = Lab::start();
    second.configure(&json!([]), &json!({}));
    second.hear_log(&format!(
        "another audit daemon is registered (process {}): nothing is changed, next look in 5 \
         minutes",
        std::process::id()
    ));
    second.input = None;
    assert_eq!(second.end(), Ok(()));

    // More in a moment than the limit allows: missing ones are said to be missing.
    let storm = "i=0; while [ $i -lt 400 ]; do echo x >> \"$0\"; i=$((i+1)); done";
    run(shell, &["-c", storm, &busy.display().to_string()]);
    lab.input = None;
    let gap = lab.provoke(&mut logs, || (), |alert| alert["Type"] == "GAP");
    let told = gap["Data"]["lost"].as_str().unwrap();
    let line = format!("events are missing: the kernel dropped records ({told})");
    assert!(logs.contains(&line), "{logs:?}");
    // The kernel may go on to lose some while rules are removed.
    let lost = kernel.link.status().unwrap().lost.wrapping_sub(before.lost);
    assert!((1..=lost).contains(&told.parse().unwrap()), "{told} of {lost}");
    let given_back = "auditing given back".to_owned();
    while !logs.contains(&given_back) && lab.hear() != Said::Log(given_back.clone()) {}
    assert_eq!(lab.end(), Ok(()));

    let after = kernel.link.status().unwrap();
    assert_eq!(Status { lost: before.lost, ..after }, before);
    let rules = kernel.link.remove_rules().unwrap();
    assert_eq!(rules, [rule_of_somebody_else()]);
}

#[test]
fn rules_the_kernel_refuses_leave_it_as_it_was() {
    let Some(mut kernel) = kernel() else { return };
    let before = kernel.link.status().unwrap();
    let mut lab = Lab::start();
    let call = json!({ "syscalls": ["acct"], "actions": ["always", "exit"] });
    // The kernel knows no program at this path to tell others from.
    let refused = json!({ "syscalls": ["acct"], "actions": ["always", "exit"],
        "fields": [{ "name": "exe", "op": "eq", "value": "/nonexistent/directory/program" }] });
    lab.configure(&json!([call, call, refused]), &json!({}));
    lab.hear_log("auditing enabled");
    lab.hear_log("ruleset warning: rule 2 is there already");
    lab.hear_log("auditing given back");
    let reason = "the kernel refuses rule 3: no such file or directory";
    lab.hear_log(reason);
    assert_eq!(lab.end(), Err(reason.to_owned()));
    let after = kernel.link.status().unwrap();
    assert_eq!(Status { lost: before.lost, ..after }, before);
    assert!(kernel.link.remove_rules().unwrap().is_empty());
}

#[test]
fn a_module_without_usable_rules_ends_before_the_kernel_is_touched() {
    let mut lab = Lab::start();
    lab.configure(&json!([{ "syscalls": ["opn"], "actions": ["exit", "always"] }]), &json!({}));
    let reason = format!(
        "rule 1 of {}: system call \"opn\" is not known on {}",
        lab.path("rules.json").display(),
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
    );
    lab.hear_log(&reason);
    assert_eq!(lab.end(), Err(reason));

    let mut lab = Lab::start();
    lab.configure(&json!([]), &json!({ "rulespath": "" }));
    lab.hear_log("audit.rulespath, the file of rules, is not set in audit.cfg");
    assert!(lab.end().is_err());

    let mut lab = Lab::start();
    lab.configure(&json!([]), &json!({ "rulespath": "/nonexistent/rules.json" }));
    let Said::Log(reason) = lab.hear() else { panic!("a log line is expected") };
    assert!(reason.starts_with("cannot read the rules of /nonexistent/rules.json"), "{reason}");
}

#[test]
fn it_says_that_it_lives() {
    let lab = Lab::start();
    let ask = |question: &str| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        lab.connections.send(Box::new(theirs)).unwrap();
        ours.write_all(question.as_bytes()).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("{\"class\":\"parameters\",\"parameters\":{}}\n");
    let result: ModuleResult = serde_json::from_str(&answer).unwrap();
    assert!(result.success && result.foundanything);
    assert_eq!(result.elements, json!({ "ok": true }));
    assert_eq!(Audit::default().print(&result, true).unwrap(), ["ok:true"]);
    let parse = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Audit::default().parse_args(&args)
    };
    assert_eq!(parse(&[]), Ok(ParsedArgs::Params(json!({}))));
    assert!(matches!(parse(&["help"]), Ok(ParsedArgs::Help(_))));
    assert!(parse(&["-path", "/"]).is_err());
}
