//! Windows: what the system tells about processes that it lets us open.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle as _, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, HMODULE};
use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_IMAGE, MEM_PRIVATE, MEMORY_BASIC_INFORMATION, PAGE_EXECUTE_READ,
    PAGE_EXECUTE_READWRITE, PAGE_READONLY, PAGE_READWRITE, VirtualQueryEx,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32EnumProcessModulesEx, K32GetMappedFileNameW, K32GetModuleFileNameExW, LIST_MODULES_ALL,
};
use windows_sys::Win32::System::Threading::{
    PROCESS_QUERY_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    PROCESS_VM_READ,
};

use super::{Listed, Mapping, Name, Touched};
use crate::host::{Host, HostError};
use crate::process::windows::raw;

/// Most regions of one process that are looked at, and modules.
const MAX_MAPPINGS: usize = 1 << 20;
const MAX_MODULES: usize = 1 << 16;
/// Longest path there is, in units of two bytes.
const MAX_PATH: usize = 1 << 15;
/// Plain protections that let somebody read: nobody guards the page, and no device is
/// behind it.
const READABLE: [u32; 4] =
    [PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE];

/// All processes, by ascending id.
///
/// # Errors
///
/// When the system does not list them.
pub fn processes(_: &dyn Host) -> Result<Vec<Listed>, HostError> {
    let rows = raw::list().map_err(|source| HostError::new("the list of processes", source))?;
    let mut found: Vec<Listed> =
        rows.into_iter().map(|row| Listed { pid: row.pid, name: row.name }).collect();
    found.sort_unstable_by_key(|listed| listed.pid);
    Ok(found)
}

/// This process, and the one that started it if both are the same program.
pub fn own_processes() -> Vec<u32> {
    let own = std::process::id();
    let image = |pid| {
        let process = raw::open(pid, PROCESS_QUERY_LIMITED_INFORMATION).ok()?;
        raw::image(&process).ok()
    };
    let rows = raw::list().unwrap_or_default();
    let parent = rows.iter().find(|row| row.pid == own).map(|row| row.parent);
    let parent = parent.filter(|parent| image(own).is_some_and(|own| image(*parent) == Some(own)));
    [own].into_iter().chain(parent).collect()
}

/// One process to look at. While this is there nobody else gets its number.
pub struct Process<'a> {
    listed: &'a Listed,
    held: io::Result<OwnedHandle>,
}

impl<'a> Process<'a> {
    pub fn new(_: &dyn Host, listed: &'a Listed) -> Self {
        let uses = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        Self { listed, held: raw::open(listed.pid, uses) }
    }

    /// # Errors
    ///
    /// When the process is gone.
    pub fn name(&self) -> io::Result<Name> {
        let is_gone = match &self.held {
            Ok(process) => match raw::image(process) {
                Ok(path) => return Ok(Name { shown: raw::text(&path), link: String::new() }),
                Err(_) => raw::ends_within(process, Duration::ZERO),
            },
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_gone {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Name { shown: format!("[{}]", self.listed.name), link: String::new() })
    }

    /// Its mappings, by ascending address.
    ///
    /// # Errors
    ///
    /// When it may not be looked into, or is gone.
    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let process = self.open()?;
        let modules = modules(&process);
        let mut found: Vec<Mapping> = Vec::new();
        // The file of the region before, which often is that of the next one, too.
        let mut last = (0, String::new());
        let mut at = 0;
        while let Some(region) = region(&process, at)? {
            let start = region.BaseAddress as u64;
            let end = start.saturating_add(region.RegionSize as u64);
            if end <= at || found.len() == MAX_MAPPINGS {
                break;
            }
            at = end;
            if region.State != MEM_COMMIT {
                continue;
            }
            let base = region.AllocationBase as u64;
            let is_anonymous = region.Type == MEM_PRIVATE;
            if !is_anonymous && last.0 != base {
                let module = modules.get(&base).filter(|_| region.Type == MEM_IMAGE).cloned();
                last = (base, module.unwrap_or_else(|| mapped(&process, start)));
            }
            found.push(Mapping {
                start,
                end,
                is_readable: READABLE.contains(&region.Protect),
                is_anonymous,
                path: if is_anonymous { String::new() } else { last.1.clone() },
            });
        }
        Ok(found)
    }

    /// Its memory, opened for reading.
    ///
    /// # Errors
    ///
    /// When it may not be read, or the process is gone.
    pub fn memory(&self) -> io::Result<Memory> {
        Ok(Memory(self.open()?))
    }

