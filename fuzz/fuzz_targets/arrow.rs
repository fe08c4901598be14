//! Reads any octets as an Arrow IPC file or stream: rows, or an error with its place.

#![no_main]

use std::io::Cursor;

use arrowio::{CodecId, DatasetReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    // libFuzzer's own hook aborts on every panic, those that the reader catches among them.
    arrowio::silence_panics();
    let codes = [CodecId { name: "field", version: 1 }, CodecId { name: "word16", version: 1 }];
    if let Ok(reader) = DatasetReader::stream("fuzz", Cursor::new(octets.to_vec()), &codes) {
        reader.for_each(drop);
    }
});
