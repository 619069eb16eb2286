//! Collection+JSON, the envelope of the API's answers.

use mig_types::wire::{self, WireError};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::Value;

/// One answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Collection {
    /// The request it answers.
    pub href: String,
    pub items: Vec<Item>,
    pub error: ErrorBody,
}

/// One thing found: a link to it, and its data.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Item {
    pub href: String,
    pub data: Vec<Datum>,
}

/// A named value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Datum {
    pub name: String,
    pub value: Value,
}

/// Why a request failed; empty otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// The number under which the API's log has the request.
    pub code: String,
    pub message: String,
}

#[derive(Deserialize)]
struct Document {
    collection: Collection,
}

impl Collection {
    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// [`WireError`] when it is not a collection.
    pub fn from_slice(body: &[u8]) -> Result<Self, WireError> {
        wire::from_slice::<Document>(body).map(|document| document.collection)
    }

    /// The value of the first item, which a successful answer promises.
    ///
    /// # Errors
    ///
    /// [`WireError`] when there is none or it is not a `T`.
    pub fn first<T: DeserializeOwned>(self) -> Result<T, WireError> {
        let datum = self.items.into_iter().next().and_then(|item| item.data.into_iter().next());
        // Not left to the reader, to which `null` is an empty value.
        match datum.map(|datum| datum.value) {
            Some(value) if !value.is_null() => wire::from_value(value),
            _ => Err(serde_json::Error::custom("the answer holds no value").into()),
        }
    }

    /// All values called `name`, in order. Paging hints and echoed parameters
    /// go by other names.
    ///
    /// # Errors
    ///
    /// [`WireError`] when one of them is not a `T`.
    pub fn named<T: DeserializeOwned>(self, name: &str) -> Result<Vec<T>, WireError> {
        let data = self.items.into_iter().flat_map(|item| item.data);
        data.filter(|datum| datum.name == name).map(|datum| wire::from_value(datum.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Agent;

    #[test]
    fn refuses_what_is_not_a_collection() {
        for body in ["", "404 page not found\n", "[]", "{}", r#"{"collection":7}"#] {
            assert!(Collection::from_slice(body.as_bytes()).is_err(), "{body:?}");
        }
        let empty =
            Collection::from_slice(br#"{"collection":{"template":{},"error":{}}}"#).unwrap();
        assert!(empty.clone().first::<Agent>().is_err());
        assert!(empty.named::<Agent>("agent").unwrap().is_empty());
    }

    #[test]
    fn skips_what_goes_by_other_names() {
        let body = br#"{"collection":{"items":[
            {"href":"x","data":[{"name":"agent","value":{"name":"a"}}]},
            {"href":"x","data":[{"name":"agent","value":{"NAME":"b"}}]},
            {"href":"x","data":[{"name":"search parameters","value":{"limit":1}}]}]}}"#;
        let agents: Vec<Agent> = Collection::from_slice(body).unwrap().named("agent").unwrap();
        assert_eq!(agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
