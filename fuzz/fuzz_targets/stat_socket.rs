#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_agent::socket::{http, request};

fuzz_target!(|data: &[u8]| {
    let _ = (request::is_complete(data), request::parse(data));
    let _ = http::read_answer(data);
});
