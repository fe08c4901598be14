//! Benchmarks writing and reading a dataset in memory. Throughput is in octets of tokens, two
//! each.

use std::hint::black_box;
use std::io::Cursor;

use arrowio::{
    CodecId, Compression, DatasetFormat, DatasetReader, DatasetWriter, FlowRow, FlowSummary,
    Tokens, WriteOptions,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokenizer::FlowIdentity;

const CODE: CodecId = CodecId { name: "field", version: 1 };
const FLOWS: u64 = 20_000;
const TOKENS: u64 = 120;

fn rows() -> Vec<FlowRow> {
    let row = |i: u64| {
        let mut identity = FlowIdentity {
            start_ns: Some(i as i64 * 1_000),
            client_port: Some(i as u16),
            ..FlowIdentity::default()
        };
        identity.client.addr = Some([192, 0, 2, i as u8].into());
        identity.server.addr = Some([198, 51, 100, 7].into());
        identity.client.seq_base = Some(i as u32);
        identity.server.seq_base = Some(!i as u32);
        let summary = FlowSummary {
            duration_ns: i as i64,
            server_port: 443,
            ip_version: 4,
            packets: [9, 8],
            payload_octets: [700, 5_000],
            completeness: 31,
            close: "fin".into(),
            class: "graceful".into(),
            direction: "syn".into(),
            source: "captures/a.pcap".into(),
            first_frame: i + 1,
            label: None,
            group: None,
        };
        let tokens = (0..TOKENS).map(|k| (i.wrapping_mul(k) % 1024) as u16).collect();
        FlowRow { tokens: Tokens::U16(tokens), identity, summary: Some(summary) }
    };
    (0..FLOWS).map(row).collect()
}

fn written(rows: &[FlowRow], format: DatasetFormat, compression: Compression) -> Vec<u8> {
    let meta = testkit::datasets::meta(CODE);
    let options = WriteOptions { format, compression, ..WriteOptions::default() };
    let mut writer = DatasetWriter::new("memory", Vec::new(), &meta, &options).unwrap();
    rows.iter().for_each(|row| writer.write(row).unwrap());
    writer.finish().unwrap().1
}

fn bench(c: &mut Criterion) {
    let rows = rows();
    let mut group = c.benchmark_group("dataset");
    group.throughput(Throughput::Bytes(FLOWS * TOKENS * 2)).sample_size(20);
    for (format, compression) in [
        (DatasetFormat::Arrow, Compression::None),
        (DatasetFormat::Arrow, Compression::Lz4),
        (DatasetFormat::Arrow, Compression::Zstd),
        (DatasetFormat::Parquet, Compression::Zstd),
    ] {
        let name = format!("{format:?} {compression:?}");
        group.bench_function(format!("write {name}"), |b| {
            b.iter(|| written(black_box(&rows), format, compression))
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), written(&rows, format, compression)).unwrap();
        group.bench_function(format!("read {name}"), |b| {
            b.iter(|| {
                DatasetReader::open(file.path(), &[CODE])
                    .unwrap()
                    .map(|row| row.unwrap().tokens.len())
                    .sum::<usize>()
            })
        });
    }
    let stream = written(&rows, DatasetFormat::Stream, Compression::None);
    group.bench_function("read Stream None", |b| {
        b.iter(|| {
            DatasetReader::stream("memory", Cursor::new(stream.clone()), &[CODE]).unwrap().count()
        })
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
