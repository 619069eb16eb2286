//! Signatures of an action as lines.

use mig_client::signatures::{Source, Verdict};
use mig_module::text::printable;

use crate::failure::sentence;
use crate::text::moment;

/// `signature 1: good, 9F2C…7E66 Grace Field <grace@example.net>, made …`.
pub fn line(number: usize, verdict: &Verdict) -> String {
    let user = verdict.user_id.as_deref().map(printable).unwrap_or_default();
    let after = match verdict.source {
        Some(Source::Api) => " (according to the API)",
        _ => "",
    };
    match &verdict.result {
        Ok(signer) => format!(
            "signature {number}: good, {} {user}, made {}{after}",
            signer.fingerprint,
            moment(signer.created)
        ),
        Err(error) => {
            let by = match (&verdict.user_id, verdict.issuer.as_str()) {
                (_, "") => String::new(),
                (Some(_), issuer) => format!(", {issuer} {user}"),
                (None, issuer) => format!(", claims to be by {issuer}"),
            };
            format!("signature {number}: not good{by}: {}{after}", printable(&sentence(error)))
        }
    }
}

/// Whether there are signatures, all of them good.
pub fn all_good(verdicts: &[Verdict]) -> bool {
    !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.result.is_ok())
}
