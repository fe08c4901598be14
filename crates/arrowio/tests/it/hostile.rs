//! Files that are broken, or mean harm: refused with a reason, and nothing worse.

use arrowio::{Compression, DatasetReader, Format, Lost};
use proptest::prelude::*;

use crate::support::{FIELD, file, options, row};

fn sample(format: Format, compression: Compression) -> Vec<u8> {
    let rows: Vec<_> = (0..40).map(row).collect();
    std::fs::read(file(&rows, FIELD, &options(format, compression)).path()).unwrap()
}

/// Reads octets as a file to its end; says how many rows and errors there were.
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
    for format in [Format::Arrow, Format::Parquet, Format::Stream] {
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
    fn changed_octets_do_no_harm(format in 0..3_usize, packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let format = [Format::Arrow, Format::Parquet, Format::Stream][format];
        let mut octets = sample(format, if packed { Compression::Lz4 } else { Compression::None });
        for (at, value) in changes {
            let at = at.index(octets.len());
            octets[at] = value;
        }
        let (rows, errors) = read(&octets);
        prop_assert!(rows + errors <= 1_000_000);
    }

    #[test]
    fn octets_at_random_are_refused(octets in prop::collection::vec(any::<u8>(), 0..400), magic in 0..3_usize) {
        let head: &[u8] = [&b"ARROW1\0\0"[..], b"PAR1", &[0xff; 4]][magic];
        let tail: &[u8] = [&b"ARROW1"[..], b"PAR1", b""][magic];
        prop_assert_eq!(read(&[head, &octets, tail].concat()), (0, 1));
    }
}

#[test]
fn a_wrong_cell_costs_its_row_alone() {
    let mut octets = sample(Format::Arrow, Compression::None);
    let at = octets.windows(9).position(|w| w == b"192.0.2.1").unwrap();
    octets[at] = b'x';
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    let all: Vec<_> = DatasetReader::open(file.path(), &[FIELD]).unwrap().collect();
    assert_eq!(all.len(), 40);
    let error = all[0].as_ref().unwrap_err();
    assert_eq!((error.lost, all.iter().filter(|row| row.is_ok()).count()), (Lost::Row, 39));
    let text = "column client_addr, row 0 of its batch: expected an IP address, found 'x92.0.2.1'";
    assert_eq!(error.kind.to_string(), text);
}
