#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_module::persist::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Message::read(data) {
        let said = message.said();
        let line = Message::from(said.clone()).to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(Message::read(&line).unwrap().said(), said);
    }
});
