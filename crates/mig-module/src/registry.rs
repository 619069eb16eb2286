//! The modules a build carries.

use crate::module::DynModule;

/// A set of modules with distinct names, in the order given.
#[derive(Default)]
pub struct Registry {
    modules: Vec<Box<dyn DynModule>>,
}

impl Registry {
    /// # Panics
    ///
    /// When a name comes twice, which is a fault of the build.
    pub fn new(modules: Vec<Box<dyn DynModule>>) -> Self {
        for (index, module) in modules.iter().enumerate() {
            let name = module.name();
            let twice = modules.iter().skip(index + 1).any(|other| other.name() == name);
            assert!(!twice, "module {name} is registered twice");
        }
        Self { modules }
    }

    /// The module of exactly this name; case matters.
    pub fn get(&self, name: &str) -> Option<&dyn DynModule> {
        self.iter().find(|module| module.name() == name)
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(DynModule::name).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &dyn DynModule> {
        self.modules.iter().map(AsRef::as_ref)
    }
}
