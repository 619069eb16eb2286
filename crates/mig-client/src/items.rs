//! Items of an answer one by one: a search may find every agent there is.

use std::collections::VecDeque;

use mig_types::wire::{self, WireError};
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::api::{ClientError, transport};
use crate::collection::{Collection, Item};
use crate::tell::Telling;

/// Everything of an answer but its items: links, and the error.
const MAX_ENVELOPE: usize = 1024 * 1024;

/// Takes the items out of a Collection+JSON document that comes in pieces.
///
/// It only counts brackets; whether each item, and what is left without them, is
/// JSON is for the parser to say.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "where it is: in a string, in the items")]
pub struct ItemReader {
    /// Brackets that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last string outside of items: perhaps the key of what follows.
    string: Vec<u8>,
    /// Whether the first bracket of the document's `collection` is open.
    in_collection: bool,
    in_items: bool,
    item: Vec<u8>,
    envelope: Vec<u8>,
}

impl ItemReader {
    /// Takes a piece, and returns the items that are complete now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        for byte in piece {
            self.byte(*byte, &mut complete);
        }
        complete
    }

    /// Bytes held: of the item that is not complete, and of the envelope.
    pub fn held(&self) -> usize {
        self.item.len() + self.envelope.len()
    }

    /// The document without its items, once all pieces were pushed.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the document is no collection, or ended too early.
    pub fn finish(self) -> Result<Collection, WireError> {
        // An item that is not complete leaves its array open, which is an error.
        Collection::from_slice(&self.envelope)
    }

    fn byte(&mut self, byte: u8, complete: &mut Vec<Vec<u8>>) {
        if self.in_string {
            self.keep(byte);
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
                return;
            }
            if !self.in_items {
                self.string.push(byte);
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.string.clear();
            }
            b'{' | b'[' => {
                let opens_items = byte == b'['
                    && self.depth == 2
                    && self.in_collection
                    && self.string.eq_ignore_ascii_case(b"items");
                if self.depth == 1 {
                    self.in_collection = self.string.eq_ignore_ascii_case(b"collection");
                }
                self.depth += 1;
                if opens_items {
                    self.envelope.push(byte);
                    self.in_items = true;
                    return;
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.in_items && self.depth == 2 {
                    self.complete(complete);
                    self.in_items = false;
                }
            }
            b',' if self.in_items && self.depth == 3 => {
                self.complete(complete);
                return;
            }
            _ => {}
        }
        self.keep(byte);
    }

    fn keep(&mut self, byte: u8) {
        if self.in_items {
            self.item.push(byte);
        } else {
            self.envelope.push(byte);
        }
    }

    fn complete(&mut self, complete: &mut Vec<Vec<u8>>) {
        let item = std::mem::take(&mut self.item);
        if !item.iter().all(u8::is_ascii_whitespace) {
            complete.push(item);
        }
    }
}

/// Values of one name from an answer, in order, while it is still coming in.
pub struct Items<T> {
    /// None once everything was read.
    reading: Option<(Response, ItemReader, Telling)>,
    name: String,
    read: usize,
    limit: usize,
    ready: VecDeque<T>,
}

impl<T: DeserializeOwned> Items<T> {
    /// None at all.
    pub(crate) const fn none() -> Self {
        Self { reading: None, name: String::new(), read: 0, limit: 0, ready: VecDeque::new() }
    }

    /// Of a response whose status was what it should be.
    pub(crate) fn new(response: Response, name: &str, limit: usize, telling: Telling) -> Self {
        Self {
            reading: Some((response, ItemReader::default(), telling)),
            name: name.to_owned(),
            limit,
            ..Self::none()
        }
    }

