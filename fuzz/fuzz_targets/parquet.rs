//! Any octets as a Parquet file: rows, or a refusal that says where.

#![no_main]

use std::io::Write;

use arrowio::{CodecId, DatasetReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let codes = [CodecId { name: "field", version: 1 }, CodecId { name: "word16", version: 1 }];
    // Memory, on Linux: Parquet is read from places all over the file, so that it must be one.
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(octets).unwrap();
    if let Ok(reader) = DatasetReader::open(file.path(), &codes) {
        reader.for_each(drop);
    }
});
