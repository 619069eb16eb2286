//! What the first four arguments of a system call mean.
//!
//! Only where a number alone says nothing: flags, descriptors that stand for a
//! directory, signals, kinds of sockets. **Source** the manual pages of the calls.

use crate::interpret::{mode_bits, signal};

type Words = &'static [(u64, &'static str)];

const OPEN: Words = &[
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o4_010_000, "O_SYNC"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "O_ASYNC"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o1_000_000, "O_NOATIME"),
    (0o10_000_000, "O_PATH"),
];
/// These differ between processors.
const OPEN_X86: Words = &[
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o20_200_000, "O_TMPFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
];
const OPEN_ARM: Words = &[
    (0o200_000, "O_DIRECT"),
    (0o400_000, "O_LARGEFILE"),
    (0o20_040_000, "O_TMPFILE"),
    (0o40_000, "O_DIRECTORY"),
    (0o100_000, "O_NOFOLLOW"),
];
const CLONE: Words = &[
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x10000, "CLONE_THREAD"),
    (0x20000, "CLONE_NEWNS"),
    (0x40000, "CLONE_SYSVSEM"),
    (0x80000, "CLONE_SETTLS"),
    (0x0010_0000, "CLONE_PARENT_SETTID"),
    (0x0020_0000, "CLONE_CHILD_CLEARTID"),
    (0x0100_0000, "CLONE_CHILD_SETTID"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
];
const PROTECTION: Words = &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
const ACCESS: Words = &[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")];
const MOUNT: Words = &[
    (0x1, "MS_RDONLY"),
    (0x2, "MS_NOSUID"),
    (0x4, "MS_NODEV"),
    (0x8, "MS_NOEXEC"),
    (0x10, "MS_SYNCHRONOUS"),
    (0x20, "MS_REMOUNT"),
    (0x400, "MS_NOATIME"),
    (0x1000, "MS_BIND"),
    (0x2000, "MS_MOVE"),
    (0x4000, "MS_REC"),
    (0x20000, "MS_UNBINDABLE"),
    (0x40000, "MS_PRIVATE"),
    (0x80000, "MS_SLAVE"),
    (0x0010_0000, "MS_SHARED"),
];
const UNMOUNT: Words =
    &[(1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW")];
const AT: Words = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_REMOVEDIR"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x1000, "AT_EMPTY_PATH"),
];

/// Numbers that stand for one thing each.
pub(crate) const FAMILIES: &[(u64, &str)] = &[
    (0, "unspec"),
    (1, "local"),
    (2, "inet"),
    (10, "inet6"),
    (16, "netlink"),
    (17, "packet"),
    (31, "bluetooth"),
    (38, "alg"),
    (40, "vsock"),
];
const SOCKETS: &[(u64, &str)] = &[
    (1, "SOCK_STREAM"),
    (2, "SOCK_DGRAM"),
    (3, "SOCK_RAW"),
    (5, "SOCK_SEQPACKET"),
    (10, "SOCK_PACKET"),
];
const TRACE: &[(u64, &str)] = &[
    (0, "PTRACE_TRACEME"),
    (1, "PTRACE_PEEKTEXT"),
    (2, "PTRACE_PEEKDATA"),
    (3, "PTRACE_PEEKUSR"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (7, "PTRACE_CONT"),
    (8, "PTRACE_KILL"),
    (9, "PTRACE_SINGLESTEP"),
    (16, "PTRACE_ATTACH"),
    (17, "PTRACE_DETACH"),
    (24, "PTRACE_SYSCALL"),
    (0x4200, "PTRACE_SETOPTIONS"),
    (0x4204, "PTRACE_GETREGSET"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
];
const CONTROL: &[(u64, &str)] = &[
    (0, "F_DUPFD"),
    (1, "F_GETFD"),
    (2, "F_SETFD"),
    (3, "F_GETFL"),
    (4, "F_SETFL"),
    (5, "F_GETLK"),
    (6, "F_SETLK"),
    (7, "F_SETLKW"),
    (1030, "F_DUPFD_CLOEXEC"),
];

/// The directory of the process, as a descriptor.
const HERE: u64 = 0xffff_ff9c;

/// Argument `index` of a call, hexadecimal as records have it. `arch` is the Go
/// name of the processor, if it is known.
pub(crate) fn argument(call: &str, index: usize, value: &str, arch: Option<&str>) -> String {
    let plain = || format!("0x{value}");
    let Ok(number) = u64::from_str_radix(value, 16) else { return value.to_owned() };
    // Descriptors, modes and signals are the lower half.
    let low = number & 0xffff_ffff;
    match (call, index) {
        ("open", 1) | ("openat", 2) => open(low, arch),
        ("umask", 0)
        | ("creat" | "mkdir" | "chmod" | "fchmod", 1)
        | ("open" | "mkdirat" | "fchmodat" | "fchmodat2", 2)
        | ("openat", 3) => mode_bits(low),
        (
            "openat" | "openat2" | "mkdirat" | "unlinkat" | "newfstatat" | "fstatat64" | "fchmodat"
            | "fchmodat2" | "fchownat" | "faccessat" | "faccessat2" | "readlinkat" | "renameat"
            | "renameat2" | "linkat" | "mknodat" | "execveat" | "utimensat" | "statx"
            | "name_to_handle_at",
            0,
        )
        | ("renameat" | "renameat2" | "linkat", 2)
        | ("symlinkat", 1)
            if low == HERE =>
        {
            "AT_FDCWD".to_owned()
        }
        ("unlinkat", 2) | ("newfstatat" | "fstatat64" | "faccessat2" | "fchmodat2", 3) => {
            flags(low, AT).unwrap_or_else(plain)
        }
        ("kill" | "tkill", 1) | ("tgkill" | "rt_sigqueueinfo", 2) => signal(&low.to_string()),
        ("clone", 0) => {
            let words = flags(low & !0xff, CLONE);
            let end = Some(low & 0xff).filter(|end| *end != 0).map(|end| signal(&end.to_string()));
            let parts: Vec<String> = words.into_iter().chain(end).collect();
            if parts.is_empty() { plain() } else { parts.join("|") }
        }
        ("unshare", 0) | ("setns", 1) => flags(low, CLONE).unwrap_or_else(plain),
        ("mmap" | "mmap2" | "mprotect" | "pkey_mprotect", 2) => {
            if low == 0 {
                "PROT_NONE".to_owned()
            } else {
                flags(low, PROTECTION).unwrap_or_else(plain)
            }
        }
        ("access", 1) | ("faccessat" | "faccessat2", 2) => {
            if low == 0 {
                "F_OK".to_owned()
            } else {
                flags(low, ACCESS).unwrap_or_else(plain)
            }
        }
        ("mount", 3) => flags(low, MOUNT).unwrap_or_else(plain),
        ("umount2", 1) => flags(low, UNMOUNT).unwrap_or_else(plain),
        ("socket" | "socketpair", 0) => word(low, FAMILIES).map_or_else(plain, str::to_owned),
        ("socket" | "socketpair", 1) => socket(low).unwrap_or_else(plain),
        ("ptrace", 0) => word(low, TRACE).map_or_else(plain, str::to_owned),
        ("fcntl" | "fcntl64", 1) => word(low, CONTROL).map_or_else(plain, str::to_owned),
        _ => plain(),
    }
}

pub(crate) fn word(number: u64, words: &[(u64, &'static str)]) -> Option<&'static str> {
    words.iter().find(|(known, _)| *known == number).map(|(_, word)| *word)
}

/// The words of the bits that are set, the rest as number; `None` without a word.
fn flags(number: u64, words: Words) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = number;
    for (bits, word) in words {
        if rest & bits == *bits {
            found.push((*word).to_owned());
            rest &= !bits;
        }
    }
    if found.is_empty() {
        return None;
    }
    if rest != 0 {
        found.push(format!("0x{rest:x}"));
    }
    Some(found.join("|"))
}

fn open(number: u64, arch: Option<&str>) -> String {
    let way = match number & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "0x3",
    };
    let others = if arch.is_some_and(|arch| arch.starts_with("arm")) { OPEN_ARM } else { OPEN_X86 };
    let mut rest = number & !3;
    let mut found = vec![way.to_owned()];
    // Those of several bits first.
    let mut words: Vec<_> = OPEN.iter().chain(others).collect();
    words.sort_by_key(|(bits, _)| std::cmp::Reverse(bits.count_ones()));
    for (bits, word) in words {
        if rest & bits == *bits {
            found.push((*word).to_owned());
            rest &= !bits;
        }
    }
    if rest != 0 {
        found.push(format!("0x{rest:x}"));
    }
    found.join("|")
}

fn socket(number: u64) -> Option<String> {
    const CLOSE: u64 = 0o2_000_000;
    const NONBLOCK: u64 = 0o4000;
    let mut found = word(number & 0xf, SOCKETS)?.to_owned();
    for (bit, word) in [(CLOSE, "|SOCK_CLOEXEC"), (NONBLOCK, "|SOCK_NONBLOCK")] {
        if number & bit != 0 {
            found.push_str(word);
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_known_calls_are_words() {
        for (call, index, value, expected) in [
            ("openat", 0, "ffffff9c", "AT_FDCWD"),
            ("openat", 0, "ffffffffffffff9c", "AT_FDCWD"),
            ("openat", 0, "3", "0x3"),
            ("openat", 2, "80000", "O_RDONLY|O_CLOEXEC"),
            ("openat", 2, "241", "O_WRONLY|O_CREAT|O_TRUNC"),
            ("openat", 2, "101002", "O_RDWR|O_SYNC"),
            ("openat", 2, "410002", "O_RDWR|O_TMPFILE"),
            ("openat", 3, "1b6", "666"),
            ("open", 1, "2", "O_RDWR"),
            ("chmod", 1, "9ed", "suid,755"),
            ("kill", 1, "9", "SIGKILL"),
            ("kill", 0, "9", "0x9"),
            ("clone", 0, "1200011", "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"),
            ("unshare", 0, "20000", "CLONE_NEWNS"),
            ("unshare", 0, "0", "0x0"),
            ("mprotect", 2, "5", "PROT_READ|PROT_EXEC"),
            ("mmap", 2, "0", "PROT_NONE"),
            ("access", 1, "0", "F_OK"),
            ("mount", 3, "1001", "MS_RDONLY|MS_BIND"),
            ("socket", 0, "a", "inet6"),
            ("socket", 0, "63", "0x63"),
            ("socket", 1, "80001", "SOCK_STREAM|SOCK_CLOEXEC"),
            ("ptrace", 0, "10", "PTRACE_ATTACH"),
            ("fcntl", 1, "406", "F_DUPFD_CLOEXEC"),
            ("unlinkat", 2, "200", "AT_REMOVEDIR"),
            ("read", 0, "7ffe", "0x7ffe"),
            ("read", 0, "zz", "zz"),
        ] {
            assert_eq!(argument(call, index, value, Some("amd64")), expected, "{call} {value}");
        }
        let directory = |arch| argument("openat", 2, "4000", Some(arch));
        assert_eq!(
            (directory("amd64"), directory("arm64")),
            ("O_RDONLY|O_DIRECT".into(), "O_RDONLY|O_DIRECTORY".into())
        );
    }

    proptest! {
        #[test]
        fn no_argument_panics(
            call in "open|openat|kill|clone|socket|mmap|chmod|umask",
            index in 0..5_usize,
            value in "\\PC{0,9}|[0-9a-f]{0,17}",
        ) {
            argument(&call, index, &value, None);
        }
    }
}
