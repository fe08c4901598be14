//! Datasets at the command line, for checks against other readers and writers:
//!
//! - `dataset write FOLDER`: writes a synthetic dataset in every format, each to a folder below
//!   FOLDER
//! - `dataset same DATASET...`: fails unless all have the flows of the first one; prints its counts
//! - `dataset samples FOLDER`: writes small files of every format and compression, the first seeds
//!   of the fuzz targets
//! - `dataset repeat DATASET FOLDER TIMES arrow|parquet`: writes the flows of a dataset TIMES times,
//!   each time a second later
//! - `dataset read DATASET`: reads all rows
//! - `dataset time FILE`: measures the processor time of writing 200,000 flows of 120 tokens to a
//!   file and of reading them

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrowio::{
    CodecId, Compression, DatasetFormat, DatasetMeta, DatasetReader, DatasetWriter, FlowRow,
    FlowSummary, FolderWriter, Tokens, WriteOptions,
};
use tokenizer::{field, word16};

const CODES: [CodecId; 2] = [
    CodecId { name: field::NAME, version: field::VERSION },
    CodecId { name: word16::NAME, version: word16::VERSION },
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        Some(("write", [folder])) => write(Path::new(folder)),
        Some(("same", [first, rest @ ..])) => same(first, rest),
        Some(("samples", [folder])) => samples(Path::new(folder)),
        Some(("repeat", [dataset, folder, times, format])) => {
            let format =
                if format == "parquet" { DatasetFormat::Parquet } else { DatasetFormat::Arrow };
            repeat(Path::new(dataset), Path::new(folder), times.parse()?, format)
        }
        Some(("read", [dataset])) => read(Path::new(dataset)),
        Some(("time", [file])) => time(Path::new(file)),
        _ => Err("usage: dataset write|same|samples|repeat|read|time ... (see its source)".into()),
    }
}

fn write(folder: &Path) -> Result<(), Failure> {
    let made = [
        ("arrow-lz4", DatasetFormat::Arrow, Compression::Lz4),
        ("arrow-zstd", DatasetFormat::Arrow, Compression::Zstd),
        ("arrow-plain", DatasetFormat::Arrow, Compression::None),
        ("parquet-zstd", DatasetFormat::Parquet, Compression::Zstd),
        ("parquet-plain", DatasetFormat::Parquet, Compression::None),
    ];
    for (name, format, compression) in made {
        let folder: PathBuf = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let options =
            WriteOptions { format, compression, shard_octets: 200_000, batch_tokens: 40_000 };
        let mut writer = FolderWriter::new(&folder, &meta(), &options);
        (0..5_000).try_for_each(|i| writer.write(&row(i)))?;
        writer.finish()?;
    }
    Ok(())
}

fn meta() -> DatasetMeta {
    DatasetMeta {
        token_code: CODES[0].name.into(),
        token_version: CODES[0].version,
        vocab_size: 1024,
        tool: "arrowio example".into(),
        options: Default::default(),
    }
}

fn samples(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    for format in [DatasetFormat::Arrow, DatasetFormat::Stream, DatasetFormat::Parquet] {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let name = format!("{compression:?}.{}", format.extension()).to_lowercase();
            let options =
                WriteOptions { format, compression, batch_tokens: 40, ..WriteOptions::default() };
            let file = BufWriter::new(File::create(folder.join(&name))?);
            let mut writer = DatasetWriter::new(&name, file, &meta(), &options)?;
            (1..4).try_for_each(|i| writer.write(&row(i * 7)))?;
            writer.finish()?;
        }
    }
    Ok(())
}

fn repeat(dataset: &Path, folder: &Path, times: i64, format: DatasetFormat) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let reader = DatasetReader::open(dataset, &CODES)?;
    let meta = reader.meta().clone();
    let mut rows: Vec<FlowRow> = reader.collect::<Result<_, _>>()?;
    let begun = processor_time()?;
    let options =
        WriteOptions { format, compression: Compression::None, ..WriteOptions::default() };
    let mut writer = FolderWriter::new(folder, &meta, &options);
    for _ in 0..times {
        for row in &mut rows {
            writer.write(row)?;
            row.identity.start_ns = row.identity.start_ns.map(|start| start + 1_000_000_000);
        }
    }
    let written = writer.finish()?;
    let (flows, tokens, octets, writing_s) =
        (written.flows, written.tokens, written.octets, processor_time()? - begun);
    writeln!(
        std::io::stdout().lock(),
        "{{\"flows\": {flows}, \"tokens\": {tokens}, \"octets\": {octets}, \
         \"writing_s\": {writing_s:.3}}}"
    )?;
    Ok(())
}

