//! The API's document, written by the API itself.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::command::{cargo, output, root};

const DOCUMENT: &str = "openapi/mig.json";

/// Writes the document; a test of the API compares it with the routes.
pub(crate) fn run() -> Result<ExitCode> {
    let arguments = ["run", "--quiet", "--bin", "mig-api", "--", "--openapi"];
    let document = output(cargo().args(arguments))?;
    std::fs::write(root().join(DOCUMENT), document)
        .with_context(|| format!("writing {DOCUMENT}"))?;
    println!("wrote {DOCUMENT}");
    Ok(ExitCode::SUCCESS)
}
