#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mig_module::{ParsedArgs, Registry, compress};
use mig_types::{Operation, wire};

static REGISTRY: LazyLock<Registry> = LazyLock::new(mig_modules::registry);

fuzz_target!(|data: &[u8]| {
    if let Ok(parameters) = wire::value_from_slice(data) {
        for module in REGISTRY.iter() {
            let _ = module.validate_json(&parameters);
        }
        let operation = Operation { parameters, is_compressed: true, ..Operation::default() };
        let _ = compress::decompress_parameters(&operation, 1 << 16);
    }
    let text = String::from_utf8_lossy(data);
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for module in REGISTRY.iter() {
        // What a command line accepts, an agent accepts.
        if let Ok(ParsedArgs::Params(parameters)) = module.parse_args(&words) {
            module.validate_json(&parameters).expect("validated twice alike");
        }
    }
});
