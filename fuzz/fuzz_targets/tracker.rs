//! Any capture through reader, dissector and tracker with little space: every packet counted once.

#![no_main]

use flowtrack::{Tracker, TrackerOptions};
use libfuzzer_sys::fuzz_target;
use tcpwire::{CaptureReader, Dissector};

fuzz_target!(|octets: &[u8]| {
    let Some((settings, capture)) = octets.split_first_chunk::<2>() else { return };
    let options = TrackerOptions {
        only_opened: settings[0] & 1 == 1,
        idle_timeout_ns: (settings[0] & 2 == 2).then_some(i64::from(settings[1]) * 1_000_000_000),
        max_octets: (settings[0] & 4 == 4).then_some(usize::from(settings[1]) * 64),
        linger_ns: i64::from(settings[0] >> 3) * 1_000_000_000,
    };
    let mut tracker = Tracker::new(options);
    let Ok(mut reader) = CaptureReader::new(capture) else { return };
    let mut dissector = Dissector::default();
    let mut pushed = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        if let Ok(segment) = dissector.dissect(&frame) {
            tracker.push(frame.time_ns, frame.number, &segment);
            pushed += 1;
        }
    }
    tracker.finish();
    assert_eq!(tracker.drain_finished().count() as u64, tracker.conversation_count());
    let forgotten: u64 = tracker.drain_forgotten().map(|record| record.packets).sum();
    let counted = forgotten + tracker.summaries().map(|record| record.packets).sum::<u64>();
    assert_eq!(counted, pushed);
});
