//! Every module that is shipped, taken over: what it can still do to its host
//! is what it declared, and nothing else.

#![cfg(test)]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mig_agent::execute::child::{ORDERS, Orders, Sandboxing};
use mig_module::process::parameters_message;
use mig_module::{DynModule as _, Needs};
use mig_types::{ModuleResult, wire};
use serde_json::{Value, json};

/// Attempts that no need allows.
const NEVER: &[&str] = &[
    "create a file",
    "write a file",
    "change a mode",
    "make a directory",
    "link a file",
    "rename a file",
    "remove a file",
    "listen",
    "connect to a local socket",
    "start a program",
    "signal another process",
    "leave the process group",
    "raise a limit",
    "run on every processor",
    "leave the control group",
];

/// What each module is known to need. A module that wants more than it did has
/// to say so here, too.
fn known(module: &str) -> Needs {
    let none = Needs { reads: &[], ..Needs::default() };
    match module {
        "file" | "scribe" | "sshkey" | "yara" => Needs::default(),
        "example" | "ping" | "timedrift" => {
            Needs { reads: Needs::NETWORK_FILES, network: true, ..none }
        }
        "netstat" => Needs { reads: &["/proc", "/sys"], kernel_sockets: true, ..none },
        // Landlock would close other processes to it.
        "memory" => Needs { processes: true, ..Needs::default() },
        "agentdestroy" => Needs { unconfined: true, ..Needs::default() },
        // The databases of package managers, wherever those are.
        "pkg" => Needs { reads: real("pkg").reads, ..none },
        other => panic!("{other} is new: say here what it needs"),
    }
}

fn real(module: &str) -> Needs {
    if module == "example" {
        return mig_module_example::Example.needs();
    }
    mig_modules::registry().get(module).unwrap().needs()
}

struct Scene {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    _unix: UnixListener,
    other: Child,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "a process that is not the module's")]
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["file", "victim"] {
            std::fs::write(folder.path().join(name), "content").unwrap();
        }
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            _unix: unix,
            other: Command::new("sleep").arg("600").spawn().unwrap(),
            folder,
        }
    }

    fn params(&self) -> Value {
        let path = |name: &str| self.folder.path().join(name);
        json!({ "scene": {
            "file": path("file"), "folder": self.folder.path(), "unix": path("socket"),
            "tcp": self.tcp.local_addr().unwrap(), "pid": self.other.id(),
        } })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.other.kill().unwrap();
        self.other.wait().unwrap();
    }
}

/// Runs the attempts in the place of a module; what became of each.
#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn attempts(module: &str, sandbox: Sandboxing) -> Result<BTreeMap<String, String>, String> {
    let scene = Scene::new();
    let orders = Orders {
        parent: std::process::id(),
        memory_bytes: 256 << 20,
        deadline: Duration::from_mins(1),
        threads: 1,
        compressed: false,
        privacy: false,
        sandbox,
        cgroup: None,
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_mig-hostile-agent"))
        .args(["-m", module])
        .env(ORDERS, serde_json::to_string(&orders).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&parameters_message(&scene.params())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{module}: {}", output.status);
    let result: ModuleResult = wire::from_slice(&output.stdout).unwrap();
    if !result.success {
        return Err(result.errors.unwrap_or_default().join("; "));
    }
    Ok(serde_json::from_value(result.elements).unwrap())
}

#[test]
fn outside_of_a_sandbox_every_attempt_works() {
    let Ok(tried) = attempts("file", Sandboxing::Off) else { panic!("off asks for nothing") };
    for (attempt, outcome) in &tried {
        let root = rustix::process::geteuid().is_root();
        let expected = outcome == "done" || (!root && attempt == "leave the control group");
        assert!(expected, "{attempt}: {outcome}");
    }
    assert!(NEVER.iter().all(|attempt| tried.contains_key(*attempt)));
}

#[test]
fn a_module_can_do_what_it_declared_and_nothing_else() {
    let mut names = mig_modules::registry().names();
    if !names.contains(&"example") {
        names.push("example");
    }
    let (mut modules, mut refused, mut total) = (0, 0, 0);
    for module in names {
        let needs = real(module);
        assert_eq!(needs, known(module), "{module} needs something else than it did");
        if needs.unconfined {
            // It ends another agent and removes its program: it is not confined,
            // and nothing else is shipped that is not.
            assert_eq!(module, "agentdestroy");
            continue;
        }
        let tried = match attempts(module, Sandboxing::Require) {
            Ok(tried) => tried,
            Err(reason) if reason.contains("agent.modulesandbox = require") => {
                println!("skipped: {reason}");
                return;
            }
            Err(reason) => panic!("{module}: {reason}"),
        };
        modules += 1;
        // Landlock does not hold for those who look into other processes.
        let reads_all = needs.reads == ["/"] || needs.processes;
        for (attempt, outcome) in tried {
            let allowed = match attempt.as_str() {
                "read outside" | "list outside" => reads_all,
                "connect over TCP" | "make a datagram socket" => needs.network,
                "look into another process" => needs.processes,
                name if NEVER.contains(&name) => false,
                name => panic!("{name} is expected nowhere"),
            };
            total += 1;
            refused += usize::from(!allowed);
            assert_eq!(outcome == "done", allowed, "{module}, {attempt}: {outcome}");
        }
    }
    println!(
        "sandbox: {modules} modules taken over, {total} attempts, {refused} refused, each as the \
         module declared"
    );
}
