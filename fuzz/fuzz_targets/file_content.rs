//! Contents of files on a host, packed by gzip above all.
#![no_main]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _};
use mig_module_file::File;
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    // As it is; as a packed file with a broken body; and as what a packed one holds.
    let mut contents = vec![data.to_vec()];
    let mut broken = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    broken.extend_from_slice(data);
    contents.push(broken);
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(data).expect("memory takes it");
    contents.push(packer.finish().expect("memory takes it"));

    let directory = std::env::temp_dir().join(format!("mig-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory of its own");
    for (number, content) in contents.iter().enumerate() {
        std::fs::write(directory.join(number.to_string()), content).expect("a file of its own");
    }
    let search = |unpack: bool, inverted: &[&str]| {
        json!({
            "paths": [directory], "contents": ["a+b|^$|\\x00", "!zz"], "bytes": ["1f8b"],
            "options": {
                "decompress": unpack, "macroal": unpack, "mismatch": inverted,
                "matchall": false, "returnsha256": true
            }
        })
    };
    let params = json!({ "searches": {
        "packed": search(true, &["content"]), "plain": search(false, &[]),
    } });
    let host = LocalHost::default();
    let result = File.run_json(&host, params, &Budget::unlimited());
    assert!(result.success, "{:?}", result.errors);
    assert!(File.print(&result, false).is_ok());
});
