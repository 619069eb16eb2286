//! dpkg: the `status` file, updates to it, and the fragments of images that are
//! built without dpkg.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use mig_types::wire::lossy_bytewise;

use super::lines::Lines;
use super::{Inventory, MAX_PACKAGES, Manager, Package, ReadError};
use crate::fs::Root;

const STATUS: &str = "/var/lib/dpkg/status";
/// Paragraphs that a later run of dpkg merges into `status`.
const UPDATES: &str = "/var/lib/dpkg/updates";
/// One file for each package, without a state: what is there is installed.
const FRAGMENTS: &str = "/var/lib/dpkg/status.d";
/// The native architecture, then foreign ones; only where there are some.
const ARCHITECTURES: &str = "/var/lib/dpkg/arch";

/// Packages by name and architecture, the order of `dpkg -l`.
#[derive(Debug, Default)]
pub struct Database {
    entries: BTreeMap<(String, String), Entry>,
    /// Paragraphs that make no sense.
    pub damaged: u64,
}

#[derive(Debug)]
struct Entry {
    version: String,
    is_installed: bool,
    /// `Multi-Arch: same`.
    is_same: bool,
}

/// A paragraph while it is read.
#[derive(Debug, Default)]
struct Paragraph {
    has_lines: bool,
    name: String,
    version: String,
    arch: String,
    status: Option<String>,
    is_same: bool,
}

pub(super) fn read(root: &Root, stop: &dyn Fn() -> bool, inventory: &mut Inventory) {
    let mut database = Database::default();
    let mut add = |path: &Path, is_fragment| {
        let read = super::open_text(root, path)
            .and_then(|lines| database.add_lines(lines, is_fragment, stop));
        if let Err(error) = read
            && !error.is_missing()
        {
            inventory.fail(&path.display().to_string(), &error);
        }
    };
    add(Path::new(STATUS), false);
    for path in files(root, UPDATES, |name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        add(&path, false);
    }
    for path in files(root, FRAGMENTS, |name| !name.ends_with(".md5sums")) {
        add(&path, true);
    }
    let native = super::open_text(root, Path::new(ARCHITECTURES))
        .ok()
        .and_then(|mut lines| lines.next().ok().flatten().map(lossy_bytewise))
        .filter(|native| !native.is_empty());
    inventory.damaged += database.damaged;
    for package in database.installed(native.as_deref()) {
        if let Err(error) = inventory.push(package) {
            inventory.fail(STATUS, &error);
            break;
        }
    }
}

/// Files of a directory whose names are wanted, in their order.
fn files(root: &Root, directory: &str, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    // Missing on most systems, and no loss where it cannot be listed.
    let names = root.names(Path::new(directory)).unwrap_or_default();
    let wanted = names.iter().filter(|name| name.to_str().is_some_and(wanted));
    wanted.map(|name| Path::new(directory).join(name)).collect()
}

impl Database {
    /// Reads paragraphs in the form of the `status` file. A later paragraph
    /// about the same package replaces an earlier one; in a fragment, one
    /// without `Status` is installed.
    ///
    /// # Errors
    ///
    /// When the input fails, is too large, or the time is over; what was read
    /// until then stays.
    pub fn add(
        &mut self,
        input: impl Read,
        size_bytes: u64,
        is_fragment: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), ReadError> {
        self.add_lines(Lines::new(input, size_bytes), is_fragment, stop)
    }

    fn add_lines<R: Read>(
        &mut self,
        mut lines: Lines<R>,
        is_fragment: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), ReadError> {
        let mut paragraph = Paragraph::default();
        while let Some(line) = lines.next()? {
            if !line.is_empty() {
                paragraph.take(line);
                continue;
            }
            self.take(std::mem::take(&mut paragraph), is_fragment)?;
            if stop() {
                return Err(ReadError::Stopped);
            }
        }
        self.take(paragraph, is_fragment)?;
        if lines.cut { Err(ReadError::Malformed("the file is too large")) } else { Ok(()) }
    }

