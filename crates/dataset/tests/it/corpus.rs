//! Distinct flows of a dataset with random access, in every format.

use std::path::Path;

use arrowio::ReadOptions;
use arrowio::{Compression, DatasetFormat, FlowRow, FlowSummary, Tokens, WriteOptions};
use dataset::{Corpus, CorpusError, CorpusOptions, NearDuplicates, Shares, TokenCheck};
use proptest::prelude::*;
use testkit::Scratch;
use testkit::datasets::{FIELD, WORD16, meta, write_file};

const FORMATS: [DatasetFormat; 3] =
    [DatasetFormat::Arrow, DatasetFormat::Parquet, DatasetFormat::Stream];
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn open(path: &Path) -> Result<Corpus, CorpusError> {
    Corpus::open(path, &ReadOptions::accepting(&[FIELD, WORD16]), &options(None), |_| {})
}

fn options(near_duplicates: Option<NearDuplicates>) -> CorpusOptions {
    let check = TokenCheck::Ids;
    CorpusOptions { vocab_size: 1024, scratch: std::env::temp_dir(), near_duplicates, check }
}

/// Writes rows into a file of a scratch folder and opens it.
fn corpus(rows: &[FlowRow], format: DatasetFormat, compression: Compression) -> Corpus {
    let scratch = Scratch::new();
    open(&file(&scratch, rows, format, compression)).unwrap()
}

fn file(
    scratch: &Scratch,
    rows: &[FlowRow],
    format: DatasetFormat,
    compression: Compression,
) -> std::path::PathBuf {
    let path = scratch.path(&format!("flows.{}", format.extension()));
    let options = WriteOptions { format, compression, ..WriteOptions::default() };
    write_file(&path, rows, &meta(FIELD), &options);
    path
}

