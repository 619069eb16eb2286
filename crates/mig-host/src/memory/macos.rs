//! macOS: what the kernel tells about processes, and their memory through task ports.
//!
//! A task port is for root, and for the processes of the system it is for nobody as long
//! as System Integrity Protection is on. Paths and mapped files take no port.

use std::ffi::c_char;
use std::io;

use mach2::kern_return::{
    KERN_INVALID_ADDRESS, KERN_INVALID_ARGUMENT, KERN_PROTECTION_FAILURE, KERN_SUCCESS,
    KERN_TERMINATED, kern_return_t,
};
use mach2::mach_port::mach_port_deallocate;
use mach2::message::MACH_SEND_INVALID_DEST;
use mach2::port::{MACH_PORT_DEAD, MACH_PORT_NULL, mach_port_t};
use mach2::traps::{mach_task_self, task_for_pid};
use mach2::vm::{mach_vm_read_overwrite, mach_vm_region_recurse};
use mach2::vm_prot::VM_PROT_READ;
use mach2::vm_region::{VM_REGION_SUBMAP_SHORT_INFO_COUNT_64, vm_region_submap_short_info_64};
use mig_types::wire::lossy_bytewise;
use rustix::process::{Pid, getpid, getppid};

use super::{Listed, Mapping, Name, SHARED, Touched, regions};
use crate::host::{Host, HostError};
use crate::process::macos::{Info, info, numbered, path};

/// Most processes that are listed: more than any system runs.
const MAX_PROCESSES: usize = 1 << 20;

/// All processes but the kernel's, by ascending id.
///
/// # Errors
///
/// When the system does not list them.
pub fn processes(_: &dyn Host) -> Result<Vec<Listed>, HostError> {
    let found = list().map_err(|source| HostError::new("the list of processes", source))?;
    Ok(found.into_iter().map(|pid| Listed { pid, name: String::new() }).collect())
}

/// This process, and the one that started it if both are the same program.
pub fn own_processes() -> Vec<u32> {
    let image = |pid| path(pid).ok();
    let parent = getppid().filter(|parent| {
        let own = image(getpid());
        own.is_some() && image(*parent) == own
    });
    let parent = parent.and_then(|parent| u32::try_from(parent.as_raw_pid()).ok());
    [std::process::id()].into_iter().chain(parent).collect()
}

/// One process to look at.
pub struct Process<'a>(&'a Listed);

impl<'a> Process<'a> {
    pub fn new(_: &dyn Host, listed: &'a Listed) -> Self {
        Self(listed)
    }

    /// # Errors
    ///
    /// When the process is gone.
    pub fn name(&self) -> io::Result<Name> {
        let pid = numbered(self.0.pid)?;
        let text = |path: &std::path::Path| lossy_bytewise(path.as_os_str().as_encoded_bytes());
        let link = path(pid).ok();
        if let Some(link) = &link
            && let Ok(found) = std::fs::canonicalize(link)
        {
            return Ok(Name { shown: text(&found), link: text(link) });
        }
        // Nobody is refused this.
        let known: libc::proc_bsdshortinfo = info(pid, 0)?;
        let shown = format!("[{}]", lossy_bytewise(&bytes(&known.pbsi_comm)));
        Ok(Name { shown, link: link.as_deref().map(text).unwrap_or_default() })
    }

    /// Its mappings, by ascending address; of a process whose memory is closed to us, the
    /// files alone, as unreadable.
    ///
    /// # Errors
    ///
    /// When not even those may be known, or it is gone.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let pid = numbered(self.0.pid)?;
        let files = files(pid)?;
        let Ok(task) = Task::of(pid) else { return Ok(files) };
        let mut found = regions::ascending(|address| task.region(address))?;
        regions::name(&mut found, &files);
        Ok(found)
    }

    /// Its memory, opened for reading.
    ///
    /// # Errors
    ///
    /// When it may not be read, or the process is gone.
    pub fn memory(&self) -> io::Result<Memory> {
        Ok(Memory(Task::of(numbered(self.0.pid)?)?))
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct Memory(Task);

impl Memory {
    /// Reads from an address on, at most up to the first byte that cannot be
    /// read; 0 bytes when the process is gone.
    ///
    /// # Errors
    ///
    /// When the first byte cannot be read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wanted = buffer.len();
        loop {
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let code = match self.0.read(address, part) {
                Ok(count) => return Ok(count),
                Err(code) if self.0.has_ended(code) => return Ok(0),
                Err(code) => code,
            };
            // The kernel reads all of it or nothing.
            match regions::shorter(address, wanted) {
                Some(less) => wanted = less,
                None => return Err(failure(code)),
            }
        }
    }

    /// The first pages of a range that were ever touched, and where to go on: all of
    /// them, for the system tells whether a page is in use now and not whether it was.
    pub fn touched(&self, start: u64, end: u64) -> Touched {
        Touched { used: Some((start, end)), next: end }
    }
}

