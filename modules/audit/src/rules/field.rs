//! What a field of a rule may be compared with.

use super::encode::{List, MAX_KEY, Rule, op};
use super::watch;
use crate::tables::{Processor, record_number};
use crate::users::Users;

pub(super) const ARCH: u32 = 11;
const MSGTYPE: u32 = 12;
pub(super) const PATH: u32 = 105;
pub(super) const PERM: u32 = 106;
pub(super) const DIR: u32 = 107;
pub(super) const KEY: u32 = 210;

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Compared in any way, bit by bit as well.
    Bits,
    Number,
    User,
    Group,
    /// A part of a label: compared as a whole.
    Label,
    /// A part of a label that has an order.
    Level,
    Path,
    Arch,
    MessageType,
    Permissions,
    FileType,
    Comparison,
    Key,
}

struct Field {
    name: &'static str,
    number: u32,
    kind: Kind,
    /// Only in rules about the end of a system call.
    at_exit: bool,
}

const fn field(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, at_exit: false }
}

const fn exit(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, at_exit: true }
}

/// **Source** `linux/audit.h`.
const FIELDS: &[Field] = &[
    field("pid", 0, Kind::Number),
    field("uid", 1, Kind::User),
    field("euid", 2, Kind::User),
    field("suid", 3, Kind::User),
    field("fsuid", 4, Kind::User),
    field("gid", 5, Kind::Group),
    field("egid", 6, Kind::Group),
    field("sgid", 7, Kind::Group),
    field("fsgid", 8, Kind::Group),
    field("auid", 9, Kind::User),
    field("loginuid", 9, Kind::User),
    field("pers", 10, Kind::Bits),
    field("arch", ARCH, Kind::Arch),
    field("msgtype", MSGTYPE, Kind::MessageType),
    field("subj_user", 13, Kind::Label),
    field("subj_role", 14, Kind::Label),
    field("subj_type", 15, Kind::Label),
    field("subj_sen", 16, Kind::Level),
    field("subj_clr", 17, Kind::Level),
    field("ppid", 18, Kind::Number),
    exit("obj_user", 19, Kind::Label),
    exit("obj_role", 20, Kind::Label),
    exit("obj_type", 21, Kind::Label),
    exit("obj_lev_low", 22, Kind::Level),
    exit("obj_lev_high", 23, Kind::Level),
    field("sessionid", 25, Kind::Number),
    exit("devmajor", 100, Kind::Number),
    exit("devminor", 101, Kind::Bits),
    exit("inode", 102, Kind::Number),
    exit("exit", 103, Kind::Number),
    exit("success", 104, Kind::Number),
    exit("path", PATH, Kind::Path),
    exit("perm", PERM, Kind::Permissions),
    exit("dir", DIR, Kind::Path),
    exit("filetype", 108, Kind::FileType),
    exit("obj_uid", 109, Kind::User),
    exit("obj_gid", 110, Kind::Group),
    exit("field_compare", 111, Kind::Comparison),
    exit("exe", 112, Kind::Path),
    field("a0", 200, Kind::Bits),
    field("a1", 201, Kind::Bits),
    field("a2", 202, Kind::Bits),
    field("a3", 203, Kind::Bits),
    field("key", KEY, Kind::Key),
];

const OPERATORS: &[(&str, u32)] = &[
    ("eq", op::EQUAL),
    ("nt_eq", op::NOT_EQUAL),
    ("gt", op::GREATER),
    ("gt_or_eq", op::GREATER_OR_EQUAL),
    ("lt", op::LESS),
    ("lt_or_eq", op::LESS_OR_EQUAL),
    ("and", op::BIT_MASK),
    ("and_eq", op::BIT_TEST),
];

const FILE_TYPES: [(&str, u32); 7] = [
    ("block", 0o060_000),
    ("character", 0o020_000),
    ("dir", 0o040_000),
    ("fifo", 0o010_000),
    ("file", 0o100_000),
    ("link", 0o120_000),
    ("socket", 0o140_000),
];

/// "Not set", as numbers of users say it.
const UNSET: u32 = u32::MAX;

/// One field, as the file has it: name, operator and value.
pub(super) struct Given<'g> {
    pub(super) name: &'g str,
    pub(super) op: &'g str,
    pub(super) value: &'g str,
}

