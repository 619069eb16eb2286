#![doc = include_str!("../README.md")]

mod engine;
mod flags;

use std::io::{self, Write as _};
use std::process::ExitCode;

use mig_child::{ORDERS, Orders};
use mig_module::Registry;
use mig_module_yara::Yara;

use crate::engine::YaraX;
use crate::flags::{Flags, USAGE};

const PROGRAM: &str = "mig-yara";
/// Exit code for a command line that makes no sense.
const MISUSED: u8 = 2;

const VERSION: &str = match option_env!("MIG_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    let args: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let flags = match args
        .map_err(|arg| format!("an argument is not valid text: {}", arg.display()))
        .and_then(|args| Flags::parse(&args))
    {
        Ok(flags) => flags,
        Err(error) => {
            let _ = write!(io::stderr(), "{PROGRAM}: {error}\n{USAGE}");
            return ExitCode::from(MISUSED);
        }
    };
    if flags.help {
        return print(USAGE);
    }
    if flags.version {
        return print(&format!("{VERSION}\n"));
    }
    if flags.module.is_empty() {
        let _ = write!(io::stderr(), "{PROGRAM}: -m is required\n{USAGE}");
        return ExitCode::from(MISUSED);
    }
    let orders = match std::env::var(ORDERS) {
        Ok(text) => match serde_json::from_str::<Orders>(&text) {
            Ok(orders) => Some(orders),
            Err(_) => return failed(&format!("{ORDERS} is not understood")),
        },
        Err(_) => None,
    };
    let registry = Registry::new(vec![Box::new(Yara::with_engine(Box::new(YaraX)))]);
    if flags.options.print && registry.get(&flags.module).is_none() {
        return print(&format!("[error] no printer available for module '{}'\n", flags.module));
    }
    let served = mig_child::run(
        &registry,
        &flags.module,
        orders.as_ref(),
        flags.options,
        io::stdin(),
        io::stdout().lock(),
    );
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("cannot write the result: {error}")),
    }
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {reason}");
    ExitCode::FAILURE
}