/// A right to look into a process, given back when it is dropped.
#[derive(Debug)]
struct Task {
    port: mach_port_t,
    pid: Pid,
}

impl Task {
    fn of(pid: Pid) -> io::Result<Self> {
        let mut port = MACH_PORT_NULL;
        // SAFETY: plain numbers; the kernel writes one more, and that port is ours.
        #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
        let code =
            unsafe { task_for_pid(mach_task_self(), pid.as_raw_nonzero().get(), &raw mut port) };
        if code == KERN_SUCCESS && port != MACH_PORT_NULL && port != MACH_PORT_DEAD {
            return Ok(Self { port, pid });
        }
        // It does not say why.
        info::<libc::proc_bsdshortinfo>(pid, 0)?;
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// The region at an address, or the next one above it; `None` above the last one.
    fn region(&self, address: u64) -> io::Result<Option<Mapping>> {
        let (mut start, mut size) = (address, 0);
        // What all processes share is one region.
        let mut depth = 0;
        let mut found = vm_region_submap_short_info_64::default();
        let mut count = VM_REGION_SUBMAP_SHORT_INFO_COUNT_64;
        // SAFETY: the count is that of what is written to; the address is only asked about.
        #[expect(unsafe_code, reason = "as above")]
        let code = unsafe {
            mach_vm_region_recurse(
                self.port,
                &raw mut start,
                &raw mut size,
                &raw mut depth,
                (&raw mut found).cast(),
                &raw mut count,
            )
        };
        match code {
            KERN_SUCCESS => Ok(Some(Mapping {
                start,
                end: start.saturating_add(size),
                is_readable: found.protection & VM_PROT_READ != 0,
                is_anonymous: false,
                path: if found.is_submap == 0 { String::new() } else { SHARED.to_owned() },
            })),
            KERN_INVALID_ADDRESS => Ok(None),
            code => Err(failure(code)),
        }
    }

    /// Fills a buffer from an address on.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<usize, kern_return_t> {
        let mut count = 0;
        // SAFETY: the kernel writes at most as many bytes as the buffer has; the address
        // is one of the other process and whatever it is, an answer.
        #[expect(unsafe_code, reason = "as above")]
        let code = unsafe {
            mach_vm_read_overwrite(
                self.port,
                address,
                buffer.len() as u64,
                buffer.as_mut_ptr() as u64,
                &raw mut count,
            )
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(buffer.len());
        if code == KERN_SUCCESS { Ok(count) } else { Err(code) }
    }

    /// Whether that is why the kernel refused.
    fn has_ended(&self, code: kern_return_t) -> bool {
        match code {
            MACH_SEND_INVALID_DEST | KERN_TERMINATED => true,
            // A process without memory, among others.
            KERN_INVALID_ARGUMENT => info::<libc::proc_bsdshortinfo>(self.pid, 0).is_err(),
            _ => false,
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: the port is ours, and nobody uses it any more.
        #[expect(unsafe_code, reason = "as above")]
        unsafe {
            mach_port_deallocate(mach_task_self(), self.port);
        }
    }
}

/// A region with the file that is mapped there: `proc_regionwithpathinfo`.
#[repr(C)]
struct RegionFile {
    /// `proc_regioninfo`, 96 bytes that end with where the region begins and how long it is.
    region: [u64; 12],
    file: libc::vnode_info_path,
}

// SAFETY: what the system's headers say of it.
#[expect(unsafe_code, reason = "libc does not have it")]
unsafe impl Info for RegionFile {
    /// `PROC_PIDREGIONPATHINFO2`: the first region with a file at or above an address. It
    /// is what `proc_regionfilename` asks, or asked, which keeps the address to itself, so
    /// that memory of no file gets the name of the next file. The one documented question
    /// looks at every page of a region.
    const FLAVOR: libc::c_int = 22;
}

/// The files a process has mapped, and where; all but those in the shared cache.
fn files(pid: Pid) -> io::Result<Vec<Mapping>> {
    let found = regions::ascending(|address| {
        let RegionFile { region: [.., start, size], file } = match info(pid, address) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
            Err(error) => return Err(error),
        };
        let path = lossy_bytewise(&bytes(file.vip_path.as_flattened()));
        let end = start.saturating_add(size);
        Ok(Some(Mapping { start, end, path, ..Mapping::default() }))
    })?;
    // Every process has mapped what it runs: the kernel does not know the question.
    if found.is_empty() { Err(io::ErrorKind::Unsupported.into()) } else { Ok(found) }
}

/// All ids but 0, which stands for the kernel, by ascending order.
fn list() -> io::Result<Vec<u32>> {
    let mut ids: Vec<libc::pid_t> = vec![0; 1 << 10];
    loop {
        let size = libc::c_int::try_from(size_of_val(ids.as_slice())).unwrap_or(0);
        // SAFETY: that many bytes are there.
        #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
        let count = unsafe { libc::proc_listallpids(ids.as_mut_ptr().cast(), size) };
        let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else {
            return Err(io::Error::last_os_error());
        };
        if count < ids.len() {
            ids.truncate(count);
            break;
        }
        // Some may be missing.
        if ids.len() >= MAX_PROCESSES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        ids.resize(ids.len() * 2, 0);
    }
    let ids = ids.into_iter().filter_map(|id| u32::try_from(id).ok());
    let mut ids: Vec<u32> = ids.filter(|id| *id != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Text up to the first zero.
fn bytes(text: &[c_char]) -> Vec<u8> {
    text.iter().map(|unit| unit.cast_unsigned()).take_while(|byte| *byte != 0).collect()
}

fn failure(code: kern_return_t) -> io::Error {
    match code {
        KERN_INVALID_ADDRESS => io::Error::from_raw_os_error(libc::EFAULT),
        KERN_PROTECTION_FAILURE => io::ErrorKind::PermissionDenied.into(),
        code => io::Error::other(format!("the kernel says {code:#x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PAGE, libraries};
    use super::*;
    use crate::LocalHost;

    #[test]
    fn this_process_can_be_read() {
        let host = LocalHost::default();
        let pid = std::process::id();
        let all = processes(&host).unwrap();
        assert!(all.is_sorted_by_key(|listed| listed.pid) && all[0].pid != 0);
        let listed = all.iter().find(|listed| listed.pid == pid).unwrap();
        let process = Process::new(&host, listed);
        let name = process.name().unwrap();
        let own = std::fs::canonicalize(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(name.shown, own.to_str().unwrap());

        let text = vec![b'm'; 5000];
        let address = text.as_ptr() as u64;
        let mappings = process.mappings().unwrap();
        assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
        let inside = mappings.iter().any(|mapping| {
            mapping.is_readable
                && mapping.is_anonymous
                && mapping.start <= address
                && address < mapping.end
        });
        assert!(inside);
        assert!(mappings.iter().any(|mapping| mapping.path == SHARED));
        assert!(mappings.iter().any(|mapping| mapping.path == name.link));
        let found = libraries(&mappings, &name);
        assert!(!found.iter().any(|path| *path == name.link || *path == SHARED), "{found:?}");

        let mut buffer = [0; 5000];
        let memory = process.memory().unwrap();
        assert_eq!(memory.read(address, &mut buffer).unwrap(), 5000);
        assert_eq!(buffer.as_slice(), text);
        assert!(memory.read(0, &mut buffer).is_err());
        let all = memory.touched(PAGE, 3 * PAGE);
        assert_eq!(all, Touched { used: Some((PAGE, 3 * PAGE)), next: 3 * PAGE });
        assert_eq!(own_processes()[0], pid);
    }

    #[test]
    fn who_is_gone_has_no_name() {
        let host = LocalHost::default();
        let listed = Listed { pid: 0x7fff_fff0, name: String::new() };
        let process = Process::new(&host, &listed);
        assert!(process.name().is_err() && process.mappings().is_err());
        assert!(process.memory().is_err());
    }

    #[test]
    fn the_shape_of_a_region_is_the_systems() {
        assert_eq!(size_of::<RegionFile>(), 1272);
        assert_eq!(VM_REGION_SUBMAP_SHORT_INFO_COUNT_64, 12);
    }
}
