//! How large everything may become. A policy is signed by people who are
//! trusted, but what it finds on a host is not.

pub(crate) const MAX_VARIABLES: usize = 1_000;
pub(crate) const MAX_OBJECTS: usize = 20_000;
pub(crate) const MAX_TESTS: usize = 50_000;
/// Characters of an expression, and bytes of a text after its variables were put
/// in.
pub(crate) const MAX_TEXT: usize = 64 << 10;
/// Levels of directories below a path, the path itself included.
pub(crate) const MAX_DEPTH: u32 = 10;
/// Files of one object.
pub(crate) const MAX_FILES: u32 = 100_000;
/// Bytes that paths of located files may take, about.
pub(crate) const FILES_BYTES: usize = 32 << 20;
/// Levels of objects that import each other.
pub(crate) const MAX_CHAIN: usize = 32;
/// Bytes of all that is collected, about.
pub(crate) const VALUES_BYTES: usize = 32 << 20;
/// Longest line looked at, and most bytes of one file.
pub(crate) const MAX_LINE: u64 = 16 << 20;
pub(crate) const MAX_FILE: u64 = 10 << 30;
/// Bytes of all compiled expressions, about.
pub(crate) const EXPRESSIONS_BYTES: usize = 64 << 20;
/// Soft errors named one by one.
pub(crate) const MAX_NOTES: usize = 30;
/// A policy file on the investigator's machine.
pub(crate) const MAX_POLICY: u64 = 16 << 20;
