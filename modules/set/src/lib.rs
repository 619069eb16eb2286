//! The set of modules a build carries, one cargo feature each.