/// Adds a field to a rule that has its system calls already.
///
/// # Errors
///
/// Why it makes no sense.
pub(super) fn add(
    rule: &mut Rule,
    given: &Given<'_>,
    has_calls: bool,
    users: &Users,
) -> Result<(), String> {
    let Given { name, value, .. } = *given;
    let field = FIELDS
        .iter()
        .find(|field| field.name == name)
        .ok_or_else(|| format!("field {name:?} is not known"))?;
    let comparison = operator(given.op)?;
    check_operator(field, given.op, comparison)?;
    if field.at_exit && rule.list != List::Exit {
        return Err(format!("field {name} is only for the list exit"));
    }
    if rule.list == List::Exclude && field.number != MSGTYPE {
        return Err(format!("the list exclude is only for msgtype, not for {name}"));
    }
    let wrong = |what: &str| format!("the value of {name} is {value:?}, and has to be {what}");
    let number = match field.kind {
        Kind::Bits | Kind::Number | Kind::Group => {
            number(value).ok_or_else(|| wrong("a number"))?
        }
        Kind::User if value == "unset" => UNSET,
        Kind::User => number(value)
            .or_else(|| users.id(value))
            .ok_or_else(|| wrong("a number, a user of this system, or unset"))?,
        Kind::Arch => {
            if !has_calls {
                return Err("arch needs a system call".to_owned());
            }
            arch(value)?
        }
        Kind::MessageType => {
            if ![List::Exclude, List::User].contains(&rule.list) {
                return Err("msgtype is only for the lists exclude and user".to_owned());
            }
            let named = record_number(value).or_else(|| number(value));
            named.ok_or_else(|| wrong("a type of records"))?
        }
        Kind::Permissions => watch::permissions(value)?,
        Kind::FileType => {
            let known = FILE_TYPES.iter().find(|(name, _)| *name == value);
            let names = FILE_TYPES.map(|(name, _)| name).join(", ");
            known.ok_or_else(|| wrong(&format!("one of {names}")))?.1
        }
        Kind::Comparison => number(value)
            .filter(|number| (1..=25).contains(number))
            .ok_or_else(|| wrong("a number from 1 to 25"))?,
        Kind::Label | Kind::Level | Kind::Path | Kind::Key => {
            return add_text(rule, field, value, comparison, has_calls);
        }
    };
    room(rule.add_field(field.number, number, comparison))
}

fn add_text(
    rule: &mut Rule,
    field: &Field,
    value: &str,
    comparison: u32,
    has_calls: bool,
) -> Result<(), String> {
    let mut text = value;
    match field.kind {
        Kind::Key => {
            if !has_calls && !rule.has(&[PATH, DIR, PERM]) {
                return Err("a key needs a system call or a watch".to_owned());
            }
            check_key(value)?;
        }
        Kind::Path => text = watch::checked(value)?,
        _ if value.is_empty() => return Err(format!("{} has no value", field.name)),
        _ => {}
    }
    room(rule.add_text(field.number, text, comparison))
}

pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(format!("the key has {} bytes, and can have 1 to {MAX_KEY}", key.len()));
    }
    Ok(())
}

pub(super) fn room(is_added: bool) -> Result<(), String> {
    let most = super::encode::MAX_FIELDS;
    if is_added { Ok(()) } else { Err(format!("there are more than {most} fields")) }
}

fn operator(word: &str) -> Result<u32, String> {
    let known = OPERATORS.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = OPERATORS.iter().map(|(word, _)| *word).collect();
        format!("operator {word:?} is not known; there are {}", words.join(", "))
    })
}

/// What the kernel would refuse, without a reason.
fn check_operator(field: &Field, word: &str, comparison: u32) -> Result<(), String> {
    let allowed = match field.kind {
        Kind::Bits => true,
        Kind::Number if field.name == "inode" => [op::EQUAL, op::NOT_EQUAL].contains(&comparison),
        Kind::Number | Kind::User | Kind::Group | Kind::Level | Kind::MessageType => {
            comparison & op::BIT_MASK == 0
        }
        Kind::Path if field.name == "exe" => [op::EQUAL, op::NOT_EQUAL].contains(&comparison),
        Kind::Path | Kind::Permissions | Kind::Key => comparison == op::EQUAL,
        Kind::Label | Kind::Arch | Kind::FileType | Kind::Comparison => {
            [op::EQUAL, op::NOT_EQUAL].contains(&comparison)
        }
    };
    if allowed { Ok(()) } else { Err(format!("operator {word} is not for field {}", field.name)) }
}

/// Decimal, hexadecimal with `0x`, or octal with `0`; negative ones as the kernel
/// stores them.
pub(super) fn number(text: &str) -> Option<u32> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    if is_negative {
        i32::try_from(-number).ok().map(i32::cast_unsigned)
    } else {
        u32::try_from(number).ok()
    }
}

