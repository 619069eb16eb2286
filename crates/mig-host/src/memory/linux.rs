//! Linux: what `/proc` tells.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use mig_types::wire::lossy_bytewise;

use super::{Listed, Mapping, Name, PAGE, Touched, maps};
use crate::host::{Host, HostError};

/// Largest table of mappings that is read.
const MAX_MAPS: u64 = 64 << 20;
/// Largest part of a status file that is read.
const MAX_STATUS: u64 = 4096;

/// All processes, by ascending id.
///
/// # Errors
///
/// When the system does not list them.
pub fn processes(host: &dyn Host) -> Result<Vec<Listed>, HostError> {
    let failed = |source| HostError::new("/proc", source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(host.path(Path::new("/proc"))).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // `parse` would take a sign.
        let digits = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        found.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|pid| Listed { pid, name: String::new() }).collect())
}

/// This process, and the one that started it if both are the same program.
pub fn own_processes() -> Vec<u32> {
    let mut own = vec![std::process::id()];
    let parent = rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok());
    let identity =
        |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if let Some(parent) = parent
        && let Some(program) = identity(Path::new("/proc/self/exe"))
        && identity(Path::new(&format!("/proc/{parent}/exe"))) == Some(program)
    {
        own.push(parent);
    }
    own
}

/// One process to look at.
pub struct Process<'a> {
    host: &'a dyn Host,
    directory: PathBuf,
}

impl<'a> Process<'a> {
    pub fn new(host: &'a dyn Host, listed: &Listed) -> Self {
        let directory = host.path(&Path::new("/proc").join(listed.pid.to_string()));
        Self { host, directory }
    }

    /// # Errors
    ///
    /// When the process is gone.
    pub fn name(&self) -> io::Result<Name> {
        let link = std::fs::read_link(self.directory.join("exe"));
        let link = link.map(|link| lossy_bytewise(link.as_os_str().as_encoded_bytes()));
        let link = link.unwrap_or_default();
        if !link.is_empty()
            && let Some(path) = self.existing(&link)
        {
            return Ok(Name { shown: path, link });
        }
        let status = read(&self.directory.join("status"), MAX_STATUS)?;
        let status = lossy_bytewise(&status);
        let comm = status.lines().find_map(|line| line.strip_prefix("Name:"));
        Ok(Name { shown: format!("[{}]", comm.unwrap_or_default().trim_ascii()), link })
    }

    /// The path on this system, without links, if there is such a file.
    fn existing(&self, link: &str) -> Option<String> {
        let found = std::fs::canonicalize(self.host.path(Path::new(link))).ok()?;
        let root = std::fs::canonicalize(self.host.path(Path::new("/"))).ok()?;
        let below = Path::new("/").join(found.strip_prefix(root).ok()?);
        Some(lossy_bytewise(below.as_os_str().as_encoded_bytes()))
    }

