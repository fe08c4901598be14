//! Arbitrary and damaged octets: no panic, and no more octets out than in.

use proptest::prelude::*;
use tcpwire::{CaptureReader, Dissector, Frame, LinkType, TimestampResolution};

use crate::samples::{VXLAN_PORT, samples};

/// First octets of frames that lead deep into the headers; the rest is arbitrary.
const STARTS: [&[u8]; 8] = [
    &[],
    &[0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6],
    &[0x46, 0, 0, 60, 0, 0, 0x20, 0, 64, 6],
    &[0x45, 0, 1, 0, 0, 0, 0, 0, 64, 47],
    &[0x45, 0, 1, 0, 0, 0, 0, 0, 64, 1],
    &[0x60, 0, 0, 0, 0, 60, 0, 64],
    &[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x81, 0, 0, 1, 0x88, 0x47],
    &[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x21, 0x45],
];

/// A link type that is read, or one that is not.
fn link() -> impl Strategy<Value = LinkType> {
    let mut all: Vec<u32> = Dissector::LINK_TYPES.iter().map(|row| row.number).collect();
    all.extend([147, LinkType::NO_PACKET.0]);
    prop::sample::select(all).prop_map(LinkType)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 20_000 }))]

    #[test]
    fn any_frame_is_dissected_or_refused(
        link in link(),
        start in prop::sample::select(&STARTS[..]),
        rest in prop::collection::vec(any::<u8>(), 0..150),
        longer in 0u32..2000,
    ) {
        let data = [start, &rest].concat();
        let orig_len = (data.len() as u32 + longer).saturating_sub(100);
        let resolution = TimestampResolution::Micros;
        let frame = Frame { number: 1, time_ns: 0, resolution, orig_len, link, interface: 0, data: &data };
        if let Ok(segment) = Dissector::default().dissect(&frame) {
            prop_assert!(segment.tcp.options.len() <= 40);
            prop_assert!(segment.payload_len.is_none_or(|len| len <= orig_len.max(65_535)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 100 }))]

    /// Every header that is read, with some of its octets changed and cut anywhere.
    #[test]
    fn any_damage_to_a_header_is_dissected_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        kept in any::<prop::sample::Index>(),
    ) {
        for mut sample in samples() {
            for (at, octet) in &changes {
                let at = at.index(sample.octets.len());
                sample.octets[at] = *octet;
            }
            let frame = sample.frame(kept.index(sample.octets.len() + 1));
            if let Ok(segment) = Dissector::with_vxlan_ports(&[VXLAN_PORT]).dissect(&frame) {
                prop_assert!(segment.tcp.options.len() <= 40);
                prop_assert!(segment.payload_len.is_none_or(|len| len <= 65_535));
            }
        }
    }
}

/// Returns the start of a capture of `testdata/` with some octets changed.
fn mutated(name: &str, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut octets = std::fs::read(testkit::testdata(name)).unwrap();
    octets.truncate(60_000);
    let len = octets.len();
    for (at, octet) in changes {
        octets[at % len] = *octet;
    }
    octets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 300 }))]

    #[test]
    fn any_damage_ends_in_an_error_or_in_frames(
        name in prop::sample::select(&["quick.pcap", "https.pcapng"][..]),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..50),
    ) {
        let octets = mutated(name, &changes);
        let Ok(mut reader) = CaptureReader::new(octets.as_slice()) else { return Ok(()) };
        let mut dissector = Dissector::default();
        let mut captured = 0;
        while let Ok(Some(frame)) = reader.next_frame() {
            captured += frame.data.len();
            assert!(dissector.dissect(&frame).map_or(true, |s| s.tcp.options.len() <= 40));
        }
        prop_assert!(captured <= octets.len());
        prop_assert!(reader.next_frame().is_ok_and(|f| f.is_none()), "nothing after an error");
    }

    #[test]
    fn any_octets_are_a_capture_or_none(
        magic in 0usize..8,
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let magics: [&[u8]; 8] = [
            &[0xd4, 0xc3, 0xb2, 0xa1],
            &[0x0a, 0x0d, 0x0d, 0x0a],
            b"snoop\0\0\0",
            &[0x1f, 0x8b, 8, 0],
            &[0x28, 0xb5, 0x2f, 0xfd],
            b"BZh9",
            b"\xfd7zXZ\0",
            &[0x04, 0x22, 0x4d, 0x18],
        ];
        let octets = [magics[magic], &rest].concat();
        if let Ok(mut reader) = CaptureReader::new(octets.as_slice()) {
            while let Ok(Some(_)) = reader.next_frame() {}
        }
    }
}

/// Reads the inputs that fuzzing found, `fuzz/seeds/reader`.
#[test]
fn seeds() {
    for seed in testkit::fuzz_seeds("reader") {
        let octets = std::fs::read(seed).unwrap();
        let Ok(mut reader) = CaptureReader::new(octets.as_slice()) else { continue };
        while let Ok(Some(_)) = reader.next_frame() {}
    }
}
