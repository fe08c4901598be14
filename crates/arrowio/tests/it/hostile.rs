//! Malformed and hostile files: each is refused with a reason, without a crash or large memory.

use arrowio::{Compression, DatasetFormat, DatasetReader, Recovery};
use proptest::prelude::*;

use crate::support::{FIELD, file, options, row};

fn sample(format: DatasetFormat, compression: Compression) -> Vec<u8> {
    let rows: Vec<_> = (0..40).map(row).collect();
    std::fs::read(file(&rows, FIELD, &options(format, compression)).path()).unwrap()
}

/// Reads octets as a file to its end; returns the numbers of rows and errors.
fn read(octets: &[u8]) -> (usize, usize) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    match DatasetReader::open(file.path(), &[FIELD]) {
        Err(_) => (0, 1),
        Ok(reader) => reader.fold((0, 0), |(rows, errors), row| match row {
            Ok(_) => (rows + 1, errors),
            Err(_) => (rows, errors + 1),
        }),
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for format in [DatasetFormat::Arrow, DatasetFormat::Parquet, DatasetFormat::Stream] {
        let whole = sample(format, Compression::Zstd);
        assert_eq!(read(&whole), (40, 0));
        for length in (0..whole.len()).step_by(37) {
            let (_, errors) = read(&whole[..length]);
            assert_eq!(errors, 1, "{format:?} cut off at {length} of {}", whole.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_octets_do_no_harm(
        format in 0..3_usize,
        packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let format = [DatasetFormat::Arrow, DatasetFormat::Parquet, DatasetFormat::Stream][format];
        let mut octets = sample(format, if packed { Compression::Lz4 } else { Compression::None });
        for (at, value) in changes {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        let (rows, errors) = read(&octets);
        prop_assert!(rows + errors <= 1_000_000);
    }

    #[test]
    fn octets_at_random_are_refused(
        octets in prop::collection::vec(any::<u8>(), 0..400),
        magic in 0..3_usize,
    ) {
        let head: &[u8] = [&b"ARROW1\0\0"[..], b"PAR1", &[0xff; 4]][magic];
        let tail: &[u8] = [&b"ARROW1"[..], b"PAR1", b""][magic];
        prop_assert_eq!(read(&[head, &octets, tail].concat()), (0, 1));
    }
}

#[test]
fn a_wrong_cell_costs_its_row_alone() {
    let mut octets = sample(DatasetFormat::Arrow, Compression::None);
    let at = octets.windows(9).position(|w| w == b"192.0.2.1").unwrap();
    octets[at] = b'x';
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    let all: Vec<_> = DatasetReader::open(file.path(), &[FIELD]).unwrap().collect();
    assert_eq!(all.len(), 40);
    let error = all[0].as_ref().unwrap_err();
    assert_eq!(
        (error.recovery, all.iter().filter(|row| row.is_ok()).count()),
        (Recovery::NextRow, 39)
    );
    let text = "column client_addr, row 0 of its batch: expected an IP address, found 'x92.0.2.1'";
    assert_eq!(error.kind.to_string(), text);
}

/// Replaces `found` in an Arrow file with `put`, of the same length, and compares the end of the
/// reader's error with `expected`.
fn check(compression: Compression, found: &[u8], put: &[u8], expected: &str) {
    let mut octets = sample(DatasetFormat::Arrow, compression);
    let at = octets.windows(found.len()).position(|window| window == found).unwrap();
    octets[at..at + put.len()].copy_from_slice(put);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    let error = DatasetReader::open(file.path(), &[FIELD])
        .and_then(|mut reader| reader.next().unwrap().map(drop));
    let error = error.unwrap_err().kind.to_string();
    assert!(error.ends_with(expected), "{error}");
}

fn offsets(all: [i32; 5]) -> Vec<u8> {
    all.into_iter().flat_map(i32::to_le_bytes).collect()
}

fn pair(a: i64, b: i64) -> Vec<u8> {
    [a.to_le_bytes(), b.to_le_bytes()].concat()
}

#[test]
fn offsets_are_compared_with_the_values() {
    // The tokens of the first rows: 0, 1, 2, 3 of them.
    let sound = offsets([0, 0, 1, 3, 6]);
    let falling = "buffer: expected offsets from 0 on that never fall, \
                   found one that is below the one before";
    check(Compression::None, &sound, &offsets([0, 0, 3, 1, 6]), falling);
    check(Compression::None, &sound, &offsets([0, 0, -1, 3, 6]), falling);
    check(Compression::None, &sound, &offsets([-1, 0, 1, 3, 6]), falling);
    let last: Vec<u8> = [703_i32, 741, 780].into_iter().flat_map(i32::to_le_bytes).collect();
    let beyond: Vec<u8> = [703_i32, 741, 781].into_iter().flat_map(i32::to_le_bytes).collect();
    check(
        Compression::None,
        &last,
        &beyond,
        "column tokens, buffer: expected offsets up to 780, found 781",
    );
}

#[test]
fn lengths_and_counts_are_compared_with_the_buffers() {
    // The lists: 40 of them, no null. Their tokens: 780.
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        check(
            compression,
            &pair(40, 0),
            &pair(-40, 0),
            "node: expected a length of 0 or more, found -40",
        );
        let huge = "buffer: expected a record batch of at most 67108864 octets, \
                    found 1152921504606846976 values of 2 octets";
        check(compression, &pair(780, 0), &pair(1 << 60, 0), huge);
        // A decompressor without a limit would fill 1.2 GB.
        let large = "buffer: expected a record batch of at most 67108864 octets, \
                     found 600000000 values of 2 octets";
        check(compression, &pair(780, 0), &pair(600_000_000, 0), large);
    }
    let body = sample(DatasetFormat::Arrow, Compression::None);
    let at = body
        .windows(16)
        .position(|w| w[8..] == 1560_i64.to_le_bytes() && w[..8] != [0; 8])
        .unwrap();
    let place = i64::from_le_bytes(body[at..at + 8].try_into().unwrap());
    for (offset, length) in [(place, 1 << 40), (i64::MAX, 1560), (-8, 1560), (place, -1560)] {
        let found = format!("found {length} at {offset}");
        check(Compression::None, &pair(place, 1560), &pair(offset, length), &found);
    }
}

#[test]
fn another_type_is_refused_with_its_name() {
    let mut octets = sample(DatasetFormat::Arrow, Compression::None);
    // The names of two columns change places, in the footer too.
    let (port, addr) = (b"client_port", b"client_addr");
    let places = |octets: &[u8], name: &[u8]| -> Vec<usize> {
        (0..octets.len() - name.len()).filter(|at| octets[*at..].starts_with(name)).collect()
    };
    let (ports, addrs) = (places(&octets, port), places(&octets, addr));
    assert_eq!((ports.len(), addrs.len()), (2, 2));
    ports.iter().for_each(|at| octets[*at..at + port.len()].copy_from_slice(addr));
    addrs.iter().for_each(|at| octets[*at..at + addr.len()].copy_from_slice(port));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    let error = DatasetReader::open(file.path(), &[FIELD])
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("column client_port, type: expected uint16, found Utf8"), "{error}");
}

#[test]
fn two_columns_of_one_name_are_refused() {
    for format in [DatasetFormat::Arrow, DatasetFormat::Stream, DatasetFormat::Parquet] {
        let mut octets = sample(format, Compression::None);
        let (port, addr) = (b"client_port", b"client_addr");
        for at in 0..octets.len() - port.len() {
            if octets[at..].starts_with(port) {
                octets[at..at + port.len()].copy_from_slice(addr);
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), octets).unwrap();
        let error = DatasetReader::open(file.path(), &[FIELD]).err().unwrap().to_string();
        assert!(
            error.ends_with("column client_addr: expected one of this name, found 2"),
            "{error}"
        );
    }
}
