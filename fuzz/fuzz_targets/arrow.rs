//! Any octets as an Arrow IPC file or stream: rows, or a refusal that says where.

#![no_main]

use std::io::Cursor;

use arrowio::{CodecId, DatasetReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let codes = [CodecId { name: "field", version: 1 }, CodecId { name: "word16", version: 1 }];
    if let Ok(reader) = DatasetReader::stream("fuzz", Cursor::new(octets.to_vec()), &codes) {
        reader.for_each(drop);
    }
});
