//! What a module tries that got into the wrong hands.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use mig_types::ModuleResult;
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What the attempts aim at.
#[derive(Deserialize)]
struct Scene {
    /// A file outside of what modules with few needs may read.
    file: PathBuf,
    folder: PathBuf,
    tcp: SocketAddr,
    unix: PathBuf,
    /// Another process.
    pid: i32,
}

type Attempt = (&'static str, fn(&Scene) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("read outside", |scene| fs::read(&scene.file).map(drop)),
    ("list outside", |scene| fs::read_dir(&scene.folder).map(drop)),
    ("create a file", |scene| File::create(scene.folder.join("new")).map(drop)),
    ("write a file", |scene| OpenOptions::new().write(true).open(&scene.file).map(drop)),
    ("change a mode", |scene| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&scene.file, fs::Permissions::from_mode(0o600))
    }),
    ("make a directory", |scene| fs::create_dir(scene.folder.join("dir"))),
    ("link a file", |scene| fs::hard_link(&scene.file, scene.folder.join("link"))),
    ("rename a file", |scene| fs::rename(&scene.file, scene.folder.join("gone"))),
    ("remove a file", |scene| fs::remove_file(scene.folder.join("victim"))),
    ("connect over TCP", |scene| TcpStream::connect(scene.tcp).map(drop)),
    ("make a datagram socket", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("connect to a local socket", |scene| UnixStream::connect(&scene.unix).map(drop)),
    ("start a program", |_| start_a_program()),
    ("signal another process", |scene| {
        rustix::process::kill_process(other(scene), Signal::CONT).map_err(Into::into)
    }),
    ("look into another process", |scene| {
        fs::read_link(format!("/proc/{}/exe", scene.pid)).map(drop)
    }),
    ("leave the process group", |_| rustix::process::setsid().map(drop).map_err(Into::into)),
    ("raise a limit", |_| {
        use rustix::process::{Resource, getrlimit, setrlimit};
        setrlimit(Resource::Nofile, getrlimit(Resource::Nofile)).map_err(Into::into)
    }),
    ("run on every processor", |_| {
        let mut all = rustix::thread::CpuSet::new();
        (0..rustix::thread::CpuSet::MAX_CPU).for_each(|core| all.set(core));
        rustix::thread::sched_setaffinity(None, &all).map_err(Into::into)
    }),
    ("leave the control group", |_| {
        let root = fs::read_to_string("/proc/self/mountinfo")?;
        let point = root.lines().find(|line| line.contains(" - cgroup2 "));
        let point = point.and_then(|line| line.split(' ').nth(4)).unwrap_or("/sys/fs/cgroup");
        OpenOptions::new().write(true).open(format!("{point}/cgroup.procs")).map(drop)
    }),
];

fn other(scene: &Scene) -> Pid {
    Pid::from_raw(scene.pid).unwrap_or(Pid::INIT)
}

#[expect(clippy::disallowed_methods, reason = "the very thing that must fail")]
fn start_a_program() -> io::Result<()> {
    let status = Command::new("/bin/true").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Tries everything; the elements say what worked.
pub(crate) fn run(params: &Value) -> ModuleResult {
    let scene = match Scene::deserialize(&params["scene"]) {
        Ok(scene) => scene,
        Err(error) => return ModuleResult::failed(format!("no scene: {error}")),
    };
    let tried: Map<String, Value> = ATTEMPTS
        .iter()
        .map(|(name, attempt)| {
            let outcome =
                attempt(&scene).map_or_else(|error| error.to_string(), |()| "done".into());
            ((*name).to_owned(), json!(outcome))
        })
        .collect();
    ModuleResult { success: true, elements: Value::Object(tried), ..ModuleResult::default() }
}
