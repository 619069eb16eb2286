//! The module trait, reports, budgets and the subprocess protocol.
