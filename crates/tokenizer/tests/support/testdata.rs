//! Real flows, for benches, for the reference document and for tests.

use std::fs::File;
use std::path::Path;

use flowtrack::{Class, Flow, Tracker, TrackerOptions};
use tcpwire::{CaptureReader, Dissector};

/// The whole conversations of a capture.
fn conversations(path: &Path, out: &mut Vec<Flow>) {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut dissector = Dissector::default();
    let mut tracker = Tracker::new(TrackerOptions::default());
    while let Ok(Some(frame)) = reader.next_frame() {
        if let Ok(segment) = dissector.dissect(&frame) {
            tracker.push(frame.time_ns, frame.number, &segment);
        }
    }
    tracker.finish();
    let whole = |class| matches!(class, Class::Graceful | Class::Reset);
    out.extend(tracker.ended().filter(|e| whole(e.verdict.class)).filter_map(|e| e.flow));
}

/// The whole conversations of every capture of `testdata` that is not compressed, file by file.
pub(crate) fn flows() -> Vec<Flow> {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let folder = Path::new(&manifest).join("../../testdata");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "pcap" || e == "pcapng"));
    paths.sort();
    let mut flows = Vec::new();
    for path in paths {
        conversations(&path, &mut flows);
    }
    flows
}
