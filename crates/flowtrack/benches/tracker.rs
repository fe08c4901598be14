//! Throughput of the tracker: packets per second on one core, over captures of `testdata`.

use std::fs::File;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtrack::{Flow, Tracker, TrackerOptions};
use tcpwire::{CaptureReader, Dissector, Segment};

/// Captures with many short conversations at once, and with few long ones.
const CAPTURES: [&str; 3] = ["parallel.pcap.gz", "http-clients.pcap", "bulk.pcap.gz"];

/// A segment that owns its options, and its capture time.
struct OwnedSegment {
    time_ns: i64,
    segment: Segment<'static>,
}

fn segments(name: &str) -> Vec<OwnedSegment> {
    let mut reader = CaptureReader::new(File::open(testkit::testdata(name)).unwrap()).unwrap();
    let mut dissector = Dissector::default();
    let mut kept = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let time_ns = frame.time_ns;
        if let Ok(Segment { ip, tcp, payload_len, quirks, tags }) = dissector.dissect(&frame) {
            let options = tcp.options.to_vec().leak();
            kept.push(OwnedSegment {
                time_ns,
                segment: Segment {
                    ip,
                    tcp: tcpwire::TcpView { options, ..tcp },
                    payload_len,
                    quirks,
                    tags,
                },
            });
        }
    }
    kept
}

fn tracker(c: &mut Criterion) {
    for name in CAPTURES {
        let segments = segments(name);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(segments.len() as u64));
        group.bench_function("tracker", |b| {
            b.iter(|| {
                let mut tracker = Tracker::new(TrackerOptions::default());
                let mut flows: Vec<Flow> = Vec::new();
                for (n, kept) in segments.iter().enumerate() {
                    tracker.push(kept.time_ns, n as u64 + 1, &kept.segment);
                    if tracker.finished_count() >= 64 {
                        flows.extend(tracker.drain_finished().filter_map(|one| one.flow));
                        flows.drain(..).for_each(|flow| tracker.recycle(flow));
                    }
                }
                tracker.finish();
                black_box(tracker.drain_finished().count())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, tracker);
criterion_main!(benches);
