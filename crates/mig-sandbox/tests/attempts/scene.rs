//! What a module that went bad would try, and what it would aim at.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use mig_sandbox::Profile;
use rustix::net::{AddressFamily, SocketType};

/// What the attempts aim at.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    tcp: TcpListener,
    unix: UnixListener,
    other: std::sync::Mutex<std::process::Child>,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "a process that is not ours to look into")]
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("there"), "content").unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            unix,
            other: std::sync::Mutex::new(other),
            folder,
        }
    }

    pub(crate) fn there(&self) -> PathBuf {
        self.folder.path().join("there")
    }

    fn other(&self) -> rustix::process::Pid {
        let id = self.other.lock().unwrap().id();
        rustix::process::Pid::from_raw(id.cast_signed()).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let mut other = self.other.lock().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

/// Whether a profile allows it.
pub(crate) type Allowed = fn(&Profile<'_>) -> bool;
pub(crate) type Attempt = (&'static str, fn(&Scene) -> io::Result<()>, Allowed);

fn never(_: &Profile<'_>) -> bool {
    false
}

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("read a file", |scene| fs::read(scene.there()).map(drop), |p| p.reads == ["/"]),
    ("list a directory", |scene| fs::read_dir(scene.folder.path()).map(drop), |p| p.reads == ["/"]),
    ("read what the kernel says", |_| fs::read("/proc/self/status").map(drop), |_| true),
    (
        "start a thread",
        |_| {
            std::thread::Builder::new()
                .spawn(|| ())
                .and_then(|thread| thread.join().map_err(|_| io::Error::other("the thread failed")))
        },
        |_| true,
    ),
    ("create a file", |scene| File::create(scene.folder.path().join("new")).map(drop), never),
    (
        "open a file for writing",
        |scene| OpenOptions::new().write(true).open(scene.there()).map(drop),
        never,
    ),
    (
        "append to a file",
        |scene| OpenOptions::new().append(true).open(scene.there()).map(drop),
        never,
    ),
    (
        // The kernel asks for the right to write the file, and opens it for reading.
        "empty a file that is opened for reading",
        |scene| {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::RDONLY | OFlags::TRUNC | OFlags::CLOEXEC;
            rustix::fs::open(scene.there(), flags, Mode::empty()).map(drop).map_err(Into::into)
        },
        never,
    ),
    ("make a directory", |scene| fs::create_dir(scene.folder.path().join("dir")), never),
    ("rename a file", |scene| fs::rename(scene.there(), scene.folder.path().join("gone")), never),
    ("link a file", |scene| fs::hard_link(scene.there(), scene.folder.path().join("hard")), never),
    (
        "make a symbolic link",
        |scene| std::os::unix::fs::symlink("there", scene.folder.path().join("soft")),
        never,
    ),
    ("remove a file", |scene| fs::remove_file(scene.there()), never),
    (
        "change a mode",
        |scene| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(scene.there(), fs::Permissions::from_mode(0o777))
        },
        never,
    ),
    (
        "change a time",
        |scene| File::open(scene.there())?.set_modified(std::time::SystemTime::UNIX_EPOCH),
        never,
    ),
    (
        "set an attribute",
        |scene| {
            rustix::fs::setxattr(scene.there(), "user.mark", b"x", rustix::fs::XattrFlags::empty())
                .map_err(Into::into)
        },
        never,
    ),
    (
        "connect over TCP",
        |scene| TcpStream::connect(scene.tcp.local_addr()?).map(drop),
        |p| p.network,
    ),
    ("send a datagram", |_| UdpSocket::bind("127.0.0.1:0").map(drop), |p| p.network),
    ("listen on TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop), never),
    (
        "connect to a local socket",
        |scene| {
            let address = scene.unix.local_addr()?;
            UnixStream::connect(address.as_pathname().unwrap()).map(drop)
        },
        never,
    ),
    ("make a local socket", |_| UnixDatagram::unbound().map(drop), never),
    (
        "ask the kernel over netlink",
        |_| {
            rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)
                .map(drop)
                .map_err(Into::into)
        },
        |p| p.network || p.kernel_sockets,
    ),
    (
        "speak with the kernel's auditing",
        |_| {
            use rustix::net::netlink::AUDIT;
            match rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(AUDIT)) {
                // The kernel has none.
                Err(rustix::io::Errno::PROTONOSUPPORT) => Ok(()),
                other => other.map(drop).map_err(Into::into),
            }
        },
        |p| p.audit,
    ),
    (
        "make a packet socket",
        |_| {
            rustix::net::socket(AddressFamily::PACKET, SocketType::DGRAM, None)
                .map(drop)
                .map_err(Into::into)
        },
        never,
    ),
    (
        "watch a directory",
        |scene| {
            use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
            let watch = init(CreateFlags::CLOEXEC)?;
            add_watch(&watch, scene.folder.path(), WatchFlags::CREATE).map(drop).map_err(Into::into)
        },
        |p| p.watches || (p.programs && !p.processes),
    ),
    ("start a program", start_a_program, |p| p.programs && !p.processes && p.reads == ["/"]),
    (
        "look into another process",
        |scene| {
            let path = format!("/proc/{}/exe", scene.other().as_raw_nonzero());
            fs::read_link(path).map(drop)
        },
        |p| p.processes,
    ),
    (
        "signal another process",
        |scene| {
            rustix::process::kill_process(scene.other(), rustix::process::Signal::CONT)
                .map_err(Into::into)
        },
        |p| p.signals,
    ),
    (
        "raise a limit",
        |_| {
            use rustix::process::{Resource, getrlimit, setrlimit};
            setrlimit(Resource::Nofile, getrlimit(Resource::Nofile)).map_err(Into::into)
        },
        never,
    ),
    (
        "name the host",
        |_| {
            let own = rustix::system::uname();
            rustix::system::sethostname(own.nodename().to_bytes()).map_err(Into::into)
        },
        never,
    ),
];

#[expect(clippy::disallowed_methods, reason = "the very thing that must fail")]
fn start_a_program(_: &Scene) -> io::Result<()> {
    let status = std::process::Command::new("/bin/true").status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}
