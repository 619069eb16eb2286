//! The calls of Windows that ask about processes, a function for each.

use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, ERROR_NO_MORE_FILES, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    GetProcessId, OpenProcess, PROCESS_ACCESS_RIGHTS, QueryFullProcessImageNameW, TerminateProcess,
    WaitForSingleObject,
};

/// Longest path there is, in units of two bytes.
const MAX_PATH: usize = 1 << 15;
/// What the system says of an end that was not asked for.
const KILLED: u32 = 1;

/// A row of the list of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The name of its file.
    pub(crate) name: String,
}

/// All processes but the one that stands for having nothing to do.
pub(crate) fn list() -> io::Result<Vec<Row>> {
    // SAFETY: plain numbers; the handle is ours from here on.
    #[expect(unsafe_code, reason = "the standard library has no list of processes")]
    let snapshot = unsafe {
        let handle = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
        if handle == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    let mut row = PROCESSENTRY32W {
        dwSize: u32::try_from(size_of::<PROCESSENTRY32W>()).unwrap_or(0),
        ..Default::default()
    };
    let mut found = Vec::new();
    // SAFETY: the row says its size, and the handle is open.
    #[expect(unsafe_code, reason = "as above")]
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut row) };
    while more != 0 {
        if row.th32ProcessID != 0 {
            found.push(Row {
                pid: row.th32ProcessID,
                parent: row.th32ParentProcessID,
                name: text(&row.szExeFile),
            });
        }
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "as above")]
        let next = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut row) };
        more = next;
    }
    let error = io::Error::last_os_error();
    if is(&error, ERROR_NO_MORE_FILES) { Ok(found) } else { Err(error) }
}

/// Opens a process for these uses.
pub(crate) fn open(pid: u32, uses: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    // SAFETY: plain numbers; the handle is ours from here on.
    #[expect(unsafe_code, reason = "the standard library opens no processes of others")]
    let process = unsafe {
        let handle = OpenProcess(uses, 0, pid);
        if handle.is_null() {
            let error = io::Error::last_os_error();
            let is_missing = is(&error, ERROR_INVALID_PARAMETER);
            return Err(if is_missing { io::ErrorKind::NotFound.into() } else { error });
        }
        OwnedHandle::from_raw_handle(handle)
    };
    // Numbers are multiples of four, and others are rounded instead of refused.
    // SAFETY: the handle is open.
    #[expect(unsafe_code, reason = "as above")]
    let opened = unsafe { GetProcessId(process.as_raw_handle()) };
    if opened == pid { Ok(process) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The path of the file a process runs.
pub(crate) fn image(process: &OwnedHandle) -> io::Result<Vec<u16>> {
    let mut path = vec![0; MAX_PATH];
    let mut length = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: that many units are there; afterwards it says how many were written.
    #[expect(unsafe_code, reason = "the standard library knows its own process only")]
    let done = unsafe {
        QueryFullProcessImageNameW(process.as_raw_handle(), 0, path.as_mut_ptr(), &raw mut length)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    path.truncate(length as usize);
    Ok(path)
}

/// Whether it ends within `time`; needs the right to wait.
pub(crate) fn ends_within(process: &OwnedHandle, time: Duration) -> bool {
    let time = u32::try_from(time.as_millis()).unwrap_or(u32::MAX - 1);
    // SAFETY: the handle is open.
    #[expect(unsafe_code, reason = "the standard library waits for its children only")]
    let end = unsafe { WaitForSingleObject(process.as_raw_handle(), time) };
    end == WAIT_OBJECT_0
}

/// Ends it; needs the right to.
pub(crate) fn end(process: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open.
    #[expect(unsafe_code, reason = "the standard library ends its children only")]
    let done = unsafe { TerminateProcess(process.as_raw_handle(), KILLED) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Text up to the first zero.
pub(crate) fn text(wide: &[u16]) -> String {
    let wide = wide.split(|unit| *unit == 0).next().unwrap_or_default();
    String::from_utf16_lossy(wide)
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().and_then(|found| u32::try_from(found).ok()) == Some(code)
}
