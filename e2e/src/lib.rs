//! End-to-end, attack and chaos suites over real processes and servers.