/// The number of a processor: as number, by name, or as `b64` or `b32` of this
/// machine.
pub(super) fn arch(value: &str) -> Result<u32, String> {
    let own = Processor::own();
    let sibling = |bits| own.and_then(|own| own.sibling(bits));
    let found = match value {
        "b64" => sibling(64).map(|processor| processor.number),
        "b32" => sibling(32).map(|processor| processor.number),
        name => number(name).or_else(|| Processor::of_name(name).map(|processor| processor.number)),
    };
    found.ok_or_else(|| format!("arch {value:?} is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::encode::Action;

    fn refusal(list: List, name: &str, op: &str, value: &str) -> String {
        let users = Users::read("bob:x:1000:1::/:\n");
        let mut rule = Rule::new(list, Action::Always);
        let given = Given { name, op, value };
        add(&mut rule, &given, true, &users).err().unwrap_or_default()
    }

    #[test]
    fn every_refusal_says_why() {
        for (list, name, op, value, reason) in [
            (List::Exit, "nosuch", "eq", "1", "field \"nosuch\" is not known"),
            (List::Exit, "uid", "==", "1", "operator \"==\" is not known; there are eq, nt_eq"),
            (List::Exit, "uid", "", "1", "operator \"\" is not known"),
            (List::Exit, "uid", "and", "1", "operator and is not for field uid"),
            (List::Exit, "inode", "gt", "1", "operator gt is not for field inode"),
            (List::Exit, "path", "nt_eq", "/etc", "operator nt_eq is not for field path"),
            (List::Exit, "arch", "gt", "b64", "operator gt is not for field arch"),
            (List::Exit, "uid", "eq", "alice", "a number, a user of this system, or unset"),
            (List::Exit, "gid", "eq", "wheel", "has to be a number"),
            (List::Exit, "a0", "eq", "", "has to be a number"),
            (List::Exit, "a0", "eq", "+1", "has to be a number"),
            (List::Exit, "a0", "eq", "4294967296", "has to be a number"),
            (List::Exit, "arch", "eq", "vax", "arch \"vax\" is not known"),
            (List::Task, "exit", "eq", "0", "field exit is only for the list exit"),
            (List::User, "obj_type", "eq", "x", "field obj_type is only for the list exit"),
            (List::Exit, "msgtype", "eq", "CWD", "only for the lists exclude and user"),
            (List::User, "msgtype", "eq", "NOSUCH", "a type of records"),
            (List::Exclude, "uid", "eq", "0", "only for msgtype, not for uid"),
            (List::Exit, "perm", "eq", "rx!", "permission"),
            (List::Exit, "filetype", "eq", "door", "one of block, character, dir"),
            (List::Exit, "field_compare", "eq", "26", "from 1 to 25"),
            (List::Exit, "dir", "eq", "etc", "absolute"),
            (List::Exit, "subj_user", "eq", "", "subj_user has no value"),
            (List::Exit, "key", "eq", "", "the key has 0 bytes"),
        ] {
            let told = refusal(list, name, op, value);
            assert!(told.contains(reason), "{name} {op} {value}: {told:?}");
        }
        let mut rule = Rule::new(List::Exit, Action::Always);
        for (name, value) in [("arch", "b64"), ("key", "k")] {
            let given = Given { name, op: "eq", value };
            assert!(add(&mut rule, &given, false, &Users::default()).is_err(), "{name}");
        }
    }

    #[test]
    fn every_kind_of_value_is_taken() {
        for (list, name, op, value) in [
            (List::Exit, "pid", "gt", "4"),
            (List::Exit, "uid", "eq", "bob"),
            (List::Exit, "auid", "nt_eq", "unset"),
            (List::Exit, "auid", "nt_eq", "-1"),
            (List::Exit, "a1", "and", "06000"),
            (List::Exit, "a1", "and_eq", "0xff"),
            (List::Exit, "exit", "lt", "-1"),
            (List::Exit, "exe", "nt_eq", "/sbin/mig-agent"),
            (List::User, "msgtype", "eq", "1112"),
            (List::Exclude, "msgtype", "eq", "CWD"),
            (List::Exit, "arch", "eq", "aarch64"),
        ] {
            assert_eq!(refusal(list, name, op, value), "", "{name} {op} {value}");
        }
        for (text, expected) in [
            ("0", Some(0)),
            ("017", Some(15)),
            ("0x1F", Some(31)),
            ("-13", Some(0xffff_fff3)),
            ("4294967295", Some(u32::MAX)),
            ("-2147483649", None),
            ("0x", None),
            ("--1", None),
            ("09", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
