//! What the value of a field means.

use std::net::{Ipv4Addr, Ipv6Addr};

use mig_module::text::lossy_bytewise;

use crate::arguments::{FAMILIES, argument, word};
use crate::tables::Processor;
use crate::users::Users;

/// "Not set", as numbers of sessions say it.
const UNSET: &str = "4294967295";

/// What is known about the whole record while its fields are interpreted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'s> {
    /// The type of the record.
    pub(crate) record: &'s str,
    /// The processor whose calls are meant.
    pub(crate) processor: Option<Processor>,
    /// The system call.
    pub(crate) call: Option<&'static str>,
    pub(crate) users: &'s Users,
}

impl<'s> Scene<'s> {
    /// The scene of a record with these fields.
    pub(crate) fn of(record: &'s str, fields: &[(String, String)], users: &'s Users) -> Self {
        let value = |key: &str| fields.iter().find(|(known, _)| known == key).map(|(_, v)| &**v);
        let processor = match value("arch") {
            Some(arch) => u32::from_str_radix(arch, 16).ok().and_then(Processor::of_number),
            None => Processor::own(),
        };
        let number = value("syscall").and_then(|number| number.parse().ok());
        let call = number.and_then(|number| processor?.call_name(number));
        Self { record, processor, call, users }
    }
}

/// Interprets one field; what makes no sense stays as it is.
pub(crate) fn interpret(key: &str, value: &str, scene: &Scene<'_>) -> String {
    let kept = || value.to_owned();
    if let Some(number) = numbered(key) {
        match scene.record {
            "EXECVE" => return text(value),
            "SYSCALL" if number < 4 => {
                let arch = scene.processor.map(|processor| processor.name);
                return argument(scene.call.unwrap_or_default(), number, value, arch);
            }
            _ => return kept(),
        }
    }
    match key {
        "auid" | "uid" | "euid" | "suid" | "fsuid" | "ouid" | "oauid" | "iuid" | "id"
        | "inode_uid" | "sauid" | "obj_uid"
            if is_number(value) =>
        {
            scene.users.name(value)
        }
        "syscall" => scene.call.map_or_else(kept, str::to_owned),
        "arch" => {
            let number = u32::from_str_radix(value, 16).ok();
            let processor = number.and_then(Processor::of_number);
            processor.map_or_else(kept, |processor| processor.name.to_owned())
        }
        "exit" if value == "0" => "success".to_owned(),
        "path" | "comm" | "exe" | "file" | "name" | "watch" | "cwd" | "cmd" | "acct" | "dir"
        | "key" | "proctitle" | "vm" | "old-disk" | "new-disk" | "old-fs" | "new-fs" | "device"
        | "cgroup" | "sw" => text(value),
        "perm" | "perm_mask" => permissions(value),
        "mode" => mode(value),
        "saddr" => address(value).unwrap_or_else(kept),
        "res" | "result" => match value {
            "1" => "yes".to_owned(),
            "0" => "no".to_owned(),
            _ => kept(),
        },
        "ses" if value == UNSET => "unset".to_owned(),
        "sig" => signal(value),
        "list" => one_of(value, LISTS),
        "family" => one_of(value, FAMILIES),
        "icmptype" => one_of(value, ICMP),
        "capability" => one_of(value, CAPABILITIES),
        "code" if scene.record == "SECCOMP" => seccomp(value).map_or_else(kept, str::to_owned),
        "prom" | "old_prom" if is_number(value) => {
            if value == "0" {
                "no".to_owned()
            } else {
                "yes".to_owned()
            }
        }
        _ => kept(),
    }
}

