//! Policies: files that people get from each other, JSON or YAML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _};
use mig_module_scribe::{Document, Params, Scribe, policy};

fuzz_target!(|data: &[u8]| {
    let Ok(document) = policy::parse(data) else { return };
    // Nothing of the machine is looked at.
    let bare = |mut document: Document| {
        for object in &mut document.objects {
            object.filecontent.path.clear();
            object.filename.path.clear();
            object.hasline.path.clear();
            object.package.name.clear();
        }
        document
    };
    let params = Params { document: bare(document), ..Params::default() };
    let host = LocalHost::new("/nonexistent".as_ref());
    let Ok(value) = serde_json::to_value(&params) else { return };
    let result = Scribe.run_json(&host, value, &Budget::unlimited());
    assert!(Scribe.print(&result, false).is_ok());
});
