//! Test support: keys, builders and whole platforms of real processes.
