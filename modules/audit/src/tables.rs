//! Numbers and names of the kernel.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A processor, with the table of its system calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processor {
    /// As the kernel's records and rules say it.
    pub(crate) number: u32,
    /// As Go calls it.
    pub(crate) name: &'static str,
    /// As others call it.
    alias: &'static str,
    calls: &'static LazyLock<Calls>,
}

type Table = HashMap<u32, &'static str>;

#[derive(Debug)]
struct Calls {
    by_number: Table,
    by_name: HashMap<&'static str, u32>,
}

static AMD64: LazyLock<Calls> =
    LazyLock::new(|| Calls::read(include_str!("tables/calls_x86_64.txt")));
static I386: LazyLock<Calls> = LazyLock::new(|| Calls::read(include_str!("tables/calls_i386.txt")));
static ARM64: LazyLock<Calls> =
    LazyLock::new(|| Calls::read(include_str!("tables/calls_aarch64.txt")));
static ARM: LazyLock<Calls> = LazyLock::new(|| Calls::read(include_str!("tables/calls_arm.txt")));
static RISCV64: LazyLock<Calls> =
    LazyLock::new(|| Calls::read(include_str!("tables/calls_riscv64.txt")));
static RECORDS: LazyLock<Table> = LazyLock::new(|| read(include_str!("tables/records.txt")));

/// **Source** `elf-em.h`; the upper bits say 64 bits and little endian.
const PROCESSORS: [Processor; 5] = [
    Processor { number: 0xc000_003e, name: "amd64", alias: "x86_64", calls: &AMD64 },
    Processor { number: 0x4000_0003, name: "386", alias: "i386", calls: &I386 },
    Processor { number: 0xc000_00b7, name: "arm64", alias: "aarch64", calls: &ARM64 },
    Processor { number: 0x4000_0028, name: "arm", alias: "armv7l", calls: &ARM },
    Processor { number: 0xc000_00f3, name: "riscv64", alias: "riscv64", calls: &RISCV64 },
];

impl PartialEq for Processor {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Calls {
    fn read(text: &'static str) -> Self {
        let by_number = read(text);
        let by_name = by_number.iter().map(|(number, name)| (*name, *number)).collect();
        Self { by_number, by_name }
    }
}

/// Lines of a number and a name.
fn read(text: &'static str) -> Table {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(number, name)| Some((number.parse().ok()?, name))).collect()
}

impl Processor {
    /// The one this program was made for, if there is a table of its calls.
    pub(crate) fn own() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86" => Self::of_name("i386"),
            name => Self::of_name(name),
        }
    }

    pub(crate) fn of_number(number: u32) -> Option<Self> {
        PROCESSORS.into_iter().find(|processor| processor.number == number)
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        PROCESSORS.into_iter().find(|known| known.name == name || known.alias == name)
    }

    /// The one with 64 bits, respectively 32, on the same machine.
    pub(crate) fn sibling(self, bits: u32) -> Option<Self> {
        let name = match (self.name, bits) {
            ("amd64" | "386", 64) => "amd64",
            ("amd64" | "386", 32) => "386",
            ("arm64" | "arm", 64) => "arm64",
            ("arm64" | "arm", 32) => "arm",
            ("riscv64", 64) => "riscv64",
            _ => return None,
        };
        Self::of_name(name)
    }

    pub(crate) fn call_name(self, number: u32) -> Option<&'static str> {
        self.calls.by_number.get(&number).copied()
    }

    pub(crate) fn call_number(self, name: &str) -> Option<u32> {
        self.calls.by_name.get(name).copied()
    }
}

/// The name of a type of records.
pub(crate) fn record_name(kind: u16) -> Option<&'static str> {
    RECORDS.get(&u32::from(kind)).copied()
}

/// The type of records of this name.
pub(crate) fn record_number(name: &str) -> Option<u32> {
    RECORDS.iter().find(|(_, known)| **known == name).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_numbers_of_their_processor() {
        for (name, numbers) in [
            ("openat", [Some(257), Some(295), Some(56), Some(322), Some(56)]),
            ("open", [Some(2), Some(5), None, Some(5), None]),
            ("execve", [Some(59), Some(11), Some(221), Some(11), Some(221)]),
            ("openat2", [Some(437); 5]),
            ("mseal", [Some(462); 5]),
            ("nosuchcall", [None; 5]),
        ] {
            let found = PROCESSORS.map(|processor| processor.call_number(name));
            assert_eq!(found, numbers, "{name}");
        }
        for processor in PROCESSORS {
            let calls = &processor.calls;
            assert_eq!(calls.by_name.len(), calls.by_number.len(), "{}", processor.name);
            assert_eq!(processor.call_name(100_000), None);
        }
    }

    #[test]
    fn processors_are_known_by_every_name() {
        let amd64 = Processor::of_number(0xc000_003e).unwrap();
        assert_eq!(Processor::of_name("x86_64"), Some(amd64));
        assert_eq!(amd64.sibling(32).map(|processor| processor.number), Some(0x4000_0003));
        let riscv64 = Processor::of_name("riscv64").unwrap();
        assert_eq!(riscv64.sibling(32), None);
        assert_eq!(Processor::of_number(1), None);
        assert_eq!(Processor::of_name("vax"), None);
    }

    #[test]
    fn record_types_have_names() {
        for (kind, name) in
            [(1300, "SYSCALL"), (1320, "EOE"), (1112, "USER_LOGIN"), (1400, "AVC"), (1006, "LOGIN")]
        {
            assert_eq!(record_name(kind), Some(name));
            assert_eq!(record_number(name), Some(u32::from(kind)));
        }
        assert_eq!(record_name(9_999), None);
    }
}
