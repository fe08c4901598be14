//! Round trips of datasets in every format, and errors of writing and reading.

mod foreign;
mod hostile;
mod hosts;
mod reference;
mod seeds;
mod support;

use std::io::{self, BufWriter, Cursor, Write};

use arrowio::{
    CodecId, Compression, DatasetFormat, DatasetReader, DatasetWriter, ErrorKind, FlowRow,
    FolderWriter, Tokens, VectorColumn, WriteOptions,
};
use proptest::prelude::*;
use support::{FIELD, WORD16, file, meta, options, read_all, row, rows};

const FORMATS: [DatasetFormat; 3] =
    [DatasetFormat::Arrow, DatasetFormat::Parquet, DatasetFormat::Stream];
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_back_as_they_were(
        rows in rows(FIELD),
        format in 0..3_usize,
        compression in 0..3_usize,
        batch_tokens in 1..200_usize,
    ) {
        let options = options(FORMATS[format], COMPRESSIONS[compression]);
        let options = WriteOptions { batch_tokens, ..options };
        let path = file(&rows, FIELD, &options);
        prop_assert_eq!(read_all(path.path(), FIELD).unwrap(), rows);
    }

    #[test]
    fn rows_of_words_come_back_as_they_were(rows in rows(WORD16), format in 0..3_usize) {
        let path = file(&rows, WORD16, &options(FORMATS[format], Compression::Zstd));
        prop_assert_eq!(read_all(path.path(), WORD16).unwrap(), rows);
    }

    #[test]
    fn a_folder_of_shards_reads_in_order(rows in rows(FIELD), format in 0..3_usize) {
        let dir = tempfile::tempdir().unwrap();
        let options = options(FORMATS[format], Compression::Lz4);
        let options = WriteOptions { shard_octets: 1, batch_tokens: 20, ..options };
        let mut writer = FolderWriter::new(dir.path(), &meta(FIELD), &options);
        rows.iter().for_each(|row| writer.write(row).unwrap());
        let written = writer.finish().unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap();
        let sizes: Vec<_> = files.map(|e| e.unwrap().metadata().unwrap().len()).collect();
        prop_assert_eq!(written.files, sizes.len() as u64);
        prop_assert_eq!(written.octets, sizes.iter().sum::<u64>());
        prop_assert_eq!(written.flows, rows.len() as u64);
        prop_assert_eq!(written.tokens, rows.iter().map(|r| r.tokens.len() as u64).sum::<u64>());
        prop_assert_eq!(read_all(dir.path(), FIELD).unwrap(), rows);
    }
}

fn written(rows: &[FlowRow], options: &WriteOptions) -> Vec<u8> {
    std::fs::read(file(rows, FIELD, options).path()).unwrap()
}

#[test]
fn the_same_rows_give_the_same_octets() {
    for format in FORMATS {
        let rows: Vec<_> = (0..50).map(row).collect();
        assert_eq!(
            written(&rows, &options(format, Compression::Zstd)),
            written(&rows, &options(format, Compression::Zstd))
        );
    }
}

#[test]
fn an_empty_dataset_is_a_file_that_says_what_it_is() {
    for format in FORMATS {
        let path = file(&[], FIELD, &options(format, Compression::Zstd));
        let reader = DatasetReader::open(path.path(), &[FIELD]).unwrap();
        assert_eq!(*reader.meta(), meta(FIELD));
        assert_eq!(reader.count(), 0);
    }
}

#[test]
fn the_metadata_comes_back() {
    for format in FORMATS {
        let path = file(&[row(1)], FIELD, &options(format, Compression::Zstd));
        assert_eq!(*DatasetReader::open(path.path(), &[FIELD]).unwrap().meta(), meta(FIELD));
    }
}

#[test]
fn an_arrow_file_reads_from_a_pipe_too() {
    let octets = written(&[row(1), row(2)], &options(DatasetFormat::Arrow, Compression::Lz4));
    let reader = DatasetReader::stream("standard input", Cursor::new(octets), &[FIELD]).unwrap();
    assert_eq!(reader.collect::<Result<Vec<_>, _>>().unwrap(), [row(1), row(2)]);
}