fn flow(tokens: &[u16], source: &str) -> FlowRow {
    let source = source.to_owned();
    let summary = FlowSummary { packets: [7, 6], source, ..FlowSummary::default() };
    FlowRow { summary: Some(summary), ..testkit::datasets::row(tokens.to_vec()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Flows of few and short tokens, so that many are equal. The reference is a list that is
    /// searched.
    #[test]
    fn the_first_of_the_same_flows_stays(
        contents in prop::collection::vec(prop::collection::vec(0..2_u16, 0..4), 0..60),
        format in 0..3_usize,
        compression in 0..3_usize,
    ) {
        let rows: Vec<_> = contents.iter().map(|tokens| flow(tokens, "a")).collect();
        let corpus = corpus(&rows, FORMATS[format], COMPRESSIONS[compression]);
        let mut expected: Vec<(&[u16], u64)> = Vec::new();
        for tokens in &contents {
            match expected.iter_mut().find(|(known, _)| known == tokens) {
                Some((_, copies)) => *copies += 1,
                None => expected.push((tokens, 1)),
            }
        }
        let flow = |i| (corpus.tokens(i), corpus.copies(i));
        let found: Vec<_> = (0..corpus.len()).map(flow).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(corpus.duplicates() as usize, contents.len() - corpus.len());
    }
}

#[test]
fn of_flows_much_the_same_so_many_stay() {
    // The fourth flow equals the first.
    let contents = [[1, 5], [2, 5], [1, 6], [1, 5], [1, 7], [2, 6], [1, 8]];
    let rows: Vec<_> = contents.iter().map(|tokens| flow(tokens, "a")).collect();
    let scratch = Scratch::new();
    let path = file(&scratch, &rows, DatasetFormat::Arrow, Compression::None);
    let read = ReadOptions::accepting(&[FIELD]);
    let open = |limit| Corpus::open(&path, &read, &options(limit), |_| {}).unwrap();
    let first = |tokens: &[u16]| tokens[..1].to_vec();
    let corpus = open(Some(NearDuplicates { max: 2, signature: first }));
    let found: Vec<_> = (0..corpus.len()).map(|i| corpus.tokens(i)).collect();
    assert_eq!(found, [[1, 5], [2, 5], [1, 6], [2, 6]]);
    assert_eq!((corpus.duplicates(), corpus.near_duplicates()), (1, 2));
    assert_eq!((open(None).len(), open(None).near_duplicates()), (6, 0));
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
    let corpus = corpus(&rows, DatasetFormat::Parquet, Compression::Zstd);
    assert_eq!(*corpus.meta(), meta(FIELD));
    assert_eq!(corpus.sources(), ["b", "a", ""]);
    assert!(corpus.has_captures());
    assert_eq!((0..4).map(|i| corpus.source(i)).collect::<Vec<_>>(), [0, 1, 0, 2]);
    assert_eq!(
        (0..4).map(|i| corpus.packets(i)).collect::<Vec<_>>(),
        [Some(13), Some(13), Some(13), None]
    );
    let generated = [FlowRow { summary: None, ..flow(&[5], "") }];
    assert!(!self::corpus(&generated, DatasetFormat::Arrow, Compression::None).has_captures());
}

#[test]
fn a_fingerprint_is_of_the_distinct_flows_in_order() {
    let print = |all: &[&[u16]]| {
        let rows: Vec<_> = all.iter().map(|tokens| flow(tokens, "a")).collect();
        corpus(&rows, DatasetFormat::Arrow, Compression::None).fingerprint()
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
    let scratch = Scratch::new();
    let path = file(&scratch, &rows, DatasetFormat::Arrow, Compression::None);
    let corpus = open(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert!((0..corpus.len()).all(|i| corpus.tokens(i) == vec![i as u16 + 1; 5000]));
}

#[test]
fn captures_are_held_out_whole() {
    let rows: Vec<_> =
        (0..40).map(|n| flow(&[n], ["a", "b", "c", "d"][usize::from(n % 4)])).collect();
    let corpus = corpus(&rows, DatasetFormat::Stream, Compression::Lz4);
    let split = corpus.split(Shares { validation: 0.25, test: 0.25 }, 7);
    for (part, captures) in [(&split.train, 2), (&split.validation, 1), (&split.test, 1)] {
        let found: std::collections::BTreeSet<_> =
            part.iter().map(|&flow| corpus.source(flow as usize)).collect();
        assert_eq!((part.len(), found.len()), (captures * 10, captures));
    }
}

#[test]
fn what_a_corpus_cannot_hold_is_refused_from_path() {
    let scratch = Scratch::new();
    let check = |row: FlowRow, code, expected: &str| {
        let path = scratch.path("flows.arrow");
        write_file(&path, [&row], &meta(code), &WriteOptions::default());
        let expected = format!("{}: flow 1: {expected}", path.display());
        assert_eq!(open(&path).unwrap_err().to_string(), expected);
    };
    check(flow(&[1, 1024], ""), FIELD, "expected token ids below 1024, found 1024");
    let words = FlowRow { tokens: Tokens::I32(vec![7]), ..flow(&[], "") };
    check(words, WORD16, "expected tokens of 16 bits, found wider ones");
    let path = file(&scratch, &[flow(&[1], "")], DatasetFormat::Arrow, Compression::None);
    let nowhere = CorpusOptions { scratch: "/nowhere".into(), ..options(None) };
    let read = ReadOptions::accepting(&[FIELD]);
    let error = Corpus::open(&path, &read, &nowhere, |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("scratch file in /nowhere: No such file"), "{error}");
}

#[test]
fn flows_that_do_not_decode_are_refused_where_that_is_asked() {
    let scratch = Scratch::new();
    let path = scratch.path("flows.arrow");
    let whole = tokenizer::field::doc::worked_flow();
    let mut tokens = Vec::new();
    tokenizer::field::encode(&whole, &mut tokens).unwrap();
    let padded = [&tokens[..], &[0; 3]].concat();
    let rows = [tokens, padded].map(testkit::datasets::row);
    write_file(&path, &rows, &meta(FIELD), &WriteOptions::default());
    let read = ReadOptions::accepting(&[FIELD]);
    let open =
        |check| Corpus::open(&path, &read, &CorpusOptions { check, ..options(None) }, |_| {});
    assert_eq!(open(TokenCheck::Ids).unwrap().len(), 2);
    let error = open(TokenCheck::Flows).unwrap_err().to_string();
    assert!(error.contains("flow 2: expected tokens that decode, found token "), "{error}");
}
