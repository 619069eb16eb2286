//! Items of an API's answer, in pieces of any size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mig_client::items::ItemReader;

fuzz_target!(|data: &[u8]| {
    let Some((size, document)) = data.split_first() else { return };
    let (mut reader, mut found) = (ItemReader::default(), 0);
    for piece in document.chunks(usize::from(*size).max(1)) {
        found += reader.push(piece).len();
        assert!(reader.held() <= document.len());
    }
    let mut whole = ItemReader::default();
    assert_eq!(whole.push(document).len(), found);
    assert_eq!(reader.finish().is_ok(), whole.finish().is_ok());
});
