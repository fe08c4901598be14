//! Reads the seeds of the fuzz targets `arrow` and `parquet`, past findings among them.

use arrowio::{CodecId, DatasetReader};

/// Reads every seed of a fuzz target as a file and as a stream; returns their number.
fn replay(target: &str) -> usize {
    let codes = [CodecId { name: "field", version: 1 }, CodecId { name: "word16", version: 1 }];
    let seeds = testkit::fuzz_seeds(target);
    for path in &seeds {
        let octets = std::fs::read(path).unwrap();
        if let Ok(reader) = DatasetReader::open(path, &codes) {
            reader.for_each(drop);
        }
        if let Ok(reader) = DatasetReader::stream("seed", std::io::Cursor::new(octets), &codes) {
            reader.for_each(drop);
        }
    }
    seeds.len()
}

#[test]
fn arrow() {
    assert!(replay("arrow") >= 3);
}

#[test]
fn parquet() {
    assert!(replay("parquet") >= 3);
}
