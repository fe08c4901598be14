//! What fuzzing began with and what it has found, once more: the files of `fuzz/seeds`.

use std::path::Path;

use arrowio::{DatasetReader, TokenCode};

/// Reads each file of a folder of seeds; says how many there were.
fn replay(folder: &str) -> usize {
    let codes = [TokenCode { name: "field", version: 1 }, TokenCode { name: "word16", version: 1 }];
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../../fuzz/seeds")
        .join(folder);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        if let Ok(reader) = DatasetReader::open(&path, &codes) {
            reader.for_each(drop);
        }
        if let Ok(reader) = DatasetReader::stream("seed", std::io::Cursor::new(octets), &codes) {
            reader.for_each(drop);
        }
        seen += 1;
    }
    seen
}

#[test]
fn arrow() {
    assert!(replay("arrow") >= 3);
}

#[test]
fn parquet() {
    assert!(replay("parquet") >= 3);
}
