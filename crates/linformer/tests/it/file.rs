//! Tests of the parser of model files.

use std::path::Path;

use linformer::file::{TensorFile, TrainingMetadata};

/// Returns a safetensors file with this header and these values.
fn with_header(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

fn check(header: &str, expected: &str) {
    let refused = TensorFile::parse(&with_header(header, &[])).unwrap_err();
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn names_shapes_and_values_are_read() {
    let octets = with_header(
        r#"{"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#,
        &[0, 0, 0, 0, 0, 0, 128, 63],
    );
    let file = TensorFile::parse(&octets).unwrap();
    let [x] = file.tensors() else { panic!("{file:?}") };
    assert_eq!((x.name.as_str(), x.shape.as_slice()), ("x", [2, 1].as_slice()));
    assert_eq!(x.values().collect::<Vec<_>>(), [0.0, 1.0]);
    assert_eq!(file.metadata(), "");
}

#[test]
fn sizes_beyond_sense_are_refused() {
    check(
        r#"{"x":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}"#,
        "x: expected at most",
    );
    let [elements, end] = ["4611686018427387903", "18446744073709551612"];
    let wraps =
        format!(r#"{{"x":{{"dtype":"F32","shape":[{elements}],"data_offsets":[0,{end}]}}}}"#);
    check(&wraps, "x: expected values within the file");
    check(
        r#"{"x":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}"#,
        "x: expected F32, found F64",
    );
}

/// Parses the files of `fuzz/seeds/model`: the fuzz target's first inputs, and those with findings.
#[test]
fn seeds() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let (mut files, mut states) = (0, 0);
    for entry in std::fs::read_dir(Path::new(&manifest).join("../../fuzz/seeds/model")).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap();
        let (how, rest) = octets.split_first().unwrap();
        let header = rest.split(|octet| *octet == 0).next().unwrap();
        let file = match how % 2 {
            0 => rest.to_vec(),
            _ => with_header(
                std::str::from_utf8(header).unwrap(),
                rest.get(header.len() + 1..).unwrap_or_default(),
            ),
        };
        let Ok(file) = TensorFile::parse(&file) else { continue };
        files += 1;
        states += u32::from(TrainingMetadata::parse(file.metadata()).is_ok());
    }
    assert!(files >= 4 && states >= 2, "{files} {states}");
}
