//! How little of the machine this process asks for.
//!
//! What is given up here is given up for every thread and process started later;
//! threads that run already keep what they have.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// `IOPRIO_WHO_PROCESS`; id 0 is the calling thread.
const WHO_PROCESS: libc::c_int = 1;
/// `IOPRIO_CLASS_IDLE`, shifted to where the class is.
const CLASS_IDLE: libc::c_int = 3 << 13;

/// Leaves the disk to everybody else: the calling thread is served when nobody
/// waits. **Source** `ioprio_set(2)`. Schedulers without priorities ignore it.
///
/// # Errors
///
/// What the kernel says.
pub fn idle_disk() -> io::Result<()> {
    // SAFETY: three plain numbers; the kernel reads and writes no memory of ours.
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the calling thread to half of the processors it may run on, at least
/// one: the half with the higher numbers, since the first ones serve interrupts.
/// Returns how many those are.
///
/// # Errors
///
/// What the kernel says; then nothing has changed.
pub fn half_the_cores() -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let kept = upper_half(&cores);
    let mut set = CpuSet::new();
    for core in kept {
        set.set(*core);
    }
    sched_setaffinity(None, &set)?;
    Ok(kept.len())
}

fn upper_half(cores: &[usize]) -> &[usize] {
    let count = (cores.len() / 2).max(1);
    cores.get(cores.len().saturating_sub(count)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_rounded_down_but_never_nothing() {
        for (cores, kept) in [
            (&[5][..], &[5][..]),
            (&[0, 1], &[1]),
            (&[0, 1, 2], &[2]),
            (&[0, 1, 6, 7], &[6, 7]),
            (&[], &[]),
        ] {
            assert_eq!(upper_half(cores), kept, "{cores:?}");
        }
    }

    #[test]
    fn a_thread_gives_up_and_the_others_do_not() {
        let all = std::thread::available_parallelism().unwrap().get();
        let (kept, seen, class) = std::thread::spawn(|| {
            let kept = half_the_cores().unwrap();
            idle_disk().unwrap();
            // SAFETY: two plain numbers.
            #[expect(unsafe_code, reason = "as above")]
            let class = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) };
            (kept, std::thread::available_parallelism().unwrap().get(), class)
        })
        .join()
        .unwrap();
        assert_eq!((kept, seen), ((all / 2).max(1), (all / 2).max(1)));
        assert_eq!(class, libc::c_long::from(CLASS_IDLE));
        assert_eq!(std::thread::available_parallelism().unwrap().get(), all);
    }
}
