//! Containers of this machine whose root directories can be read.
//!
//! Nothing is asked of a container engine: they leave what they know in files.
//! Docker and containerd mount the root of a container only while it runs, so
//! that stopped ones are not seen.

use std::path::{Path, PathBuf};

use mig_types::wire;

use crate::fs::Root;

/// Most containers of one machine that are listed.
pub const MAX_CONTAINERS: usize = 1_000;
/// Longest id; engines use 64 digits.
const MAX_ID: usize = 128;
/// Largest list of containers that is read.
const MAX_LIST: u64 = 16 << 20;

/// Directories in which the lists and the roots are.
pub const DIRECTORIES: [&str; 5] = [
    "/run/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/lxc",
    "/var/lib/machines",
];

const DOCKER_MOUNTS: &str = "/var/lib/docker/image/overlay2/layerdb/mounts";
const DOCKER_LAYERS: &str = "/var/lib/docker/overlay2";
/// Docker on containerd's images.
const DOCKER_ROOTS: &str = "/var/lib/docker/rootfs/overlayfs";
const CONTAINERD_TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";
/// Podman and CRI-O.
const STORAGE_LIST: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
const STORAGE_LAYERS: &str = "/var/lib/containers/storage/overlay";
const LXC: &str = "/var/lib/lxc";
const MACHINES: &str = "/var/lib/machines";

/// A container, by the id its engine gave it.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    /// Its root directory, from the root of the host.
    pub path: PathBuf,
    pub root: Root,
}

/// The containers below a host's root, sorted by id, at most
/// [`MAX_CONTAINERS`]; and whether there are more.
pub fn containers(host: &Root) -> (Vec<Container>, bool) {
    let mut places = docker(host);
    places.extend(storage(host));
    places.extend(directories(host, LXC, "rootfs"));
    places.extend(directories(host, MACHINES, ""));
    // Last, because Docker's containers are listed here as well, without roots.
    for namespace in names(host, CONTAINERD_TASKS) {
        let tasks = format!("{CONTAINERD_TASKS}/{namespace}");
        places.extend(directories(host, &tasks, "rootfs"));
    }
    let mut found: Vec<Container> = Vec::new();
    for (id, path) in places {
        if found.iter().any(|known| known.id == id) {
            continue;
        }
        // A root that is not mounted is missing or empty.
        let Ok(root) = host.sub(&path) else { continue };
        if root.names(Path::new("/")).is_ok_and(|names| !names.is_empty()) {
            found.push(Container { id, path, root });
        }
        if found.len() > MAX_CONTAINERS {
            found.pop();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            return (found, true);
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    (found, false)
}

/// An id and where the root may be.
type Place = (String, PathBuf);

fn docker(host: &Root) -> Vec<Place> {
    let mut places = directories(host, DOCKER_ROOTS, "");
    for id in names(host, DOCKER_MOUNTS) {
        let file = format!("{DOCKER_MOUNTS}/{id}/mount-id");
        let mount = read(host, &file).unwrap_or_default();
        let mount = String::from_utf8_lossy(mount.trim_ascii()).into_owned();
        if is_name(&mount) {
            places.push((id, Path::new(DOCKER_LAYERS).join(mount).join("merged")));
        }
    }
    places
}

fn storage(host: &Root) -> Vec<Place> {
    let list = read(host, STORAGE_LIST).unwrap_or_default();
    let Ok(list) = wire::value_from_slice(&list) else { return Vec::new() };
    let entries = list.as_array().into_iter().flatten();
    let places = entries.filter_map(|entry| {
        let text = |key| entry.get(key)?.as_str().filter(|value| is_name(value));
        let path = Path::new(STORAGE_LAYERS).join(text("layer")?).join("merged");
        Some((text("id")?.to_owned(), path))
    });
    places.collect()
}

/// Each directory below `parent` with a name is a container.
fn directories(host: &Root, parent: &str, root: &str) -> Vec<Place> {
    let place = |id: String| {
        let path = Path::new(parent).join(&id).join(root);
        (id, path)
    };
    names(host, parent).into_iter().map(place).collect()
}

/// The names in a directory that can be ids. Missing directories are those of
/// engines this machine does not have.
fn names(host: &Root, directory: &str) -> Vec<String> {
    let names = host.names(Path::new(directory)).unwrap_or_default();
    names.into_iter().filter_map(|name| name.into_string().ok()).filter(|n| is_name(n)).collect()
}

/// Whether a text names something inside a directory and nothing else.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_ID).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain)
}

fn read(host: &Root, path: &str) -> Option<Vec<u8>> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    host.open_file(Path::new(path)).ok()?.take(MAX_LIST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(root: &Path, path: &str) {
        std::fs::create_dir_all(root.join(path)).unwrap();
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn ids(root: &Path) -> Vec<String> {
        let (found, more) = containers(&Root::open(root).unwrap());
        assert!(!more);
        found.into_iter().map(|container| container.id).collect()
    }

    #[test]
    fn a_machine_without_engines_has_no_containers() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ids(dir.path()).is_empty());
    }

    #[test]
    fn every_engine_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (id, mount) in [("d1", "m1"), ("d2", "m2"), ("d3", "../../etc")] {
            let file = format!("var/lib/docker/image/overlay2/layerdb/mounts/{id}/mount-id");
            write(root, &file, mount);
        }
        make(root, "var/lib/docker/overlay2/m1/merged/etc");
        // Stopped: nothing is mounted.
        make(root, "var/lib/docker/overlay2/m2/diff/etc");
        make(root, "var/lib/docker/rootfs/overlayfs/d4/etc");
        let tasks = "run/containerd/io.containerd.runtime.v2.task";
        make(root, &format!("{tasks}/k8s.io/c1/rootfs/etc"));
        make(root, &format!("{tasks}/moby/d1/rootfs"));
        let list = r#"[{"id":"p1","names":["web"],"layer":"l1"},{"id":"p2","layer":"../x"},{},7]"#;
        write(root, "var/lib/containers/storage/overlay-containers/containers.json", list);
        make(root, "var/lib/containers/storage/overlay/l1/merged/etc");
        make(root, "var/lib/lxc/box/rootfs/etc");
        make(root, "var/lib/machines/nspawn/etc");
        make(root, "var/lib/machines/.hidden/etc");
        assert_eq!(ids(root), ["box", "c1", "d1", "d4", "nspawn", "p1"]);
    }

    #[test]
    fn a_list_that_makes_no_sense_lists_nothing() {
        for text in ["", "{", "{}", "[[]]", "[{\"id\":1}]"] {
            let dir = tempfile::tempdir().unwrap();
            let path = "var/lib/containers/storage/overlay-containers/containers.json";
            write(dir.path(), path, text);
            assert!(ids(dir.path()).is_empty(), "{text}");
        }
    }
}
