#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_types::{Agent, Command, wire};

fuzz_target!(|data: &[u8]| {
    if let Ok(command) = wire::from_slice::<Command>(data) {
        let sent = wire::to_vec(&command).expect("a read command can be written");
        wire::from_slice::<Command>(&sent).expect("a written command can be read");
    }
    let _ = wire::from_slice::<Agent>(data);
});
