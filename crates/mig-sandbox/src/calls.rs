//! seccomp: which calls exist for a module.
//!
//! Two filters. The first knows the calls that reading and computing take and
//! answers every other with `ENOSYS`, so that the C library falls back to older
//! calls where it knows some. The second refuses, with `EPERM`, what the first
//! lets through in one form and must not in another.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::{Layer, Profile};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

pub(crate) fn restrict(profile: &Profile<'_>) -> Layer {
    match build(profile).and_then(|filters| {
        filters.iter().try_for_each(|filter| apply_filter(filter).map_err(|e| e.to_string()))
    }) {
        Ok(()) => Layer::Enforced,
        Err(reason) => Layer::Missing(reason),
    }
}

fn build(profile: &Profile<'_>) -> Result<Vec<BpfProgram>, String> {
    let mut filters = Vec::new();
    // A program that is started needs calls of its own; Landlock binds it.
    if !profile.programs {
        filters.push(filter(known(profile), SeccompAction::Allow, errno(libc::ENOSYS))?);
    }
    let refused = refused(profile).map_err(|error| error.to_string())?;
    // Where two filters refuse a call, the later one's answer counts.
    filters.push(filter(refused, errno(libc::EPERM), SeccompAction::Allow)?);
    Ok(filters)
}

fn errno(code: i32) -> SeccompAction {
    SeccompAction::Errno(code.unsigned_abs())
}

fn filter(
    rules: Rules,
    matched: SeccompAction,
    other: SeccompAction,
) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| format!("no filter for the processor {}", std::env::consts::ARCH))?;
    SeccompFilter::new(rules, other, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

/// Calls a module takes part in, whatever their arguments.
fn known(profile: &Profile<'_>) -> Rules {
    let mut calls = Vec::new();
    calls.extend_from_slice(COMPUTE);
    calls.extend_from_slice(READ);
    #[cfg(target_arch = "x86_64")]
    calls.extend_from_slice(OLD_READ);
    if profile.network || profile.kernel_sockets || profile.audit {
        calls.extend_from_slice(TALK);
    }
    if profile.processes {
        calls.push(libc::SYS_process_vm_readv);
    }
    if profile.signals {
        calls.extend([libc::SYS_kill, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal]);
    }
    if profile.watches {
        calls.extend([
            libc::SYS_inotify_init1,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_rm_watch,
        ]);
    }
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// Threads, time and memory of the process itself.
const COMPUTE: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_prctl,
    // The second filter; more of them can only take more away.
    libc::SYS_seccomp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getpriority,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
];

/// Files, as far as opening them allows.
const READ: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_ioctl,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
];

/// Calls that newer processors do without.
#[cfg(target_arch = "x86_64")]
const OLD_READ: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_time,
];

/// Sockets, as far as making them allows.
const TALK: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// What is refused by its arguments, or by name so that the reason is clear.
fn refused(profile: &Profile<'_>) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    for call in CHANGE_THE_HOST {
        rules.insert(*call, Vec::new());
    }
    if !profile.programs {
        rules.insert(libc::SYS_execve, Vec::new());
        rules.insert(libc::SYS_execveat, Vec::new());
        // A new process rather than a thread of this one.
        let process = flag_is(0, libc::CLONE_THREAD, 0)?;
        rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
        rules.insert(libc::SYS_openat, writing(2)?);
        #[cfg(target_arch = "x86_64")]
        {
            rules.insert(libc::SYS_open, writing(1)?);
            rules.insert(libc::SYS_fork, Vec::new());
            rules.insert(libc::SYS_vfork, Vec::new());
        }
    }
    if !profile.signals {
        rules.insert(libc::SYS_kill, Vec::new());
        rules.insert(libc::SYS_pidfd_send_signal, Vec::new());
    }
    if !profile.processes {
        rules.insert(libc::SYS_process_vm_readv, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(profile)?);
    rules.insert(libc::SYS_ioctl, vec![none_of(1, &IOCTLS)?]);
    // Limits can be read, not set; not even one's own.
    rules.insert(libc::SYS_prlimit64, vec![none_of(2, &[0])?]);
    if !profile.signals {
        // A process that aborts sends the signal to itself.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![none_of(0, &[own])?]);
    }
    Ok(rules)
}

/// Opening a file for more than reading. Flags are argument `index`.
fn writing(index: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    [
        flag_is(index, libc::O_ACCMODE, libc::O_WRONLY)?,
        flag_is(index, libc::O_ACCMODE, libc::O_RDWR)?,
        flag_is(index, libc::O_CREAT, libc::O_CREAT)?,
        flag_is(index, libc::O_TRUNC, libc::O_TRUNC)?,
        flag_is(index, libc::O_TMPFILE, libc::O_TMPFILE)?,
    ]
    .into_iter()
    .map(|condition| SeccompRule::new(vec![condition]))
    .collect()
}

/// Every family but the profile's own. Who may talk to the kernel may not talk to
/// its auditing, and the other way round.
fn sockets(profile: &Profile<'_>) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    // Names are looked up with the help of the kernel's addresses.
    let kernel = profile.network || profile.kernel_sockets;
    let mut families = Vec::new();
    if profile.network {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    if kernel || profile.audit {
        families.push(libc::AF_NETLINK);
    }
    if families.is_empty() {
        return Ok(Vec::new());
    }
    let families: Vec<_> = families.iter().map(|family| u64::from(family.unsigned_abs())).collect();
    let mut refused = vec![none_of(0, &families)?];
    if kernel != profile.audit {
        let family = is(0, SeccompCmpOp::Eq, libc::AF_NETLINK)?;
        let other = if kernel { SeccompCmpOp::Eq } else { SeccompCmpOp::Ne };
        refused.push(SeccompRule::new(vec![family, is(2, other, libc::NETLINK_AUDIT)?])?);
    }
    Ok(refused)
}

fn is(
    index: u8,
    how: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    // The kernel looks at the lower half of such an argument.
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, u64::from(value.unsigned_abs()))
}

/// Questions to a descriptor. Others change file attributes or speak for a
/// terminal, even through a descriptor that is open for reading.
const IOCTLS: [u64; 6] =
    [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

/// Argument `index` is none of the values.
fn none_of(index: u8, values: &[u64]) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions: Result<Vec<_>, _> = values
        .iter()
        .map(|value| {
            SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, *value)
        })
        .collect();
    SeccompRule::new(conditions?)
}

fn flag_is(
    index: u8,
    mask: i32,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        index,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned())),
        u64::from(value.cast_unsigned()),
    )
}

/// No module has a use for these, started programs included.
const CHANGE_THE_HOST: &[i64] = &[
    // A guest never waits for strangers.
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_finit_module,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_ftruncate,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_linkat,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_removexattr,
    libc::SYS_renameat2,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_setxattr,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_symlinkat,
    libc::SYS_syslog,
    libc::SYS_truncate,
    libc::SYS_umount2,
    libc::SYS_unlinkat,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_utimensat,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];
