//! What the kernel says about auditing: its messages, and the records in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_host::audit::message::{code, messages, status};

fuzz_target!(|data: &[u8]| {
    for message in messages(data) {
        let _ = (status(message.body), code(message.body));
        let _ = mig_module_audit::read_record(message.kind, message.body);
    }
    let Some((kind, text)) = data.split_first_chunk() else { return };
    let kind = 1000 + u16::from_ne_bytes(*kind) % 1600;
    let mut record = b"audit(1.2:3): ".to_vec();
    record.extend_from_slice(text);
    for text in [text, &record] {
        if let Some(alert) = mig_module_audit::read_record(kind, text) {
            assert!(alert.len() < 64 << 10);
            assert!(serde_json::from_str::<serde_json::Value>(&alert).is_ok());
        }
    }
});
