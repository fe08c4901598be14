//! Datasets as other programs leave them: without metadata, by their footer, under other names.

use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;

use arrowio::{
    CodecId, Compression, DatasetFormat, DatasetReader, Error, FlowRow, ReadOptions, Tokens,
};
use tokenizer::{field, word16};

use crate::FORMATS;
use crate::support::{FIELD, WORD16, file, options, read_all, row};

/// Notices of all tests, each with the path of its file.
static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(line: &str) {
    NOTICES.lock().unwrap().push(line.to_owned());
}

/// Returns the notices about a file, without its path.
fn notices_of(path: &Path) -> Vec<String> {
    let start = format!("{}: ", path.display());
    let all = NOTICES.lock().unwrap();
    all.iter().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

/// Rows whose first tokens are those of a code.
fn rows_in(code: CodecId) -> Vec<FlowRow> {
    let tokens = |n: u16| {
        if code == FIELD {
            Tokens::U16(vec![field::BOS, n, 3])
        } else {
            Tokens::I32(vec![word16::FREE, n.into(), word16::END])
        }
    };
    let row = |n| FlowRow { tokens: tokens(n), ..row(n) };
    // A flow without tokens tells nothing.
    let empty = if code == FIELD { Tokens::U16(Vec::new()) } else { Tokens::I32(Vec::new()) };
    std::iter::once(FlowRow { tokens: empty, ..row(0) }).chain((1..9).map(row)).collect()
}

/// Replaces every occurrence of a text in a file.
fn replace(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut octets = std::fs::read(path).unwrap();
    let mut count = 0;
    for at in 0..octets.len() - from.len() {
        if octets[at..].starts_with(from.as_bytes()) {
            octets[at..at + to.len()].copy_from_slice(to.as_bytes());
            count += 1;
        }
    }
    assert!(count > 0, "{from}");
    std::fs::write(path, octets).unwrap();
}

fn open(path: &Path, token_code: Option<CodecId>) -> Result<Vec<FlowRow>, Error> {
    let accepted = [FIELD, WORD16];
    let options = ReadOptions { accepted: &accepted, token_code, notice: note };
    DatasetReader::open_with(path, &options)?.collect()
}

#[test]
fn the_first_tokens_tell_the_code_of_a_file_without_metadata() {
    for format in FORMATS {
        for code in [FIELD, WORD16] {
            let rows = rows_in(code);
            let file = file(&rows, code, &options(format, Compression::None));
            replace(file.path(), "token_code", "lost__code");
            assert_eq!(open(file.path(), None).unwrap(), rows, "{format:?} {}", code.name);
            let by = "its tokens show (--token-code names another)";
            let expected = format!(
                "the metadata name no token code: read as {} version {}, as {by}",
                code.name, code.version
            );
            assert_eq!(notices_of(file.path()), [expected]);
        }
    }
}

#[test]
fn the_option_names_the_code_of_a_file_without_metadata() {
    // Tokens with which no flow begins.
    let unlike = |n| FlowRow { tokens: Tokens::U16((7..7 + n).collect()), ..row(n) };
    let rows: Vec<_> = (1..9).map(unlike).collect();
    let file = file(&rows, FIELD, &options(DatasetFormat::Parquet, Compression::Zstd));
    replace(file.path(), "token_code", "lost__code");
    let refused = open(file.path(), None).unwrap_err().to_string();
    assert!(
        refused.contains("metadata token_code: expected the name of a token code"),
        "{refused}"
    );
    assert!(refused.ends_with("(--token-code names the code)"), "{refused}");
    assert_eq!(open(file.path(), Some(FIELD)).unwrap(), rows);
    assert!(notices_of(file.path())[0].ends_with("as --token-code says"));
}

#[test]
fn the_option_does_not_overrule_the_metadata() {
    let file = file(&rows_in(FIELD), FIELD, &options(DatasetFormat::Arrow, Compression::None));
    let refused = open(file.path(), Some(WORD16)).unwrap_err().to_string();
    let expected = "token code: expected word16, as --token-code says, found field";
    assert!(refused.ends_with(expected), "{refused}");
    assert!(open(file.path(), Some(FIELD)).is_ok() && notices_of(file.path()).is_empty());
}

#[test]
fn columns_in_another_case_are_named() {
    for format in FORMATS {
        let file = file(&rows_in(FIELD), FIELD, &options(format, Compression::None));
        replace(file.path(), "client_addr", "CLIENT_ADDR");
        let rows = open(file.path(), None).unwrap();
        assert!(rows.iter().all(|row| row.identity.client.addr.is_none()));
        let expected = ["column CLIENT_ADDR not read: expected client_addr in lower case"];
        assert_eq!(notices_of(file.path()), expected);
    }
    let file = file(&rows_in(FIELD), FIELD, &options(DatasetFormat::Arrow, Compression::None));
    replace(file.path(), "tokens", "TOKENS");
    let refused = open(file.path(), None).unwrap_err().to_string();
    let expected = "schema: expected a column named tokens or flows, found one named TOKENS";
    assert!(refused.ends_with(expected), "{refused}");
}

#[test]
fn an_arrow_file_is_read_by_its_footer() {
    let rows = rows_in(FIELD);
    let file = file(&rows, FIELD, &options(DatasetFormat::Arrow, Compression::Lz4));
    let mut octets = std::fs::read(file.path()).unwrap();
    // Polars' files of `compat_level=oldest` have no message behind their magic.
    octets[8..16].copy_from_slice(&[4, 0, 0, 0, 0xf2, 0xff, 0xff, 0xff]);
    std::fs::write(file.path(), &octets).unwrap();
    assert_eq!(read_all(file.path(), FIELD).unwrap(), rows);
    let refused = DatasetReader::stream("pipe", Cursor::new(octets), &[FIELD]).err().unwrap();
    let refused = refused.to_string();
    assert!(refused.starts_with("pipe: octet 8: expected a stream"), "{refused}");
}

#[test]
fn feather_of_version_1_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"FEA1\0\0\0\0 and more FEA1").unwrap();
    let refused = open(file.path(), None).unwrap_err().to_string();
    assert!(refused.contains("octet 0: expected Arrow or Parquet, found Feather version 1"));
}

