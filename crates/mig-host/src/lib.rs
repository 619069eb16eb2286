//! Reads an operating system below a given root.
