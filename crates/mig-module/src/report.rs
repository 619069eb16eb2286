//! What a module hands back.

use mig_types::{ModuleResult, wire};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The typed result of a run. Written with all five members, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "E: Serialize, S: Serialize",
    deserialize = "E: DeserializeOwned, S: DeserializeOwned"
))]
pub struct Report<E, S> {
    /// Whether what was asked for was found at least once.
    #[serde(default)]
    pub foundanything: bool,
    /// Whether the module ran to its end.
    #[serde(default)]
    pub success: bool,
    #[serde(default)]
    pub elements: Option<E>,
    #[serde(default)]
    pub statistics: Option<S>,
    /// Fatal or soft errors; `null` when there are none.
    #[serde(default, serialize_with = "null_if_empty")]
    pub errors: Vec<String>,
}

impl<E, S> Default for Report<E, S> {
    fn default() -> Self {
        Self {
            foundanything: false,
            success: false,
            elements: None,
            statistics: None,
            errors: Vec::new(),
        }
    }
}

impl<E: Serialize + DeserializeOwned, S: Serialize + DeserializeOwned> Report<E, S> {
    /// The same result with its parts as free JSON.
    pub fn into_result(self) -> ModuleResult {
        let value = |part: serde_json::Result<Value>, errors: &mut Vec<String>| {
            part.unwrap_or_else(|error| {
                errors.push(format!("cannot write the result: {error}"));
                Value::Null
            })
        };
        let mut errors = self.errors;
        let elements = value(serde_json::to_value(&self.elements), &mut errors);
        let statistics = value(serde_json::to_value(&self.statistics), &mut errors);
        ModuleResult {
            foundanything: self.foundanything,
            success: self.success,
            elements,
            statistics,
            errors: (!errors.is_empty()).then_some(errors),
        }
    }

    /// Reads a result as this module's.
    ///
    /// # Errors
    ///
    /// When its elements or statistics have another shape.
    pub fn from_result(result: &ModuleResult) -> Result<Self, wire::WireError> {
        Ok(Self {
            foundanything: result.foundanything,
            success: result.success,
            elements: wire::from_value(result.elements.clone())?,
            statistics: wire::from_value(result.statistics.clone())?,
            errors: result.errors.clone().unwrap_or_default(),
        })
    }
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn null_if_empty<S: serde::Serializer>(list: &Vec<String>, out: S) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, out)
}