#[test]
fn parquet_from_a_pipe_is_refused_with_its_name() {
    let octets = written(&[row(1)], &options(DatasetFormat::Parquet, Compression::Zstd));
    let error =
        DatasetReader::stream("standard input", Cursor::new(octets), &[FIELD]).err().unwrap();
    let text = "standard input: octet 0: expected an Arrow IPC stream, \
                found Parquet, which cannot be read from a pipe";
    assert_eq!(error.to_string(), text);
}

#[test]
fn another_version_is_refused_with_its_name() {
    for format in FORMATS {
        let path = file(&[row(1)], FIELD, &options(format, Compression::Zstd));
        let next = CodecId { name: "field", version: 3 };
        let error = DatasetReader::open(path.path(), &[next, WORD16]).err().unwrap();
        let text =
            "token code: expected field version 3 or word16 version 1, found field version 2";
        assert_eq!(error.kind.to_string(), text);
        assert!(matches!(error.kind, ErrorKind::TokenCode { .. }));
    }
}

#[test]
fn tokens_of_the_other_type_are_refused() {
    let mut writer =
        DatasetWriter::new("out", Vec::new(), &meta(FIELD), &WriteOptions::default()).unwrap();
    let wrong = FlowRow { tokens: Tokens::I32(vec![1]), ..row(1) };
    let error = writer.write(&wrong).unwrap_err();
    assert_eq!(error.to_string(), "out: column tokens: expected list<uint16>, found list<int32>");
}

#[test]
fn a_folder_without_a_dataset_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let error = DatasetReader::open(dir.path(), &[FIELD]).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("folder: expected files *.arrow, *.arrows or *.parquet, found none")
    );
}

/// Disk with this many octets of room.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if octets.len() > self.0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0 -= octets.len();
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_as_what_it_is() {
    for format in FORMATS {
        let disk = BufWriter::new(Full(2_000));
        let options = options(format, Compression::None);
        let mut writer = DatasetWriter::new("out", disk, &meta(FIELD), &options).unwrap();
        let result = (0..500)
            .try_for_each(|i| writer.write(&row(i)))
            .and_then(|()| writer.finish().map(drop));
        let error = result.unwrap_err();
        assert!(
            matches!(&error.kind, ErrorKind::Io(e) if e.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
    }
}

#[test]
fn an_empty_folder_dataset_is_one_shard() {
    for format in FORMATS {
        let dir = tempfile::tempdir().unwrap();
        let options = options(format, Compression::Zstd);
        let written = FolderWriter::new(dir.path(), &meta(FIELD), &options).finish().unwrap();
        assert_eq!((written.files, written.flows), (1, 0));
        assert!(dir.path().join(format!("flows-00000.{}", format.extension())).exists());
        assert_eq!(read_all(dir.path(), FIELD).unwrap(), []);
    }
}

#[test]
fn the_output_comes_back_from_the_writer() {
    for format in FORMATS {
        let options = options(format, Compression::Lz4);
        let mut writer = DatasetWriter::new("out", Vec::new(), &meta(FIELD), &options).unwrap();
        writer.write(&row(1)).unwrap();
        let (counts, octets) = writer.finish().unwrap();
        assert_eq!((counts.octets, counts.files), (octets.len() as u64, 1));
        assert_eq!(octets, written(&[row(1)], &options));
    }
}

#[test]
fn vectors_stand_behind_the_columns_of_a_dataset() {
    let column = VectorColumn { name: "embedding".into(), len: 3 };
    for (format, compression) in FORMATS.into_iter().zip(COMPRESSIONS) {
        let (meta, options) = (meta(FIELD), options(format, compression));
        let columns = std::slice::from_ref(&column);
        let mut writer =
            DatasetWriter::with_vectors("memory", Vec::new(), &meta, &options, columns).unwrap();
        let rows: Vec<FlowRow> = (1..9).map(row).collect();
        for row in &rows {
            writer.write_with_vectors(row, &[&[0.5, -1.0, 3.0]]).unwrap();
        }
        let error = writer.write_with_vectors(&rows[0], &[&[0.5]]).unwrap_err().to_string();
        assert_eq!(error, "memory: row: expected vectors of [3] numbers, found [1]");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&writer.finish().unwrap().1).unwrap();
        assert_eq!(read_all(file.path(), FIELD).unwrap(), rows, "{format:?}");
    }
}