    /// The next value; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the answer breaks off, is too large, or is not what
    /// it should be. Values before that were good.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Ok(Some(value));
            }
            let Some((response, reader, telling)) = &mut self.reading else { return Ok(None) };
            let url = response.url().clone();
            let Some(piece) = response.chunk().await.map_err(|error| transport(error, &url))?
            else {
                if let Some((_, reader, _)) = self.reading.take() {
                    reader.finish().map_err(ClientError::Answer)?;
                }
                return Ok(None);
            };
            self.read += piece.len();
            telling.push(&piece);
            let items = reader.push(&piece);
            if self.read > self.limit || reader.envelope.len() > MAX_ENVELOPE {
                return Err(ClientError::TooLarge { limit: self.limit });
            }
            for item in items {
                let item: Item = wire::from_slice(&item).map_err(ClientError::Answer)?;
                for datum in item.data {
                    if datum.name == self.name {
                        let value = wire::from_value(datum.value).map_err(ClientError::Answer)?;
                        self.ready.push_back(value);
                    }
                }
            }
        }
    }

    /// All that are left.
    ///
    /// # Errors
    ///
    /// As [`Items::next`].
    pub async fn all(mut self) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        while let Some(value) = self.next().await? {
            all.push(value);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Items and envelope of a document that comes in pieces of that size.
    fn read(document: &str, size: usize) -> (Vec<String>, Result<Collection, WireError>) {
        let mut reader = ItemReader::default();
        let mut items = Vec::new();
        for piece in document.as_bytes().chunks(size) {
            items.extend(reader.push(piece));
        }
        let text = |item: Vec<u8>| String::from_utf8(item).unwrap();
        (items.into_iter().map(text).collect(), reader.finish())
    }

    #[test]
    fn what_is_no_collection_is_refused_in_the_end() {
        for document in [
            "",
            "404 page not found",
            "[]",
            "{}",
            r#"{"items":[{"data":[]}]}"#,
            r#"{"other":{"items":[{}]}}"#,
            r#"{"collection":{"items":[{"data":[]}"#,
            r#"{"collection":{"items":[{"data":[]},"#,
            r#"{"collection":{"items":[{"href":"]}}"#,
        ] {
            let (_, end) = read(document, 7);
            assert!(end.is_err(), "{document}");
        }
    }

    #[test]
    fn items_are_taken_out_wherever_the_pieces_end() {
        let document = r#"{"collection":{"href":"a[b]","items": [ {"href":"\"},{","data":[{"a":[1,2]}]} , {"x":{}},7],"template":{"data":[{"items":[1]}]},"error":{"message":"no"}}}"#;
        for size in 1..document.len() {
            let (items, end) = read(document, size);
            let trimmed: Vec<&str> = items.iter().map(|item| item.trim()).collect();
            let expected = [r#"{"href":"\"},{","data":[{"a":[1,2]}]}"#, r#"{"x":{}}"#, "7"];
            assert_eq!(trimmed, expected, "{size}");
            let envelope = end.unwrap();
            assert_eq!(envelope.href, "a[b]");
            assert_eq!(envelope.error.message, "no");
        }
        let (items, end) = read(r#"{"Collection":{"ITEMS":[],"error":{}}}"#, 3);
        assert!(items.is_empty() && end.is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut reader = ItemReader::default();
            let length: usize = pieces.iter().map(Vec::len).sum();
            for piece in &pieces {
                reader.push(piece);
            }
            prop_assert!(reader.held() <= length);
            let _ = reader.finish();
        }

        #[test]
        fn whatever_the_items_are_they_come_back(
            texts in proptest::collection::vec(".*", 0..6),
            size in 1_usize..40,
        ) {
            let items: Vec<serde_json::Value> =
                texts.iter().map(|text| serde_json::json!({ "href": text })).collect();
            let document = serde_json::json!({ "collection": { "items": items } }).to_string();
            let (found, end) = read(&document, size);
            prop_assert!(end.is_ok());
            let found: Vec<serde_json::Value> =
                found.iter().map(|item| serde_json::from_str(item).unwrap()).collect();
            prop_assert_eq!(found, items);
        }
    }
}
