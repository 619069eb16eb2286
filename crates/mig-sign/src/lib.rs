//! The signed strings, OpenPGP signing and verification, who may run what.