/// The number of an argument: `a0`, or `a0[1]` for a part of a long one.
fn numbered(key: &str) -> Option<usize> {
    let rest = key.strip_prefix('a')?;
    let digits = rest.split('[').next().unwrap_or_default();
    if is_number(digits) { digits.parse().ok() } else { None }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Text in quotes, or in hexadecimal when it holds what quotes cannot.
fn text(value: &str) -> String {
    if let Some(quoted) = value.strip_prefix('"') {
        return quoted.strip_suffix('"').unwrap_or(quoted).to_owned();
    }
    match hex::decode(value) {
        // The parts of a command line are kept apart by zeros.
        Ok(bytes) if !bytes.is_empty() => {
            lossy_bytewise(&bytes).trim_end_matches('\0').replace('\0', " ")
        }
        _ => value.to_owned(),
    }
}

fn permissions(value: &str) -> String {
    let Ok(bits) = value.parse::<u32>() else { return value.to_owned() };
    let words = [(4, "read"), (2, "write"), (1, "exec"), (8, "attr")];
    let set: Vec<&str> =
        words.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect();
    if set.is_empty() { value.to_owned() } else { set.join(",") }
}

/// A mode with its type, octal as records have it.
fn mode(value: &str) -> String {
    let Ok(bits) = u64::from_str_radix(value, 8) else { return value.to_owned() };
    let kind = match bits & 0o170_000 {
        0o140_000 => "socket",
        0o120_000 => "link",
        0o100_000 => "file",
        0o060_000 => "block",
        0o040_000 => "dir",
        0o020_000 => "character",
        0o010_000 => "fifo",
        _ => return value.to_owned(),
    };
    format!("{kind},{}", mode_bits(bits))
}

/// The lower twelve bits of a mode: words, and three octal digits.
pub(crate) fn mode_bits(bits: u64) -> String {
    let mut out = String::new();
    for (bit, word) in [(0o4000, "suid,"), (0o2000, "sgid,"), (0o1000, "sticky,")] {
        if bits & bit != 0 {
            out.push_str(word);
        }
    }
    format!("{out}{:03o}", bits & 0o777)
}

/// A socket address, in hexadecimal.
fn address(value: &str) -> Option<String> {
    let bytes = hex::decode(value).ok()?;
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    Some(match family {
        1 => {
            // Names without a file begin with a zero.
            let path = bytes.get(2..)?;
            let path = path.strip_prefix(&[0]).unwrap_or(path);
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("local {}", lossy_bytewise(path))
        }
        2 => {
            let ip: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            format!("inet host:{} serv:{}", Ipv4Addr::from(ip), port()?)
        }
        10 => {
            let ip: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            format!("inet6 host:{} serv:{}", Ipv6Addr::from(ip), port()?)
        }
        16 => {
            let pid: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            format!("netlink pid:{}", u32::from_ne_bytes(pid))
        }
        other => word(other.into(), FAMILIES)?.to_owned(),
    })
}

/// The name of a signal, if it has one.
pub(crate) fn signal(value: &str) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let number = value.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let name = number.and_then(|number| NAMES.get(number));
    name.map_or_else(|| value.to_owned(), |name| (*name).to_owned())
}

fn one_of(value: &str, words: &'static [(u64, &'static str)]) -> String {
    let word = value.parse().ok().and_then(|number| word(number, words));
    word.map_or_else(|| value.to_owned(), str::to_owned)
}

/// What a filter of system calls decided; the lower half is the program's own.
fn seccomp(value: &str) -> Option<&'static str> {
    let number = u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()?;
    Some(match number & 0xffff_0000 {
        0x8000_0000 => "kill_process",
        0 => "kill_thread",
        0x0003_0000 => "trap",
        0x0005_0000 => "errno",
        0x7fc0_0000 => "user_notif",
        0x7ff0_0000 => "trace",
        0x7ffc_0000 => "log",
        0x7fff_0000 => "allow",
        _ => return None,
    })
}

