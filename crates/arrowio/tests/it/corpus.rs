//! Distinct flows of a dataset at any place, whatever its format.

use std::path::Path;

use arrowio::{
    Compression, Corpus, CorpusOptions, DatasetFormat, DatasetWriter, Error, FlowRow, Repeats,
    Shares, Tokens,
};
use proptest::prelude::*;

use crate::support::{FIELD, WORD16, file, meta, options, row};
use crate::{COMPRESSIONS, FORMATS};

fn open(path: &Path) -> Result<Corpus, Error> {
    let options = CorpusOptions { vocab_size: 1024, scratch: std::env::temp_dir(), repeats: None };
    Corpus::open(path, &[FIELD, WORD16], &options, |_| {})
}

fn flow(tokens: &[u16], source: &str) -> FlowRow {
    let mut flow = FlowRow { tokens: Tokens::U16(tokens.to_vec()), ..row(1) };
    flow.summary.as_mut().unwrap().source = source.to_owned();
    flow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Few different flows, so that many are the same; the model is a list that is searched.
    #[test]
    fn the_first_of_the_same_flows_stays(contents in prop::collection::vec(prop::collection::vec(0..2_u16, 0..4), 0..60),
        format in 0..3_usize, compression in 0..3_usize) {
        let rows: Vec<_> = contents.iter().map(|tokens| flow(tokens, "a")).collect();
        let file = file(&rows, FIELD, &options(FORMATS[format], COMPRESSIONS[compression]));
        let corpus = open(file.path()).unwrap();
        let mut expected: Vec<(&[u16], u64)> = Vec::new();
        for tokens in &contents {
            match expected.iter_mut().find(|(known, _)| known == tokens) {
                Some((_, copies)) => *copies += 1,
                None => expected.push((tokens, 1)),
            }
        }
        let found: Vec<_> = (0..corpus.len()).map(|i| (corpus.tokens(i), corpus.copies(i))).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(corpus.duplicates() as usize, contents.len() - corpus.len());
    }
}

#[test]
fn of_flows_much_the_same_so_many_stay() {
    let contents = [[1, 5], [2, 5], [1, 6], [1, 5], [1, 7], [2, 6], [1, 8]]; // the fourth is the first again
    let rows: Vec<_> = contents.iter().map(|tokens| flow(tokens, "a")).collect();
    let file = file(&rows, FIELD, &options(DatasetFormat::Arrow, Compression::None));
    let open = |repeats| {
        let options = CorpusOptions { vocab_size: 1024, scratch: std::env::temp_dir(), repeats };
        Corpus::open(file.path(), &[FIELD], &options, |_| {}).unwrap()
    };
    let first = |tokens: &[u16]| tokens[..1].to_vec();
    let corpus = open(Some(Repeats { most: 2, outline: first }));
    let found: Vec<_> = (0..corpus.len()).map(|i| corpus.tokens(i)).collect();
    assert_eq!(found, [[1, 5], [2, 5], [1, 6], [2, 6]]);
    assert_eq!((corpus.duplicates(), corpus.repeats()), (1, 2));
    assert_eq!((open(None).len(), open(None).repeats()), (6, 0));
    assert_ne!(open(None).fingerprint(), corpus.fingerprint());
}

#[test]
fn what_is_known_of_a_flow_comes_with_it() {
    let rows = [
        flow(&[1, 2], "b"),
        flow(&[3], "a"),
        flow(&[4], "b"),
        FlowRow { summary: None, ..flow(&[5], "") },
    ];
    let file = file(&rows, FIELD, &options(DatasetFormat::Parquet, Compression::Zstd));
    let corpus = open(file.path()).unwrap();
    assert_eq!(*corpus.meta(), meta(FIELD));
    assert_eq!(corpus.sources(), ["b", "a", ""]);
    assert_eq!((0..4).map(|i| corpus.source(i)).collect::<Vec<_>>(), [0, 1, 0, 2]);
    assert_eq!(
        (0..4).map(|i| corpus.packets(i)).collect::<Vec<_>>(),
        [Some(13), Some(13), Some(13), None]
    );
}

#[test]
fn a_fingerprint_is_of_the_distinct_flows_in_order() {
    let print = |all: &[&[u16]]| {
        let rows: Vec<_> = all.iter().map(|tokens| flow(tokens, "a")).collect();
        open(file(&rows, FIELD, &options(DatasetFormat::Arrow, Compression::None)).path())
            .unwrap()
            .fingerprint()
    };
    let one = print(&[&[1, 2], &[3]]);
    assert_eq!(
        one, 0x40f6_cd60_a849_171d,
        "{one:#x}: another one refuses every checkpoint that was written"
    );
    assert_eq!(one, print(&[&[1, 2], &[3], &[1, 2]]));
    assert_ne!(one, print(&[&[3], &[1, 2]]));
    assert_ne!(one, print(&[&[1], &[2, 3]]));
    assert_ne!(one, print(&[&[1, 2, 3]]));
}

#[test]
fn the_dataset_may_change_while_its_corpus_is_used() {
    let rows: Vec<_> = (1..40).map(|n| flow(&vec![n; 5000], "a")).collect();
    let file = file(&rows, FIELD, &options(DatasetFormat::Arrow, Compression::None));
    let corpus = open(file.path()).unwrap();
    file.as_file().set_len(0).unwrap();
    assert!((0..corpus.len()).all(|i| corpus.tokens(i) == vec![i as u16 + 1; 5000]));
}

#[test]
fn captures_are_held_out_whole() {
    let rows: Vec<_> =
        (0..40).map(|n| flow(&[n], ["a", "b", "c", "d"][usize::from(n % 4)])).collect();
    let corpus =
        open(file(&rows, FIELD, &options(DatasetFormat::Stream, Compression::Lz4)).path()).unwrap();
    let split = corpus.split(Shares { validation: 0.25, test: 0.25 }, 7);
    for (part, captures) in [(&split.train, 2), (&split.validation, 1), (&split.test, 1)] {
        let found: std::collections::BTreeSet<_> =
            part.iter().map(|&flow| corpus.source(flow as usize)).collect();
        assert_eq!((part.len(), found.len()), (captures * 10, captures));
    }
}

#[test]
fn what_a_corpus_cannot_hold_is_refused_from_path() {
    let check = |row: FlowRow, code, expected: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = DatasetWriter::to(
            "test",
            &mut file,
            &meta(code),
            &options(DatasetFormat::Arrow, Compression::None),
        )
        .unwrap();
        writer.write(&row).unwrap();
        writer.finish().unwrap();
        assert_eq!(open(file.path()).unwrap_err().kind.to_string(), expected);
    };
    check(flow(&[1, 1024], ""), FIELD, "flow 1: expected token ids below 1024, found 1024");
    let words = FlowRow { tokens: Tokens::I32(vec![7]), ..row(1) };
    check(words, WORD16, "flow 1: expected tokens of 16 bits, found wider ones");
    let file = file(&[row(1)], FIELD, &options(DatasetFormat::Arrow, Compression::None));
    let nowhere = CorpusOptions { vocab_size: 1024, scratch: "/nowhere".into(), repeats: None };
    let error = Corpus::open(file.path(), &[FIELD], &nowhere, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("scratch file in /nowhere: No such file"), "{error}");
}