fn read(dataset: &Path) -> Result<(), Failure> {
    let begun = processor_time()?;
    let tokens = DatasetReader::open(dataset, &CODES)?
        .try_fold(0, |sum, row| Ok::<_, Failure>(sum + row?.tokens.len()))?;
    writeln!(
        std::io::stdout().lock(),
        "{{\"tokens\": {tokens}, \"reading_s\": {:.3}}}",
        processor_time()? - begun
    )?;
    Ok(())
}

fn time(file: &Path) -> Result<(), Failure> {
    let rows: Vec<FlowRow> = (1..=1_000)
        .map(|i| FlowRow {
            tokens: Tokens::U16((0..120).map(|k| (i * k % 1024) as u16).collect()),
            ..row(i)
        })
        .collect();
    let octets = 200_000.0 * 120.0 * 2.0;
    for (format, compression) in [
        (DatasetFormat::Arrow, Compression::None),
        (DatasetFormat::Arrow, Compression::Lz4),
        (DatasetFormat::Arrow, Compression::Zstd),
        (DatasetFormat::Parquet, Compression::None),
        (DatasetFormat::Parquet, Compression::Zstd),
    ] {
        let options = WriteOptions { format, compression, ..WriteOptions::default() };
        let begun = processor_time()?;
        let output = BufWriter::with_capacity(1 << 16, File::create(file)?);
        let mut writer = DatasetWriter::new("time", output, &meta(), &options)?;
        (0..200).try_for_each(|_| rows.iter().try_for_each(|row| writer.write(row)))?;
        writer.finish()?;
        let written = octets / (processor_time()? - begun) / 1e6;
        let begun = processor_time()?;
        let count = DatasetReader::open(file, &CODES)?.filter(Result::is_ok).count();
        let read = octets / (processor_time()? - begun) / 1e6;
        let size = std::fs::metadata(file)?.len();
        writeln!(
            std::io::stdout().lock(),
            "{format:?} {compression:?}: {count} flows, {size} octets, \
             tokens written at {written:.0} MB/s, read at {read:.0} MB/s"
        )?;
    }
    Ok(())
}

/// Returns the processor time of this thread in seconds. Other work on the machine does not count.
fn processor_time() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
}

/// Builds a row that differs from that of any other number; some of its values are null.
fn row(i: u64) -> FlowRow {
    let word = |k: u64| {
        (i.wrapping_mul(0x9e37_79b9).wrapping_add(k.wrapping_mul(i + 7)) >> 3) as u16 % 1024
    };
    let mut row = FlowRow {
        tokens: Tokens::U16((0..i % 90).map(word).collect()),
        identity: Default::default(),
        summary: None,
    };
    if !i.is_multiple_of(3) {
        row.identity.start_ns = Some(1_700_000_000_000_000_001 + i as i64 * 999);
        row.identity.client_port = Some(word(1));
        row.identity.client.seq_base = Some(u32::MAX - i as u32);
        row.identity.server.ip_id_base = Some(word(2));
        row.identity.client.addr = format!("192.0.2.{}", i % 256).parse().ok();
        row.identity.server.addr = format!("2001:db8::{:x}", i % 4096).parse().ok();
    }
    if !i.is_multiple_of(100) {
        row.summary = Some(FlowSummary {
            duration_ns: i as i64 * 1_000,
            server_port: [443, 80, 22, 5432][i as usize % 4],
            ip_version: 4 + 2 * (i % 2) as u8,
            packets: [i % 20, i % 17],
            payload_octets: [i * 3, i * 1400],
            completeness: 31,
            close: if i.is_multiple_of(5) { "rst" } else { "fin" }.into(),
            class: if i.is_multiple_of(5) { "reset" } else { "graceful" }.into(),
            direction: "syn".into(),
            source: format!("captures/{}.pcap", i % 7),
            first_frame: i + 1,
            label: (!i.is_multiple_of(3)).then(|| format!("class {}", i % 5)),
            group: None,
        });
    }
    row
}

fn same(first: &str, rest: &[String]) -> Result<(), Failure> {
    let rows: Vec<FlowRow> =
        DatasetReader::open(Path::new(first), &CODES)?.collect::<Result<_, _>>()?;
    for path in rest {
        let mut count = 0;
        for (row, expected) in DatasetReader::open(Path::new(path), &CODES)?.zip(&rows) {
            if row? != *expected {
                return Err(format!("{path}: row {count} is not that of {first}").into());
            }
            count += 1;
        }
        let all = DatasetReader::open(Path::new(path), &CODES)?.count();
        if (count, all) != (rows.len(), rows.len()) {
            return Err(format!("{path}: expected {} rows, found {all}", rows.len()).into());
        }
    }
    let packets: u64 =
        rows.iter().filter_map(|r| r.summary.as_ref()).map(|s| s.packets[0] + s.packets[1]).sum();
    let tokens: usize = rows.iter().map(|r| r.tokens.len()).sum();
    writeln!(std::io::stdout().lock(), "{} {packets} {tokens}", rows.len())?;
    Ok(())
}