    /// Its mappings, by ascending address.
    ///
    /// # Errors
    ///
    /// When the table cannot be read or has a line that makes no sense.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let table = read(&self.directory.join("maps"), MAX_MAPS)?;
        maps::parse(&table).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Its memory, opened for reading.
    ///
    /// # Errors
    ///
    /// When it may not be read, or the process is gone.
    pub fn memory(&self) -> io::Result<Memory> {
        let memory = crate::fs::open_file(&self.directory.join("mem"))?;
        // Without it, every page counts as used.
        let pages = crate::fs::open_file(&self.directory.join("pagemap")).ok();
        Ok(Memory { memory, pages })
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct Memory {
    memory: File,
    pages: Option<File>,
}

impl Memory {
    /// Reads from an address on, at most up to the first byte that cannot be
    /// read; 0 bytes when the process is gone.
    ///
    /// # Errors
    ///
    /// When the first byte cannot be read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.memory.read_at(buffer, address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The first pages of a range that were ever touched, and where to go on.
    /// Pages that never were hold nothing, and reading them would take memory.
    pub fn touched(&self, start: u64, end: u64) -> Touched {
        let whole = Touched { used: Some((start, end)), next: end };
        let Some(pages) = &self.pages else { return whole };
        // One word for each page; 512 KiB describe 256 MiB.
        let base = start / PAGE * PAGE;
        let count = ((end - base).div_ceil(PAGE)).min(1 << 16);
        let Ok(length) = usize::try_from(count * 8) else { return whole };
        let mut words = vec![0; length];
        let Ok(read) = pages.read_at(&mut words, base / PAGE * 8) else { return whole };
        words.truncate(read);
        // Present, or swapped out.
        let is_used = |word: &[u8]| word.last().is_some_and(|high| high & 0xc0 != 0);
        let mut flags = words.chunks_exact(8).map(is_used);
        let described = (read / 8) as u64;
        if described == 0 {
            return whole;
        }
        let Some(first) = flags.position(|used| used) else {
            return Touched { used: None, next: (base + described * PAGE).min(end) };
        };
        let run = flags.take_while(|used| *used).count() as u64;
        let first = base + first as u64 * PAGE;
        let to = (first + (run + 1) * PAGE).min(end);
        Touched { used: Some((first.max(start), to)), next: to }
    }
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    crate::fs::open_file(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalHost;

    /// A tree with one process.
    fn tree() -> (tempfile::TempDir, LocalHost) {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path().join("proc/42");
        std::fs::create_dir_all(&process).unwrap();
        std::fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        std::fs::create_dir_all(dir.path().join("proc/+7")).unwrap();
        std::fs::write(process.join("status"), "Name:\tvictim\nUmask:\t0022\n").unwrap();
        std::os::unix::fs::symlink("/usr/bin/victim", process.join("exe")).unwrap();
        let host = LocalHost::new(dir.path());
        (dir, host)
    }

    #[test]
    fn a_process_is_called_by_its_path_if_that_leads_anywhere() {
        let (dir, host) = tree();
        let listed = |pid| Listed { pid, name: String::new() };
        assert_eq!(processes(&host).unwrap(), [listed(42)]);
        let process = Process::new(&host, &listed(42));
        let name = process.name().unwrap();
        assert_eq!((name.shown.as_str(), name.link.as_str()), ("[victim]", "/usr/bin/victim"));
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        std::fs::write(dir.path().join("usr/bin/real"), "").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("usr/bin/victim")).unwrap();
        assert_eq!(process.name().unwrap().shown, "/usr/bin/real");
        assert!(Process::new(&host, &listed(43)).name().is_err());
    }

    #[test]
    fn only_touched_pages_are_worth_reading() {
        let dir = tempfile::tempdir().unwrap();
        let present = (1_u64 << 63).to_le_bytes();
        let swapped = (1_u64 << 62).to_le_bytes();
        let words = [[0; 8], present, swapped, [0; 8], present].concat();
        std::fs::write(dir.path().join("pagemap"), words).unwrap();
        let file = || File::open(dir.path().join("pagemap")).unwrap();
        let memory = Memory { memory: file(), pages: Some(file()) };
        let (page, end) = (PAGE, 5 * PAGE);
        let touched = |from| memory.touched(from, end);
        assert_eq!(touched(0), Touched { used: Some((page, 3 * page)), next: 3 * page });
        assert_eq!(touched(3 * page), Touched { used: Some((4 * page, end)), next: end });
        // From the middle of a page on.
        assert_eq!(touched(5), Touched { used: Some((page, 3 * page)), next: 3 * page });
        let middle = Touched { used: Some((page + 5, 3 * page)), next: 3 * page };
        assert_eq!(touched(page + 5), middle);
        let none = memory.touched(3 * page, 4 * page);
        assert_eq!(none, Touched { used: None, next: 4 * page });
        // What is not described is read.
        let beyond = memory.touched(9 * page, 10 * page);
        assert_eq!(beyond.used, Some((9 * page, 10 * page)));
    }

    #[test]
    fn this_process_can_be_read() {
        let host = LocalHost::default();
        let process = Process::new(&host, &Listed { pid: std::process::id(), name: String::new() });
        let text = vec![b'm'; 5000];
        let address = text.as_ptr() as u64;
        let inside = process.mappings().unwrap().into_iter().any(|mapping| {
            mapping.is_readable && mapping.start <= address && address < mapping.end
        });
        assert!(inside);
        let mut buffer = [0; 5000];
        let memory = process.memory().unwrap();
        assert_eq!(memory.read(address, &mut buffer).unwrap(), 5000);
        assert_eq!(buffer.as_slice(), text);
        let touched = memory.touched(address / PAGE * PAGE, address / PAGE * PAGE + PAGE);
        assert!(touched.used.is_some());
        assert!(memory.read(0, &mut buffer).is_err());
    }
}
