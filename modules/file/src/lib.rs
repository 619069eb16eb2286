//! The file module: metadata, content and checksum searches.
