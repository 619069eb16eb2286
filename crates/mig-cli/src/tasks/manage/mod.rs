//! What an administrator of the platform does, in one line each: the dialogs of
//! the console without the dialog.

pub(super) mod investigator;
pub(super) mod loader;
pub(super) mod manifest;
