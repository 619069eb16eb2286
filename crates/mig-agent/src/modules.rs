//! The modules this program carries.

use std::sync::OnceLock;

use mig_module::Registry;

static MODULES: OnceLock<fn() -> Registry> = OnceLock::new();

/// The modules of this program: those of the build, unless it is a program of
/// its own making.
pub(crate) fn registry() -> Registry {
    MODULES.get().copied().unwrap_or(mig_modules::registry)()
}

/// Decides for the whole life of the process. Only the first time counts.
pub(crate) fn carry(modules: fn() -> Registry) {
    let _ = MODULES.set(modules);
}