    fn take(&mut self, paragraph: Paragraph, is_fragment: bool) -> Result<(), ReadError> {
        if !paragraph.has_lines {
            return Ok(());
        }
        let is_installed = match &paragraph.status {
            Some(status) => status.split_ascii_whitespace().eq(["install", "ok", "installed"]),
            None => is_fragment,
        };
        let makes_sense = !paragraph.name.is_empty()
            && (paragraph.status.is_some() || is_fragment)
            && !(is_installed && (paragraph.version.is_empty() || paragraph.arch.is_empty()));
        if !makes_sense {
            self.damaged += 1;
            return Ok(());
        }
        if self.entries.len() >= MAX_PACKAGES {
            return Err(ReadError::Full);
        }
        let entry = Entry {
            version: without_zero_epoch(paragraph.version),
            is_installed,
            is_same: paragraph.is_same,
        };
        self.entries.insert((paragraph.name, paragraph.arch), entry);
        Ok(())
    }

    /// Packages in the state `ii`, named as `dpkg -l` names them. Without a
    /// `native` architecture, it is that of dpkg itself, or else the most common
    /// one.
    pub fn installed(self, native: Option<&str>) -> impl Iterator<Item = Package> {
        let native = native.map(str::to_owned).or_else(|| self.native()).unwrap_or_default();
        let installed = self.entries.into_iter().filter(|(_, entry)| entry.is_installed);
        installed.map(move |((name, arch), entry)| {
            let is_plain = !entry.is_same && (arch == "all" || arch == native);
            let name = if is_plain { name } else { format!("{name}:{arch}") };
            Package { name, version: entry.version, arch, manager: Manager::Dpkg }
        })
    }

    fn native(&self) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for ((name, arch), entry) in &self.entries {
            if !entry.is_installed || arch == "all" {
                continue;
            }
            if name == "dpkg" {
                return Some(arch.clone());
            }
            *counts.entry(arch).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(arch, _)| arch.to_owned())
    }
}

impl Paragraph {
    fn take(&mut self, line: &[u8]) {
        self.has_lines = true;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let Some((field, value)) = line.split_at_checked(colon) else { return };
        let text = || lossy_bytewise(value.get(1..).unwrap_or_default().trim_ascii());
        let is = |name: &[u8]| field.eq_ignore_ascii_case(name);
        // Continued lines start with a blank and match no field.
        if is(b"Package") {
            self.name = text();
        } else if is(b"Version") {
            self.version = text();
        } else if is(b"Architecture") {
            self.arch = text();
        } else if is(b"Status") {
            self.status = Some(text());
        } else if is(b"Multi-Arch") {
            self.is_same = text() == "same";
        }
    }
}