const LISTS: &[(u64, &str)] = &[
    (0, "user"),
    (1, "task"),
    (2, "entry"),
    (3, "watch"),
    (4, "exit"),
    (5, "exclude"),
    (6, "filesystem"),
    (7, "io_uring"),
];
const ICMP: &[(u64, &str)] = &[
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];
const CAPABILITIES: &[(u64, &str)] = &[
    (0, "chown"),
    (1, "dac_override"),
    (2, "dac_read_search"),
    (3, "fowner"),
    (4, "fsetid"),
    (5, "kill"),
    (6, "setgid"),
    (7, "setuid"),
    (8, "setpcap"),
    (9, "linux_immutable"),
    (10, "net_bind_service"),
    (11, "net_broadcast"),
    (12, "net_admin"),
    (13, "net_raw"),
    (14, "ipc_lock"),
    (15, "ipc_owner"),
    (16, "sys_module"),
    (17, "sys_rawio"),
    (18, "sys_chroot"),
    (19, "sys_ptrace"),
    (20, "sys_pacct"),
    (21, "sys_admin"),
    (22, "sys_boot"),
    (23, "sys_nice"),
    (24, "sys_resource"),
    (25, "sys_time"),
    (26, "sys_tty_config"),
    (27, "mknod"),
    (28, "lease"),
    (29, "audit_write"),
    (30, "audit_control"),
    (31, "setfcap"),
    (32, "mac_override"),
    (33, "mac_admin"),
    (34, "syslog"),
    (35, "wake_alarm"),
    (36, "block_suspend"),
    (37, "audit_read"),
    (38, "perfmon"),
    (39, "bpf"),
    (40, "checkpoint_restore"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meaning(record: &str, key: &str, value: &str) -> String {
        let users = Users::read("root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1::/:\nbad\n");
        let mut fields = vec![("arch".to_owned(), "c000003e".to_owned())];
        let call = if key == "syscall" { value } else { "257" };
        fields.push(("syscall".to_owned(), call.to_owned()));
        interpret(key, value, &Scene::of(record, &fields, &users))
    }

    #[test]
    fn fields_mean_what_they_say() {
        for (record, key, value, expected) in [
            ("SYSCALL", "uid", "0", "root"),
            ("SYSCALL", "auid", "4294967295", "unknown(4294967295)"),
            ("SYSCALL", "euid", "1000", "bob"),
            ("SYSCALL", "uid", "x", "x"),
            ("SYSCALL", "gid", "0", "0"),
            ("SYSCALL", "syscall", "59", "execve"),
            ("SYSCALL", "syscall", "99999", "99999"),
            ("SYSCALL", "arch", "c000003e", "amd64"),
            ("SYSCALL", "arch", "1", "1"),
            ("SYSCALL", "exit", "0", "success"),
            ("SYSCALL", "exit", "-2", "-2"),
            ("SYSCALL", "a0", "ffffff9c", "AT_FDCWD"),
            ("SYSCALL", "a1", "7ffe", "0x7ffe"),
            ("SYSCALL", "ses", "4294967295", "unset"),
            ("SYSCALL", "ses", "7", "7"),
            ("SYSCALL", "exe", "\"/bin/ls\"", "/bin/ls"),
            ("PROCTITLE", "proctitle", "6C73002D6C00", "ls -l"),
            ("EXECVE", "a0", "\"ls\"", "ls"),
            ("EXECVE", "a1", "2F746D702F612062", "/tmp/a b"),
            ("EXECVE", "a1[0]", "6162", "ab"),
            ("EXECVE", "a1_len", "200", "200"),
            ("EXECVE", "argc", "2", "2"),
            ("EXECVE", "arch", "c00000b7", "arm64"),
            ("EXECVE", "auid", "0", "root"),
            ("PATH", "mode", "0100644", "file,644"),
            ("PATH", "mode", "0104755", "file,suid,755"),
            ("PATH", "mode", "041777", "dir,sticky,777"),
            ("PATH", "mode", "x", "x"),
            ("PATH", "name", "(null)", "(null)"),
            ("CONFIG_CHANGE", "perm", "6", "read,write"),
            ("CONFIG_CHANGE", "list", "4", "exit"),
            ("X", "res", "1", "yes"),
            ("X", "res", "0", "no"),
            ("X", "res", "2", "2"),
            ("X", "result", "success", "success"),
            ("X", "sig", "9", "SIGKILL"),
            ("X", "sig", "0", "0"),
            ("X", "family", "10", "inet6"),
            ("X", "icmptype", "8", "echo"),
            ("X", "capability", "21", "sys_admin"),
            ("X", "capability", "99", "99"),
            ("X", "prom", "256", "yes"),
            ("SECCOMP", "code", "0x7ffc0000", "log"),
            ("SECCOMP", "code", "0x1", "kill_thread"),
            ("X", "code", "0x1", "0x1"),
            ("X", "old_pp", "0000003fffffffff", "0000003fffffffff"),
            ("X", "data", "6162", "6162"),
            ("X", "proto", "6", "6"),
            ("X", "saddr", "0200", "0200"),
            ("X", "saddr", "zz", "zz"),
            ("X", "saddr", "", ""),
        ] {
            assert_eq!(meaning(record, key, value), expected, "{record} {key}={value}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn socket_addresses_are_read() {
        for (value, expected) in [
            ("02000050C0000201", "inet host:192.0.2.1 serv:80"),
            ("01002F72756E2F7300", "local /run/s"),
            ("0100007879", "local xy"),
            ("100000007B000000", "netlink pid:123"),
            ("11000800", "packet"),
            ("63006400", "63006400"),
            (
                "0A000016000000002001DB8000000000000000000000000100000000",
                "inet6 host:2001:db80::1 serv:22",
            ),
        ] {
            assert_eq!(meaning("SOCKADDR", "saddr", value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(
            value in "\\PC{0,20}|[0-9a-fA-F]{0,60}",
            key in "saddr|mode|perm|sig|exe|arch|a1|uid|code|list|a99999999999999999999",
        ) {
            for record in ["SYSCALL", "EXECVE", "SECCOMP"] {
                meaning(record, &key, &value);
            }
        }
    }
}
