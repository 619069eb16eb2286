//! Archives of manifests, as somebody uploads them.
#![no_main]

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // As it is, and below both encodings, where the tar reader meets it.
    let _ = mig_archive::entries(&String::from_utf8_lossy(data));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    if encoder.write_all(data).is_ok()
        && let Ok(packed) = encoder.finish()
    {
        let content = STANDARD.encode(packed);
        let _ = mig_archive::entries(&content);
        let _ = mig_archive::object(&content, "mig-agent");
    }
});
