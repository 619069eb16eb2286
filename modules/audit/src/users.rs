//! Names of users, as they were when the module began.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::Path;

use mig_module::text::lossy_bytewise;

/// Where they are.
pub(crate) const FILE: &str = "/etc/passwd";
/// Most of it that is read.
const MAX_BYTES: u64 = 16 << 20;
/// Most users that are known by name.
const MAX_USERS: usize = 100_000;

/// Users by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users(HashMap<u32, String>);

impl Users {
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn of_this_system() -> io::Result<Self> {
        let mut text = Vec::new();
        let file = mig_host::fs::open_file(Path::new(FILE))?;
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        Ok(Self::read(&lossy_bytewise(&text)))
    }

    /// Reads the text of a `passwd` file; lines that make no sense are left out.
    pub(crate) fn read(passwd: &str) -> Self {
        let entry = |line: &str| {
            let mut parts = line.split(':');
            let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
            Some((parts.nth(1)?.parse().ok()?, name))
        };
        let mut users = HashMap::new();
        for (id, name) in passwd.lines().filter_map(entry).take(MAX_USERS) {
            users.entry(id).or_insert(name);
        }
        Self(users)
    }

    pub(crate) fn id(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    pub(crate) fn name(&self, id: &str) -> String {
        let name = id.parse().ok().and_then(|id: u32| self.0.get(&id).cloned());
        name.unwrap_or_else(|| format!("unknown({id})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_by_number_and_name() {
        let text =
            "\nbad\n:x:7:\nroot:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nbob:x:1000:1::/:\n";
        let users = Users::read(text);
        assert_eq!((users.name("0"), users.name("1000")), ("root".into(), "bob".into()));
        assert_eq!((users.name("7"), users.name("x")), ("unknown(7)".into(), "unknown(x)".into()));
        assert_eq!((users.id("bob"), users.id("nobody")), (Some(1000), None));
    }
}
