//! Starts the program. Everything that can go wrong is tested in the library.
fn main() {}
