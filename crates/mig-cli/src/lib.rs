//! The mig command.