/// dpkg does not show an epoch of zero.
fn without_zero_epoch(version: String) -> String {
    match version.split_once(':') {
        Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|byte| byte == b'0') => {
            rest.to_owned()
        }
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_text(text: &str, is_fragment: bool) -> Database {
        let mut database = Database::default();
        database.add(text.as_bytes(), text.len() as u64, is_fragment, &|| false).unwrap();
        database
    }

    fn names(text: &str) -> Vec<String> {
        read_text(text, false).installed(None).map(|package| package.name).collect()
    }

    fn paragraph(name: &str, status: &str, rest: &str) -> String {
        format!("Package: {name}\nStatus: {status}\n{rest}\n")
    }

    const PLAIN: &str = "Version: 1\nArchitecture: amd64\n";

    #[test]
    fn only_what_is_fully_installed_counts() {
        for status in [
            "hold ok installed",
            "deinstall ok config-files",
            "install ok unpacked",
            "install reinstreq installed",
            "install ok half-configured",
            "unknown ok not-installed",
        ] {
            assert_eq!(names(&paragraph("a", status, PLAIN)), [""; 0], "{status}");
        }
        assert_eq!(names(&paragraph("a", "install ok installed", PLAIN)), ["a"]);
    }

    #[test]
    fn damage_is_counted_and_costs_one_paragraph() {
        let text = [
            paragraph("no-version", "install ok installed", "Architecture: amd64\n"),
            paragraph("no-arch", "install ok installed", "Version: 1\n"),
            format!("Package: no-status\n{PLAIN}\n"),
            format!("Status: install ok installed\n{PLAIN}\n"),
            "no field at all\n\n".to_owned(),
            paragraph("good", "install ok installed", PLAIN),
        ]
        .concat();
        let database = read_text(&text, false);
        assert_eq!(database.damaged, 5);
        assert_eq!(database.installed(None).count(), 1);
    }

    #[test]
    fn names_carry_an_architecture_where_dpkg_shows_it() {
        let with = |arch: &str, more: &str| format!("Version: 1\nArchitecture: {arch}\n{more}");
        let text = [
            paragraph("dpkg", "install ok installed", &with("amd64", "")),
            paragraph("libc6-dev", "install ok installed", &with("amd64", "Multi-Arch: same\n")),
            paragraph("libc6", "install ok installed", &with("i386", "Multi-Arch: same\n")),
            paragraph("libc6", "install ok installed", &with("amd64", "multi-arch: same\n")),
            paragraph("wine", "install ok installed", &with("i386", "Multi-Arch: foreign\n")),
            paragraph("data", "install ok installed", &with("all", "Multi-Arch: foreign\n")),
            paragraph("i1", "install ok installed", &with("i386", "")),
            paragraph("i2", "install ok installed", &with("i386", "")),
        ]
        .concat();
        assert_eq!(
            names(&text),
            [
                "data",
                "dpkg",
                "i1:i386",
                "i2:i386",
                "libc6:amd64",
                "libc6:i386",
                "libc6-dev:amd64",
                "wine:i386"
            ]
        );
    }

    #[test]
    fn an_epoch_of_zero_is_not_shown() {
        for (raw, shown) in [
            ("1:9.9.5-1", "1:9.9.5-1"),
            ("0:9.9.5", "9.9.5"),
            ("00:1", "1"),
            (":1", ":1"),
            ("2.36-9+deb12u14", "2.36-9+deb12u14"),
            ("10:0:1", "10:0:1"),
        ] {
            assert_eq!(without_zero_epoch(raw.to_owned()), shown);
        }
    }

    #[test]
    fn updates_replace_and_fragments_need_no_status() {
        let mut database = read_text(&paragraph("a", "install ok installed", PLAIN), false);
        let update = paragraph("a", "deinstall ok config-files", PLAIN);
        database.add(update.as_bytes(), update.len() as u64, false, &|| false).unwrap();
        let fragment = format!("Package: b\n{PLAIN}Description: x\n y: z\n");
        database.add(fragment.as_bytes(), fragment.len() as u64, true, &|| false).unwrap();
        let found: Vec<String> = database.installed(None).map(|p| p.name).collect();
        assert_eq!(found, ["b"]);
    }

    #[test]
    fn the_end_of_time_ends_the_reading() {
        let text = paragraph("a", "install ok installed", PLAIN);
        let read = Database::default().add(text.as_bytes(), 1, false, &|| true);
        assert!(matches!(read, Err(ReadError::Stopped)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_packages_or_damage(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            text in "(Package|Status|Version|Architecture|Multi-Arch|x)?:?[ a-z:\n]{0,12}",
            is_fragment: bool,
        ) {
            let mut database = Database::default();
            for input in [bytes.as_slice(), text.as_bytes()] {
                let size = input.len() as u64;
                prop_assert!(database.add(input, size, is_fragment, &|| false).is_ok());
            }
            for package in database.installed(None) {
                prop_assert!(!package.name.is_empty() && !package.version.is_empty());
            }
        }
    }
}