    fn open(&self) -> io::Result<OwnedHandle> {
        let uses = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_SYNCHRONIZE;
        raw::open(self.listed.pid, uses)
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct Memory(OwnedHandle);

impl Memory {
    /// Reads from an address on, at most up to the first byte that cannot be
    /// read; 0 bytes when the process is gone.
    ///
    /// # Errors
    ///
    /// When the first byte cannot be read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let address = usize::try_from(address).map_err(io::Error::other)?;
        let mut count = 0;
        // SAFETY: the system writes at most as many bytes as the buffer has; the address
        // is one of the other process and whatever it is, an answer.
        #[expect(unsafe_code, reason = "the standard library reads no memory of others")]
        let done = unsafe {
            ReadProcessMemory(
                self.0.as_raw_handle(),
                address as *const c_void,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut count,
            )
        };
        let error = io::Error::last_os_error();
        // What it reports with an error is what was read up to there.
        if done != 0 || count > 0 {
            return Ok(count.min(buffer.len()));
        }
        if raw::ends_within(&self.0, Duration::ZERO) { Ok(0) } else { Err(error) }
    }

    /// The first pages of a range that were ever touched, and where to go on: all of
    /// them, for the system tells whether a page is in use now and not whether it was.
    pub fn touched(&self, start: u64, end: u64) -> Touched {
        Touched { used: Some((start, end)), next: end }
    }
}

/// The region an address is in; `None` behind the last one.
fn region(process: &OwnedHandle, address: u64) -> io::Result<Option<MEMORY_BASIC_INFORMATION>> {
    let Ok(address) = usize::try_from(address) else { return Ok(None) };
    let mut region = MEMORY_BASIC_INFORMATION::default();
    // SAFETY: the size is that of what is written to; the address is only asked about.
    #[expect(unsafe_code, reason = "the standard library has no regions of memory")]
    let written = unsafe {
        VirtualQueryEx(
            process.as_raw_handle(),
            address as *const c_void,
            &raw mut region,
            size_of::<MEMORY_BASIC_INFORMATION>(),
        )
    };
    if written > 0 {
        return Ok(Some(region));
    }
    let error = io::Error::last_os_error();
    let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
    if code == Some(ERROR_INVALID_PARAMETER) { Ok(None) } else { Err(error) }
}

/// The modules of a process by where they begin; none when it does not tell, as at its
/// start.
fn modules(process: &OwnedHandle) -> BTreeMap<u64, String> {
    let handle = process.as_raw_handle();
    let mut bases: Vec<HMODULE> = vec![std::ptr::null_mut(); 256];
    loop {
        let size = u32::try_from(bases.len() * size_of::<HMODULE>()).unwrap_or(0);
        let mut needed = 0;
        // SAFETY: that many bytes are there.
        #[expect(unsafe_code, reason = "the standard library has no list of modules")]
        let done = unsafe {
            K32EnumProcessModulesEx(
                handle,
                bases.as_mut_ptr(),
                size,
                &raw mut needed,
                LIST_MODULES_ALL,
            )
        };
        let count = needed as usize / size_of::<HMODULE>();
        if done == 0 || count > MAX_MODULES {
            return BTreeMap::new();
        }
        if needed <= size {
            bases.truncate(count);
            break;
        }
        bases.resize(count, std::ptr::null_mut());
    }
    let mut path = vec![0; MAX_PATH];
    let mut found = BTreeMap::new();
    for (index, base) in bases.into_iter().enumerate() {
        // The first is the executable, which has one name here.
        let own = if index == 0 { raw::image(process).ok() } else { None };
        let length = u32::try_from(path.len()).unwrap_or(0);
        // SAFETY: that many units are there.
        #[expect(unsafe_code, reason = "as above")]
        let length =
            unsafe { K32GetModuleFileNameExW(handle, base, path.as_mut_ptr(), length) } as usize;
        let name = own.as_deref().or_else(|| path.get(..length)).unwrap_or_default();
        found.insert(base as u64, raw::text(name));
    }
    found
}

/// The file mapped at an address, as the system calls it: `\Device\…`; empty for none.
fn mapped(process: &OwnedHandle, address: u64) -> String {
    let mut path = vec![0; MAX_PATH];
    let length = u32::try_from(path.len()).unwrap_or(0);
    let address = usize::try_from(address).unwrap_or(0) as *const c_void;
    // SAFETY: that many units are there; the address is only asked about.
    #[expect(unsafe_code, reason = "the standard library has no mapped files of others")]
    let length = unsafe {
        K32GetMappedFileNameW(process.as_raw_handle(), address, path.as_mut_ptr(), length)
    };
    path.get(..length as usize).map(raw::text).unwrap_or_default()
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
        let own = std::env::current_exe().unwrap();
        let file = own.file_name().unwrap().to_str().unwrap();
        assert!(name.shown.ends_with(file) && name.shown.contains(":\\"), "{name:?}");
        assert_eq!(listed.name, file);

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
        let found = libraries(&mappings, &name);
        let is_kernel = |path: &&str| path.to_lowercase().ends_with("\\kernel32.dll");
        assert!(found.iter().any(is_kernel), "{found:?}");
        assert!(!found.iter().any(|path| path.ends_with(file)), "{found:?}");

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
        let listed = Listed { pid: 0x7fff_fff0, name: "gone.exe".to_owned() };
        let process = Process::new(&host, &listed);
        assert!(process.name().is_err() && process.mappings().is_err());
        assert!(process.memory().is_err());
    }
}
