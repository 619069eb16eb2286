#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_sign::canonical::{action_string, action_string_alternative};
use mig_types::{Action, wire};

fuzz_target!(|data: &[u8]| {
    let Ok(action) = wire::from_slice::<Action>(data) else { return };
    let Ok(signed) = action_string(&action) else { return };
    let _ = action_string_alternative(&action);
    // Whatever was read keeps its signed string when sent on.
    let sent = wire::to_vec(&action).expect("a read action can be written");
    let received: Action = wire::from_slice(&sent).expect("a written action can be read");
    assert_eq!(action_string(&received).expect("it had one before"), signed);
});
