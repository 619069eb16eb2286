//! Compressed parameters: base64 of gzip of JSON.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use mig_types::{Operation, wire};
use serde_json::Value;

/// Default bound of decompressed parameters.
pub const MAX_PARAMETERS: usize = 64 << 20;

/// Compressed parameters that cannot be read, or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    #[error("compressed parameters of module {module} are not a text")]
    NotText { module: String },
    #[error("compressed parameters of module {module} are not base64")]
    Base64 { module: String, source: base64::DecodeError },
    #[error("compressed parameters of module {module} are not gzip")]
    Gzip { module: String, source: std::io::Error },
    #[error("compressed parameters of module {module} exceed {limit} bytes")]
    TooLarge { module: String, limit: usize },
    #[error("compressed parameters of module {module} are not JSON")]
    Json { module: String, source: wire::WireError },
}

/// The plain parameters of an operation, at most `limit` bytes of JSON.
///
/// Streams of several gzip members are read to their end.
///
/// # Errors
///
/// [`CompressError`] naming the layer that is wrong.
pub fn decompress_parameters(op: &Operation, limit: usize) -> Result<Value, CompressError> {
    if !op.is_compressed {
        return Ok(op.parameters.clone());
    }
    let module = || op.module.clone();
    let Value::String(text) = &op.parameters else {
        return Err(CompressError::NotText { module: module() });
    };
    // Go's decoder skips line ends.
    let packed: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let packed = STANDARD
        .decode(packed)
        .map_err(|source| CompressError::Base64 { module: module(), source })?;
    let mut json = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed.as_slice())
        .take(bound)
        .read_to_end(&mut json)
        .map_err(|source| CompressError::Gzip { module: module(), source })?;
    if json.len() > limit {
        return Err(CompressError::TooLarge { module: module(), limit });
    }
    wire::value_from_slice(&json).map_err(|source| CompressError::Json { module: module(), source })
}

/// Compresses the parameters of an operation; one that is already compressed is
/// left alone, since its bytes may be signed.
///
/// # Errors
///
/// [`CompressError::Json`] when the parameters cannot be written.
pub fn compress_parameters(op: &mut Operation) -> Result<(), CompressError> {
    if op.is_compressed {
        return Ok(());
    }
    let module = || op.module.clone();
    let json = wire::to_vec(&op.parameters)
        .map_err(|source| CompressError::Json { module: module(), source })?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder
        .write_all(&json)
        .and_then(|()| encoder.finish())
        .map_err(|source| CompressError::Gzip { module: module(), source })?;
    op.parameters = Value::String(STANDARD.encode(packed));
    op.is_compressed = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(members: &[&[u8]]) -> Operation {
        let mut bytes = Vec::new();
        for member in members {
            let mut encoder = GzEncoder::new(&mut bytes, Compression::best());
            encoder.write_all(member).unwrap();
            encoder.finish().unwrap();
        }
        let parameters = Value::String(STANDARD.encode(bytes));
        Operation { module: "file".into(), parameters, is_compressed: true, want_compressed: true }
    }

    #[test]
    fn refuses_each_broken_layer_by_name() {
        let with = |parameters| Operation { parameters, ..packed(&[]) };
        for (operation, text) in [
            (with(serde_json::json!({"a": 1})), "are not a text"),
            (with("***".into()), "are not base64"),
            (with(STANDARD.encode("plain").into()), "are not gzip"),
            (packed(&[b"{"]), "are not JSON"),
        ] {
            let error = decompress_parameters(&operation, 1000).unwrap_err().to_string();
            assert!(error.ends_with(text) && error.contains("file"), "{error}");
        }
    }

    #[test]
    fn joins_members_and_skips_line_ends() {
        let mut operation = packed(&[b"{\"a\":", b"[1]}"]);
        let plain = serde_json::json!({"a": [1]});
        assert_eq!(decompress_parameters(&operation, 1000).unwrap(), plain);
        let text = operation.parameters.as_str().unwrap().to_owned();
        operation.parameters = format!("{}\r\n{}\n", &text[..8], &text[8..]).into();
        assert_eq!(decompress_parameters(&operation, 1000).unwrap(), plain);
    }

    #[test]
    fn a_bomb_is_refused_by_its_size() {
        let blanks = vec![b' '; 8 << 20];
        let operation = packed(&[&blanks]);
        let error = decompress_parameters(&operation, 1 << 20).unwrap_err();
        assert!(matches!(error, CompressError::TooLarge { limit: 1_048_576, .. }));
    }

    #[test]
    fn what_is_compressed_stays_as_it_is() {
        let mut operation = packed(&[b"{}"]);
        let before = operation.clone();
        compress_parameters(&mut operation).unwrap();
        assert_eq!(operation, before);
    }

    proptest! {
        #[test]
        fn survives_the_round_trip(key in "\\PC{0,20}", number: i32) {
            let parameters = serde_json::json!({ key: [number, "<&>", null] });
            let mut operation =
                Operation { module: "m".into(), parameters: parameters.clone(), ..Operation::default() };
            compress_parameters(&mut operation).unwrap();
            prop_assert!(operation.is_compressed);
            prop_assert_eq!(decompress_parameters(&operation, MAX_PARAMETERS).unwrap(), parameters);
        }

        #[test]
        fn no_text_panics(text in "[A-Za-z0-9+/=]{0,80}") {
            let operation = Operation { parameters: text.into(), ..packed(&[]) };
            let _ = decompress_parameters(&operation, 1000);
        }
    }
}
