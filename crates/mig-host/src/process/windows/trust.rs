//! Whose a file is.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetKernelObjectSecurity, GetLengthSid, GetTokenInformation,
    OWNER_SECURITY_INFORMATION, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::super::descriptor;

/// Largest answer about rights.
const MAX_ANSWER: u32 = 1 << 20;

/// Why somebody else than we, the system or its administrators may have put a file
/// there.
pub(super) fn doubt(file: &File) -> io::Result<Option<&'static str>> {
    let handle = file.as_raw_handle();
    let rights = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let descriptor = asked(|buffer, size, needed| {
        // SAFETY: the system writes at most `size` bytes, and that many are there.
        #[expect(unsafe_code, reason = "the standard library does not tell of owners")]
        unsafe {
            GetKernelObjectSecurity(handle, rights, buffer, size, needed)
        }
    })?;
    Ok(descriptor::doubt(&bytes(&descriptor), &user()?))
}

/// Who this process runs as.
fn user() -> io::Result<Vec<u8>> {
    let mut token = std::ptr::null_mut();
    // SAFETY: the handle of this process needs no closing; that of its token is ours.
    #[expect(unsafe_code, reason = "the standard library does not tell of users")]
    let token = unsafe {
        if OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) == 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(token)
    };
    let handle = token.as_raw_handle();
    let answer = asked(|buffer, size, needed| {
        // SAFETY: the system writes at most `size` bytes, and that many are there.
        #[expect(unsafe_code, reason = "as above")]
        unsafe {
            GetTokenInformation(handle, TokenUser, buffer, size, needed)
        }
    })?;
    if answer.len() * size_of::<u64>() < size_of::<TOKEN_USER>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the answer is large enough and its words are aligned for it; the identity
    // it points to is in the answer.
    #[expect(unsafe_code, reason = "as above")]
    unsafe {
        let sid = (*answer.as_ptr().cast::<TOKEN_USER>()).User.Sid;
        let length = GetLengthSid(sid) as usize;
        Ok(std::slice::from_raw_parts(sid.cast::<u8>(), length).to_vec())
    }
}

/// An answer of unknown length, in words, so that whatever it holds is aligned.
fn asked(
    mut ask: impl FnMut(*mut c_void, u32, *mut u32) -> windows_sys::core::BOOL,
) -> io::Result<Vec<u64>> {
    let mut answer: Vec<u64> = vec![0; 64];
    loop {
        let size = u32::try_from(answer.len() * size_of::<u64>()).unwrap_or(0);
        let mut needed = 0;
        if ask(answer.as_mut_ptr().cast(), size, &raw mut needed) != 0 {
            return Ok(answer);
        }
        let error = io::Error::last_os_error();
        let is_short = error.raw_os_error().and_then(|code| u32::try_from(code).ok())
            == Some(ERROR_INSUFFICIENT_BUFFER);
        if !is_short || needed <= size || needed > MAX_ANSWER {
            return Err(error);
        }
        answer.resize((needed as usize).div_ceil(size_of::<u64>()), 0);
    }
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
