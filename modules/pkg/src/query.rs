//! What is asked, compiled.

use mig_module::ModuleError;
use mig_module::regex::GoRegex;

use crate::Params;

pub(crate) struct Query {
    pub(crate) names: Vec<GoRegex>,
    version: Option<GoRegex>,
    is_inverted: bool,
}

impl Query {
    pub(crate) fn compile(params: &Params) -> Result<Self, ModuleError> {
        if params.pkgmatch.matches.is_empty() {
            return Err(ModuleError::invalid("must specify at least one package to match"));
        }
        let names = params.pkgmatch.matches.iter().map(|text| regex("pkgmatch", text));
        // A lone exclamation mark is an expression.
        let inverted = params.vermatch.strip_prefix('!').filter(|rest| !rest.is_empty());
        let version = inverted.unwrap_or(&params.vermatch);
        Ok(Self {
            names: names.collect::<Result<_, _>>()?,
            version: (!version.is_empty()).then(|| regex("vermatch", version)).transpose()?,
            is_inverted: inverted.is_some(),
        })
    }

    pub(crate) fn wants_version(&self, version: &str) -> bool {
        let matches = |regex: &GoRegex| regex.is_match(version.as_bytes()) != self.is_inverted;
        self.version.as_ref().is_none_or(matches)
    }
}

fn regex(parameter: &str, text: &str) -> Result<GoRegex, ModuleError> {
    GoRegex::new(text).map_err(|error| ModuleError::invalid(format!("{parameter}: {error}")))
}
