//! A dataset as an output.

use std::path::Path;

use arrowio::{Compression, DatasetFormat, Written};
use dataset::{Destination, RowCodec, Sink, SinkError, SinkOptions};
use testkit::Scratch;
use testkit::datasets::{FIELD, meta, read, row};

const OPTIONS: SinkOptions =
    SinkOptions { force: false, stream_batch_tokens: None, compression: Compression::Lz4 };

fn write(destination: Destination<'_>, options: &SinkOptions) -> Result<Written, SinkError> {
    let mut sink = Sink::create(destination, &meta(FIELD), options)?;
    (1..4).try_for_each(|n| sink.write(&row(vec![n; 5])))?;
    sink.finish()
}

#[test]
fn a_file_has_the_format_of_its_name_or_the_one_asked_for() {
    let scratch = Scratch::new();
    let check = |name: &str, asked, magic: &[u8]| {
        let path = scratch.path(name);
        assert_eq!(write(Destination::at(&path, asked), &OPTIONS).unwrap().flows, 3);
        assert!(std::fs::read(&path).unwrap().starts_with(magic), "{name}");
        assert_eq!(read(&path).len(), 3);
    };
    check("a.arrow", None, b"ARROW1");
    check("a.arrows", None, &[0xff; 4]);
    check("a.parquet", None, b"PAR1");
    check("b.arrow", Some(DatasetFormat::Parquet), b"PAR1");
    check("b.parquet", Some(DatasetFormat::Arrow), b"ARROW1");
    check("b.arrows", Some(DatasetFormat::Arrow), &[0xff; 4]);
}

#[test]
fn a_folder_is_replaced_only_by_request() {
    let scratch = Scratch::new();
    let path = scratch.path("set");
    let destination = || Destination::at(&path, Some(DatasetFormat::Parquet));
    assert!(destination().is_folder());
    write(destination(), &OPTIONS).unwrap();
    assert!(path.join("flows-00000.parquet").is_file());
    let refused = write(destination(), &OPTIONS).unwrap_err().to_string();
    assert!(refused.contains("expected no folder or an empty one"), "{refused}");
    let replace = SinkOptions { force: true, ..OPTIONS };
    write(Destination::at(&path, None), &replace).unwrap();
    assert!(path.join("flows-00000.arrow").is_file());
    assert!(!path.join("flows-00000.parquet").exists());
}

#[test]
fn a_file_is_replaced_by_request_if_it_is_a_dataset() {
    let scratch = Scratch::new();
    let path = scratch.path("a.arrow");
    let destination = || Destination::at(&path, None);
    let check = |force, end: &str| {
        let before = std::fs::read(&path).unwrap();
        let refused = destination().ensure_free(force).map_err(|e| e.to_string()).err();
        let refused = refused.unwrap_or_default();
        assert!(refused.ends_with(end), "{refused}");
        assert_eq!(write(destination(), &SinkOptions { force, ..OPTIONS }).is_ok(), end.is_empty());
        assert_eq!(std::fs::read(&path).unwrap() == before, !end.is_empty());
    };
    write(Destination::at(&path, Some(DatasetFormat::Parquet)), &OPTIONS).unwrap();
    check(false, "a.arrow: expected no file there, found one (--force replaces a dataset)");
    check(true, "");
    for other in ["mine", "PAR1", "ARROW1\0\0"] {
        std::fs::write(&path, other).unwrap();
        check(true, "a.arrow: expected a dataset to replace, found another file");
    }
}

#[test]
fn a_folder_of_other_files_under_the_names_of_shards_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("set");
    write(Destination::at(&path, None), &OPTIONS).unwrap();
    std::fs::write(path.join("flows-00001.arrow"), "mine").unwrap();
    let replace = SinkOptions { force: true, ..OPTIONS };
    let refused = write(Destination::at(&path, None), &replace).unwrap_err().to_string();
    assert!(refused.ends_with("to replace, found flows-00001.arrow in it"), "{refused}");
    assert_eq!(std::fs::read(path.join("flows-00001.arrow")).unwrap(), b"mine");
}

#[test]
fn a_dropped_sink_leaves_nothing() {
    let scratch = Scratch::new();
    for name in ["set", "a.arrow"] {
        let path = scratch.path(name);
        let mut sink = Sink::create(Destination::at(&path, None), &meta(FIELD), &OPTIONS).unwrap();
        sink.write(&row(vec![1])).unwrap();
    }
    assert_eq!(std::fs::read_dir(scratch.folder()).unwrap().count(), 0);
}

#[test]
fn a_device_gets_a_stream() {
    let device = Destination::at(Path::new("/dev/null"), None);
    assert!(matches!(device, Destination::File { format: DatasetFormat::Stream, .. }));
    write(device, &OPTIONS).unwrap();
}

#[test]
fn a_stream_is_arrow() {
    let mut octets = Vec::new();
    let asked = Some(DatasetFormat::Parquet);
    let refused = Destination::stream("memory", &mut octets, asked).err().unwrap();
    assert_eq!(refused.to_string(), "-: expected a format for a stream (arrow), found parquet");
    write(Destination::stream("memory", &mut octets, None).unwrap(), &OPTIONS).unwrap();
    assert_eq!(octets[..4], [0xff; 4], "a continuation marker");
    let reader = std::io::Cursor::new(octets);
    let reader = arrowio::DatasetReader::stream("memory", reader, &[RowCodec::Field.id()]).unwrap();
    assert_eq!(reader.count(), 3);
}
