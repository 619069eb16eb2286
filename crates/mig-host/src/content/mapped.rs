//! Mapped files and what becomes of them when they shrink.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings at a time: one for each thread that looks at files, and more.
const SLOTS: usize = 256;

/// A range of memory that may lose its pages. `start` is 0 when it is free.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    lost: AtomicBool,
}

/// Read by the signal handler, which may take no lock.
static MAPPINGS: [Slot; SLOTS] = [const {
    Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), lost: AtomicBool::new(false) }
}; SLOTS];

/// Taken while its range is not known yet; no mapping begins here.
const RESERVED: usize = 1;

/// What `SIGBUS` did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// A mapped file.
#[derive(Debug)]
pub(super) struct Mapped {
    address: ptr::NonNull<u8>,
    length: usize,
    slot: usize,
}

impl Mapped {
    /// Maps the first `size_bytes` of a file, which are not zero.
    pub(super) fn new(file: &File, size_bytes: u64) -> io::Result<Self> {
        catch_losses()?;
        let length = usize::try_from(size_bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let taken = MAPPINGS.iter().position(|slot| {
            slot.start.compare_exchange(0, RESERVED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let slot = taken.ok_or_else(|| io::Error::other("too many files are mapped"))?;
        // SAFETY: the kernel chooses where; nothing that exists is replaced. The
        // mapping is private and read only.
        #[expect(unsafe_code, reason = "the standard library maps no files")]
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        let mapped = ptr::NonNull::new(address.cast::<u8>());
        let (Some(address), true) = (mapped, address != libc::MAP_FAILED) else {
            let error = io::Error::last_os_error();
            set(slot, 0, 0);
            return Err(error);
        };
        set(slot, address.as_ptr() as usize, length);
        // SAFETY: the range is the mapping made above; the advice changes no byte.
        #[expect(unsafe_code, reason = "the standard library gives no advice")]
        unsafe {
            // Read from front to back: an advice that is not taken is no fault.
            libc::madvise(address.as_ptr().cast(), length, libc::MADV_SEQUENTIAL);
        }
        Ok(Self { address, length, slot })
    }

    /// Whether no page was lost so far.
    pub(super) fn is_whole(&self) -> bool {
        MAPPINGS.get(self.slot).is_some_and(|slot| !slot.lost.load(Ordering::Acquire))
    }
}

/// Writes down a range, or that there is none.
fn set(index: usize, start: usize, length: usize) {
    if let Some(slot) = MAPPINGS.get(index) {
        slot.lost.store(false, Ordering::Relaxed);
        slot.end.store(start + length, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`, is `length` bytes long, and
        // its lost pages are replaced by `replace` before anybody sees a fault.
        // Others may write to the file meanwhile: whoever reads it takes each byte
        // for what it is and believes none of them.
        #[expect(unsafe_code, reason = "the memory was not made by the allocator")]
        unsafe {
            std::slice::from_raw_parts(self.address.as_ptr(), self.length)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's, or what replaced parts of it, and
        // nobody has a reference to it any more.
        #[expect(unsafe_code, reason = "the memory was not made by the allocator")]
        unsafe {
            libc::munmap(self.address.as_ptr().cast(), self.length);
        }
        // Afterwards: until now the range could have been asked for.
        set(self.slot, 0, 0);
    }
}

/// Installs the handler, once in the life of the process.
fn catch_losses() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    // SAFETY: plain system calls with memory of ours that has the shape they want:
    // all zeros is a valid `sigaction`, and `on_loss` has the signature that
    // `SA_SIGINFO` asks for. Two threads may do it at once; the second then reads
    // the handler of the first as the one before, so it is not written down.
    #[expect(unsafe_code, reason = "the standard library handles no signals")]
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE);
        PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
        let mut before = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_loss;
        if before.sa_sigaction != handler as usize {
            // Before the handler: it reads it.
            let _ = BEFORE.set(before);
        }
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts zeros where a mapping of ours lost its file; everything else is for whoever
/// handled the signal before.
extern "C" fn on_loss(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with `SA_SIGINFO` a valid `info`.
    #[expect(unsafe_code, reason = "the address is in a structure of the kernel's")]
    let address = unsafe { (*info).si_addr() } as usize;
    if !replace(address) {
        pass_on(signal, info, context);
    }
}

/// Replaces the page of `address` and all that follow in its mapping: what was cut
/// off a file is always its end.
fn replace(address: usize) -> bool {
    for slot in &MAPPINGS {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Relaxed);
        if start <= RESERVED || !(start..end).contains(&address) {
            continue;
        }
        let page = address & !(PAGE.load(Ordering::Relaxed) - 1);
        // SAFETY: the range lies within a mapping of ours, which its owner cannot
        // give back meanwhile: the thread that came here is reading it.
        #[expect(unsafe_code, reason = "the standard library maps nothing")]
        let replaced = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                end - page,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if replaced != libc::MAP_FAILED {
            slot.lost.store(true, Ordering::Release);
            return true;
        }
    }
    false
}

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    let handler = BEFORE.get().map_or(libc::SIG_DFL, |before| before.sa_sigaction);
    let takes_info = BEFORE.get().is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0);
    if takes_info && handler != libc::SIG_DFL && handler != libc::SIG_IGN {
        // SAFETY: whoever installed it with `SA_SIGINFO` has a function of this
        // signature there, for as long as the process lives.
        #[expect(unsafe_code, reason = "handlers are kept as numbers")]
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        return handler(signal, info, context);
    }
    // SAFETY: restores the kernel's own doing; the instruction that faulted is run
    // again when this returns, and ends the process.
    #[expect(unsafe_code, reason = "the standard library handles no signals")]
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
}
