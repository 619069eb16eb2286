//! What holds outside, and what holds inside.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use mig_sandbox::{Layer, Profile, Sandbox, enter};

use crate::scene::{ATTEMPTS, Scene};

/// Attempts in a thread of their own, after `before`.
fn results(
    before: impl FnOnce() -> Option<Sandbox> + Send,
) -> (Option<Sandbox>, Vec<io::Result<()>>) {
    let scene = Scene::new();
    // Each attempt on a scene that the earlier ones may have changed: put the
    // file back from outside.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let sandbox = before();
                let results = ATTEMPTS
                    .iter()
                    .map(|(_, attempt, _)| {
                        let result = attempt(&scene);
                        put_back(&scene.there());
                        result
                    })
                    .collect();
                (sandbox, results)
            })
            .join()
            .unwrap()
    })
}

/// Fails in a sandbox, where nothing was taken away either.
fn put_back(path: &Path) {
    if let Ok(mut file) = OpenOptions::new().write(true).create(true).truncate(true).open(path) {
        let _ = io::Write::write_all(&mut file, b"content");
    }
}

#[test]
fn outside_every_attempt_works() {
    let (_, results) = results(|| None);
    for ((name, ..), result) in ATTEMPTS.iter().zip(results) {
        // Only root may speak in packets or name the host.
        let privileged = ["make a packet socket", "name the host"];
        let root = rustix::process::geteuid().is_root();
        assert!(result.is_ok() || (!root && privileged.contains(name)), "{name}: {result:?}");
    }
}

#[test]
fn inside_only_what_the_profile_names_works() {
    let mut tried = 0;
    for bits in 0..=u8::MAX {
        let flag = |bit: u8| bits & (1 << bit) != 0;
        let profile = Profile {
            // Programs and their libraries have to be read to be started.
            reads: if flag(0) { &["/"] } else { &["/proc", "/sys"] },
            network: flag(1),
            kernel_sockets: flag(2),
            programs: flag(3),
            processes: flag(4),
            signals: flag(5),
            watches: flag(6),
            audit: flag(7),
        };
        let (sandbox, results) = results(|| Some(enter(&profile)));
        let sandbox = sandbox.unwrap();
        if sandbox.files == Layer::Partial || !sandbox.is_complete() {
            println!("skipped: this kernel has no whole sandbox: {sandbox}");
            return;
        }
        for ((name, _, allowed), result) in ATTEMPTS.iter().zip(results) {
            tried += 1;
            // Without Landlock, every file is open to read.
            let free = profile.processes && ["read a file", "list a directory"].contains(name);
            let expected = allowed(&profile) || free;
            assert_eq!(result.is_ok(), expected, "{name} under {profile:?}: {result:?}");
        }
    }
    println!("sandbox: {tried} attempts under 256 profiles, each as its profile says");
}

/// What a module that asks other machines needs before it can ask.
#[test]
fn a_name_is_looked_up_inside() {
    use std::net::ToSocketAddrs as _;

    let reads = ["/etc", "/lib", "/lib64", "/proc", "/run/systemd/resolve", "/usr/lib"];
    let profile = Profile { reads: &reads, network: true, ..Profile::default() };
    let found = std::thread::scope(|scope| {
        let look = || {
            let sandbox = enter(&profile);
            (sandbox, ("localhost", 123).to_socket_addrs().map(|mut found| found.next()))
        };
        scope.spawn(look).join().unwrap()
    });
    assert!(matches!(found.1, Ok(Some(address)) if address.ip().is_loopback()), "{found:?}");
}
