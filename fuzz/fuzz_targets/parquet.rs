//! Reads any octets as a Parquet file: rows, or an error with its place.

#![no_main]

use std::io::Write;

use arrowio::{CodecId, DatasetReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    // libFuzzer's own hook aborts on every panic, those that the reader catches among them.
    arrowio::silence_panics();
    let codes = [CodecId { name: "field", version: 1 }, CodecId { name: "word16", version: 1 }];
    // Parquet needs a file to seek in; on Linux this one is in memory.
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(octets).unwrap();
    if let Ok(reader) = DatasetReader::open(file.path(), &codes) {
        reader.for_each(drop);
    }
});
