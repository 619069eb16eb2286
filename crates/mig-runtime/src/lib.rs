//! Configuration files, secrets, logging, clock, signals, exit codes.
