//! Throughput of reader and dissector: frames per second on one core, over captures of `testdata`.

use std::fs;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tcpwire::{CaptureReader, Dissector};

/// Captures in pcap and pcapng, with Ethernet and cooked headers, with and without payload.
const CAPTURES: [&str; 4] = ["office.pcapng", "https.pcapng", "http-wan.pcap", "postgres.pcap"];

fn frames(c: &mut Criterion) {
    for name in CAPTURES {
        let octets = fs::read(testkit::testdata(name)).unwrap();
        let count = {
            let mut reader = CaptureReader::new(octets.as_slice()).unwrap();
            while reader.advance().unwrap() {}
            reader.frames()
        };
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(count));
        group.bench_function("reader", |b| {
            b.iter(|| {
                let mut reader = CaptureReader::new(octets.as_slice()).unwrap();
                while reader.advance().unwrap() {
                    black_box(reader.frame());
                }
            });
        });
        group.bench_function("reader and dissector", |b| {
            b.iter(|| {
                let mut reader = CaptureReader::new(octets.as_slice()).unwrap();
                let mut dissector = Dissector::default();
                while reader.advance().unwrap() {
                    let _ = dissector.dissect_with(&reader.frame(), |segment| {
                        black_box(segment);
                    });
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
