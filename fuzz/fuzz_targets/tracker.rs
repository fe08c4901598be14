//! Any capture through reader, dissector and tracker with little space: every packet counted once.

#![no_main]

use flowtrack::{FlowReader, TagKinds, TrackerOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((settings, capture)) = octets.split_first_chunk::<2>() else { return };
    let options = TrackerOptions {
        only_opened: settings[0] & 1 == 1,
        idle_timeout_ns: (settings[0] & 2 == 2).then_some(i64::from(settings[1]) * 1_000_000_000),
        max_octets: (settings[0] & 4 == 4).then_some(usize::from(settings[1]) * 64),
        linger_ns: i64::from(settings[0] >> 3) * 1_000_000_000,
        linger_octets: usize::from(settings[1]) * 64,
        separate: TagKinds::from_bits_truncate(settings[0] >> 3),
        ..TrackerOptions::default()
    };
    let Ok(mut reader) = FlowReader::new(capture, options) else { return };
    let exported = reader.by_ref().filter(Result::is_ok).count() as u64;
    let pushed = reader.counts().segments;
    let (mut tracker, _damage) = reader.into_parts();
    assert_eq!(exported, tracker.conversation_count());
    let forgotten: u64 = tracker.drain_forgotten().map(|summary| summary.packets).sum();
    let counted = forgotten + tracker.summaries().map(|summary| summary.packets).sum::<u64>();
    assert_eq!(counted, pushed);
});
