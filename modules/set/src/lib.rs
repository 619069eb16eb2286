#![doc = include_str!("../README.md")]

use mig_module::{DynModule, Registry};

/// Every module this build carries, in the order of their names.
pub fn registry() -> Registry {
    let modules: Vec<Box<dyn DynModule>> = vec![
        #[cfg(feature = "module-agentdestroy")]
        Box::new(mig_module_agentdestroy::AgentDestroy),
        #[cfg(feature = "module-audit")]
        Box::new(mig_module_audit::Audit::default()),
        #[cfg(feature = "module-dispatch")]
        Box::new(mig_module_dispatch::Dispatch::default()),
        #[cfg(feature = "module-example")]
        Box::new(mig_module_example::Example),
        #[cfg(feature = "module-examplepersist")]
        Box::new(mig_module_examplepersist::ExamplePersist),
        #[cfg(feature = "module-file")]
        Box::new(mig_module_file::File),
        #[cfg(feature = "module-fswatch")]
        Box::new(mig_module_fswatch::FsWatch),
        #[cfg(feature = "module-memory")]
        Box::new(mig_module_memory::Memory),
        #[cfg(feature = "module-netstat")]
        Box::new(mig_module_netstat::Netstat),
        #[cfg(feature = "module-ping")]
        Box::new(mig_module_ping::Ping),
        #[cfg(feature = "module-pkg")]
        Box::new(mig_module_pkg::Pkg),
        #[cfg(feature = "module-scribe")]
        Box::new(mig_module_scribe::Scribe),
        #[cfg(feature = "module-sshkey")]
        Box::new(mig_module_sshkey::SshKey),
        #[cfg(feature = "module-timedrift")]
        Box::new(mig_module_timedrift::TimeDrift::default()),
        #[cfg(feature = "module-yara")]
        Box::new(mig_module_yara::Yara::without_engine()),
    ];
    Registry::new(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found_exactly() {
        let registry = registry();
        let names = registry.names();
        assert!(names.is_sorted());
        for name in names {
            assert!(registry.get(name).is_some());
            assert!(registry.get(&name.to_uppercase()).is_none());
        }
    }
}
