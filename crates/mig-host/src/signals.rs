//! The request to end, waited for instead of suffered.

use std::io;
use std::mem::MaybeUninit;

/// Requests to end, held back from the thread that made this and from every
/// thread and program it starts later.
#[derive(Debug)]
pub struct HeldEnd(libc::sigset_t);

impl HeldEnd {
    /// Holds SIGTERM back.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn hold() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` fills the set, which the others then only read.
        #[expect(unsafe_code, reason = "neither the standard library nor rustix has the calls")]
        let (set, refused) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            let mut set = set.assume_init();
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            (set, libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))
        };
        if refused == 0 { Ok(Self(set)) } else { Err(io::Error::from_raw_os_error(refused)) }
    }

    /// Waits until the end is asked for.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn wait(&self) -> io::Result<()> {
        let mut signal = 0;
        // SAFETY: the set was filled, and the number is ours.
        #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
        let refused = unsafe { libc::sigwait(&raw const self.0, &raw mut signal) };
        if refused == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(refused)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_asked_for_is_heard() {
        // In a thread of its own: the others keep their ways.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let held = HeldEnd::hold().unwrap();
                // SAFETY: a signal to the calling thread, which holds it back.
                #[expect(unsafe_code, reason = "a signal to one thread, not to the process")]
                let sent = unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
                assert_eq!(sent, 0);
                held.wait().unwrap();
            });
        });
    }
}