#[test]
fn lz4_frames_are_of_independent_blocks_without_checksums() {
    let file = file(&rows_in(FIELD), FIELD, &options(DatasetFormat::Stream, Compression::Lz4));
    let octets = std::fs::read(file.path()).unwrap();
    let magic = 0x184d_2204_u32.to_le_bytes();
    let frames: Vec<usize> =
        (0..octets.len() - 6).filter(|at| octets[*at..].starts_with(&magic)).collect();
    assert!(frames.len() > 10);
    for at in frames {
        // LZ4 frame format, "Frame Descriptor": independent blocks are bit 5, checksums of blocks
        // bit 4, a checksum of the content bit 2.
        assert_eq!(octets[at + 4] & 0b0011_0100, 0b0010_0000);
    }
}

#[test]
fn names_that_begin_with_an_underscore_are_skipped_and_a_delta_table_is_refused() {
    let file = file(&rows_in(FIELD), FIELD, &options(DatasetFormat::Parquet, Compression::None));
    let folder = tempfile::tempdir().unwrap();
    for name in ["part-0.parquet", "_common.parquet", "_SUCCESS"] {
        std::fs::copy(file.path(), folder.path().join(name)).unwrap();
    }
    std::fs::create_dir(folder.path().join("_temporary")).unwrap();
    std::fs::copy(file.path(), folder.path().join("_temporary/part-1.parquet")).unwrap();
    assert_eq!(open(folder.path(), None).unwrap(), rows_in(FIELD));
    let skipped = notices_of(&folder.path().join("_common.parquet"));
    assert_eq!(skipped, ["skipped, for its name begins with _"]);
    std::fs::create_dir(folder.path().join("_delta_log")).unwrap();
    let refused = open(folder.path(), None).unwrap_err().to_string();
    let expected = "folder: expected the files of a dataset, found a Delta table, whose files keep \
                    rows that it has removed";
    assert_eq!(refused, format!("{}: {expected}", folder.path().display()));
}
