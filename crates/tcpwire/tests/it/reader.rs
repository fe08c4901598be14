//! Capture files of every format, whole, damaged and compressed.

use std::io::Write;
use std::process::{Command, Stdio};

use tcpwire::{
    CaptureReader, Dissector, LinkType, ReadError, SkipReason, TimestampResolution, foreign_format,
    is_capture_magic,
};

use crate::samples::skipped;

/// Byte order of the numbers in a capture.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

use Order::{Big, Little};

impl Order {
    fn half(self, n: u16) -> [u8; 2] {
        match self {
            Little => n.to_le_bytes(),
            Big => n.to_be_bytes(),
        }
    }

    fn word(self, n: u32) -> [u8; 4] {
        match self {
            Little => n.to_le_bytes(),
            Big => n.to_be_bytes(),
        }
    }
}

/// Captured octets of every packet.
const PACKET: [u8; 5] = [1, 2, 3, 4, 5];

fn pcap(order: Order, magic: u32, records: &[(u32, u32)]) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(order.word(magic));
    octets.extend(order.half(2));
    octets.extend(order.half(4));
    for word in [0, 0, 65_535, 101] {
        octets.extend(order.word(word));
    }
    for &(seconds, fraction) in records {
        for word in [seconds, fraction, PACKET.len() as u32, 1500] {
            octets.extend(order.word(word));
        }
        octets.extend(PACKET);
    }
    octets
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(4), 0);
    let len = order.word(padded.len() as u32 + 12);
    [&order.word(kind), &len, padded.as_slice(), &len].concat()
}

fn section(order: Order) -> Vec<u8> {
    let body = [&order.word(0x1a2b_3c4d)[..], &order.half(1), &order.half(0), &[0xff; 8]].concat();
    block(order, 0x0a0d_0d0a, &body)
}

fn interface(order: Order, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = [&order.half(link)[..], &[0, 0], &order.word(snaplen)].concat();
    for (code, value) in options {
        body.extend(order.half(*code));
        body.extend(order.half(value.len() as u16));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(order, 1, &body)
}

fn enhanced(order: Order, interface: u32, ticks: u64) -> Vec<u8> {
    let words = [interface, (ticks >> 32) as u32, ticks as u32, PACKET.len() as u32, 1500];
    let mut body: Vec<u8> = words.iter().flat_map(|w| order.word(*w)).collect();
    body.extend(PACKET);
    block(order, 6, &body)
}

/// Returns time, link type and resolution of each frame, and the error that ended reading.
fn frames(octets: &[u8]) -> (Vec<(i64, u32, TimestampResolution)>, Option<ReadError>) {
    let mut found = Vec::new();
    let mut reader = match CaptureReader::new(octets) {
        Ok(reader) => reader,
        Err(error) => return (found, Some(error)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert_eq!(frame.data, PACKET);
                assert_eq!(frame.number, found.len() as u64 + 1);
                found.push((frame.time_ns, frame.link.0, frame.resolution));
            }
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

fn check(octets: &[u8], expected: &[(i64, u32, TimestampResolution)]) {
    let (found, error) = frames(octets);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, expected);
}

#[test]
fn pcap_in_both_orders_and_steps() {
    for order in [Little, Big] {
        let micro = pcap(order, 0xa1b2_c3d4, &[(7, 8), (9, 999_999)]);
        check(
            &micro,
            &[
                (7_000_008_000, 101, TimestampResolution::Micros),
                (9_999_999_000, 101, TimestampResolution::Micros),
            ],
        );
        check(
            &pcap(order, 0xa1b2_3c4d, &[(7, 8)]),
            &[(7_000_000_008, 101, TimestampResolution::Nanos)],
        );
    }
}

#[test]
fn a_fraction_over_a_second_is_wrong() {
    check(
        &pcap(Little, 0xa1b2_c3d4, &[(7, 1_000_000)]),
        &[(8_000_000_000, 101, TimestampResolution::Invalid)],
    );
}

#[test]
fn pcapng_in_both_orders() {
    for order in [Little, Big] {
        let file =
            [section(order), interface(order, 1, 0, &[]), enhanced(order, 0, 1_000_001)].concat();
        check(&file, &[(1_000_001_000, 1, TimestampResolution::Micros)]);
    }
}

#[test]
fn interfaces_with_clocks_of_their_own() {
    for order in [Little, Big] {
        let offset: [u8; 8] = match order {
            Little => 900i64.to_le_bytes(),
            Big => 900i64.to_be_bytes(),
        };
        let file = [
            section(order),
            interface(order, 1, 0, &[(9, &[9])]),
            interface(order, 101, 0, &[(9, &[3]), (14, &offset)]),
            interface(order, 0, 0, &[(9, &[0x80 | 10])]),
            interface(order, 0, 0, &[(9, &[12])]),
            enhanced(order, 0, 5),
            enhanced(order, 1, 5),
            enhanced(order, 2, 512),
            enhanced(order, 3, 1_999),
        ]
        .concat();
        let expected = [
            (5, 1, TimestampResolution::Nanos),
            (900_005_000_000, 101, TimestampResolution::Coarser),
            (500_000_000, 0, TimestampResolution::Coarser),
            (1, 0, TimestampResolution::Finer),
        ];
        check(&file, &expected);
    }
}

#[test]
fn a_clock_that_can_not_be_gives_frames_without_times() {
    for octet in [0x80 | 100, 100] {
        let file =
            [section(Little), interface(Little, 1, 0, &[(9, &[octet])]), enhanced(Little, 0, 5)]
                .concat();
        check(&file, &[(0, 1, TimestampResolution::Invalid)]);
    }
}

#[test]
fn sections_begin_anew_in_their_own_order() {
    let file = [
        section(Little),
        interface(Little, 1, 0, &[]),
        enhanced(Little, 0, 1),
        section(Big),
        interface(Big, 101, 0, &[(9, &[9])]),
        enhanced(Big, 0, 2),
    ]
    .concat();
    check(&file, &[(1000, 1, TimestampResolution::Micros), (2, 101, TimestampResolution::Nanos)]);
    let (found, error) = frames(
        &[section(Little), interface(Little, 1, 0, &[]), section(Big), enhanced(Big, 0, 1)]
            .concat(),
    );
    assert!(found.is_empty());
    assert!(error.unwrap().to_string().contains("expected one of 0 interfaces, found number 0"));
}

#[test]
fn simple_and_obsolete_packets_and_blocks_to_pass_over() {
    let simple = block(Little, 3, &[&1500u32.to_le_bytes()[..], &PACKET].concat());
    let words: Vec<u8> = [0u16, 3].iter().flat_map(|h| h.to_le_bytes()).collect();
    let rest: Vec<u8> = [0u32, 77, 5, 1500].iter().flat_map(|w| w.to_le_bytes()).collect();
    let obsolete = block(Little, 2, &[&words[..], &rest, &PACKET].concat());
    let file = [
        section(Little),
        block(Little, 4, &[0; 8]),
        interface(Little, 1, 5, &[]),
        simple,
        block(Little, 0x0bae, &[1, 2, 3, 4]),
        obsolete,
        block(Little, 5, &[0; 12]),
    ]
    .concat();
    check(&file, &[(0, 1, TimestampResolution::Invalid), (77_000, 1, TimestampResolution::Micros)]);
}

#[test]
fn times_that_no_flow_holds_are_wrong() {
    let at = |offset_s: i64, ticks: u64| {
        let offset = offset_s.to_le_bytes();
        let options: [(u16, &[u8]); 2] = [(9, &[9]), (14, &offset)];
        let file = [section(Little), interface(Little, 1, 0, &options), enhanced(Little, 0, ticks)];
        let (found, error) = frames(&file.concat());
        assert!(error.is_none(), "{error:?}");
        (found[0].0, found[0].2)
    };
    let (wrong, right) = (TimestampResolution::Invalid, TimestampResolution::Nanos);
    assert_eq!(at(-1, 999_999_999), (0, wrong), "before 1970");
    assert_eq!(at(-1, 1_000_000_000), (0, right));
    assert_eq!(at(0, i64::MAX as u64), (i64::MAX, right));
    assert_eq!(at(0, i64::MAX as u64 + 1), (0, wrong), "after 2262");
    assert_eq!(at(9_500_000_000, 7), (0, wrong), "in 2271");
}

#[test]
fn records_without_a_packet_are_frames() {
    for order in [Little, Big] {
        for kind in [9, 0x0bad, 0x4000_0bad, 0x204, 0x216, 0x221] {
            let file = [
                section(order),
                interface(order, 1, 0, &[]),
                block(order, kind, &[0; 32]),
                enhanced(order, 0, 7),
            ]
            .concat();
            let mut reader = CaptureReader::new(file.as_slice()).unwrap();
            let first = reader.next_frame().unwrap().unwrap();
            assert_eq!((first.number, first.link), (1, LinkType::NO_PACKET), "{kind:#x}");
            assert_eq!(Dissector::default().dissect(&first), Err(SkipReason::NotIp));
            assert_eq!(reader.next_frame().unwrap().unwrap().number, 2);
            assert!(reader.next_frame().unwrap().is_none());
        }
    }
}

/// Checks that one frame has these octets and this length on the wire.
fn check_frame(file: &[u8], octets: &[u8], orig_len: u32) {
    let mut reader = CaptureReader::new(file).unwrap();
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!((frame.data, frame.orig_len), (octets, orig_len));
}

#[test]
fn check_sequences_are_no_part_of_a_frame() {
    for order in [Little, Big] {
        let told_by_link_type = |link: u32, wire_len: u32| {
            let mut file = pcap(order, 0xa1b2_c3d4, &[(1, 0)]);
            file[20..24].copy_from_slice(&order.word(link));
            file[36..40].copy_from_slice(&order.word(wire_len));
            file
        };
        check_frame(&told_by_link_type(0x2400_0001, 5), &PACKET[..1], 1);
        check_frame(&told_by_link_type(0x1400_0001, 5), &PACKET[..3], 3);
        check_frame(&told_by_link_type(0x2400_0001, 7), &PACKET[..3], 3);
        check_frame(&told_by_link_type(0x2400_0001, 1500), &PACKET, 1496);
        check_frame(&told_by_link_type(0xf400_0001, 5), &[], 0);
        check_frame(&told_by_link_type(0x2000_0001, 5), &PACKET, 5);
        let told_by_interface = |len: u8, packet_options: &[u8]| {
            let words = [0, 0, 1, PACKET.len() as u32, 5];
            let mut body: Vec<u8> = words.iter().flat_map(|w| order.word(*w)).collect();
            body.extend([&PACKET[..], &[0; 3], packet_options].concat());
            let interface = interface(order, 1, 0, &[(13, &[len])]);
            [section(order), interface, block(order, 6, &body)].concat()
        };
        check_frame(&told_by_interface(4, &[]), &PACKET[..1], 1);
        check_frame(&told_by_interface(32, &[]), &PACKET[..1], 1);
        check_frame(&told_by_interface(2, &[]), &PACKET[..3], 3);
        let flags = [&order.half(2)[..], &order.half(4), &order.word(2 << 5)].concat();
        check_frame(&told_by_interface(0, &flags), &PACKET[..3], 3);
        let no_flags = [&order.half(2)[..], &order.half(4), &order.word(1)].concat();
        check_frame(&told_by_interface(4, &no_flags), &PACKET[..1], 1);
    }
}

#[test]
fn modified_pcap_in_both_orders() {
    for order in [Little, Big] {
        let plain = pcap(order, 0xa1b2_cd34, &[(7, 8), (9, 10)]);
        let (head, records) = plain.split_at(24);
        let mut file = head.to_vec();
        for record in records.chunks(16 + PACKET.len()) {
            file.extend([&record[..16], &[0; 8], &record[16..]].concat());
        }
        let micros = TimestampResolution::Micros;
        check(&file, &[(7_000_008_000, 101, micros), (9_000_010_000, 101, micros)]);
    }
}

#[test]
fn snoop() {
    let mut octets = b"snoop\0\0\0".to_vec();
    let words = [2u32, 4, 1500, 5, 32, 0, 7, 8];
    octets.extend(words.iter().flat_map(|w| w.to_be_bytes()));
    octets.extend(PACKET);
    octets.extend([0; 3]);
    check(&octets, &[(7_000_008_000, LinkType::ETHERNET.0, TimestampResolution::Micros)]);
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_and_of_several_members() {
    let plain = pcap(Little, 0xa1b2_c3d4, &[(1, 0), (2, 0)]);
    let expected = [
        (1_000_000_000, 101, TimestampResolution::Micros),
        (2_000_000_000, 101, TimestampResolution::Micros),
    ];
    check(&gzip(&plain), &expected);
    check(&[gzip(&plain[..30]), gzip(&plain[30..])].concat(), &expected);
    check(&zstd::encode_all(plain.as_slice(), 1).unwrap(), &expected);
    let halves = [&plain[..50], &plain[50..]].map(|half| zstd::encode_all(half, 1).unwrap());
    check(&halves.concat(), &expected);
}

/// Returns `octets` as a program on the path compresses them; `None` if it is not installed.
fn packed(program: &str, octets: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(octets).unwrap();
    Some(child.wait_with_output().unwrap().stdout)
}

/// Programs that compress, each with a kind that is read.
const PACKERS: [&str; 5] = ["gzip", "zstd", "bzip2", "xz", "lz4"];

#[test]
fn every_kind_of_compression_in_one_member_and_many() {
    let records: Vec<(u32, u32)> = (0..20_000).map(|n| (n, n)).collect();
    let plain = pcap(Little, 0xa1b2_c3d4, &records);
    for program in PACKERS {
        let Some(whole) = packed(program, &plain) else {
            skipped(&format!("{program} is not installed"));
            continue;
        };
        assert!(is_capture_magic(&whole[..4]), "{program}");
        let count = |octets: &[u8]| {
            let (found, error) = frames(octets);
            assert!(error.is_none(), "{program}: {error:?}");
            found.len()
        };
        assert_eq!(count(&whole), records.len(), "{program}");
        let parts = plain.chunks(100_000).map(|part| packed(program, part).unwrap());
        let members: Vec<u8> = parts.flatten().collect();
        assert_eq!(count(&members), records.len(), "{program}");
    }
}

#[test]
fn zeros_after_the_last_member_are_padding_and_the_rest_is_told() {
    let plain = pcap(Little, 0xa1b2_c3d4, &[(1, 0), (2, 0)]);
    for program in PACKERS {
        let Some(whole) = packed(program, &plain) else { continue };
        let told = |after: &[u8]| {
            let file = [&whole[..], after].concat();
            let mut reader = CaptureReader::new(file.as_slice()).unwrap();
            while reader.next_frame().unwrap().is_some() {}
            assert_eq!(reader.frames(), 2, "{program}");
            reader.has_trailing_garbage()
        };
        assert!(!told(&[]), "{program}");
        assert!(!told(&[0; 512]), "{program}");
        assert!(!told(&[0; 200_000]), "{program}");
        assert!(!told(&[0]), "{program}");
        assert!(told(b"x"), "{program}");
        assert!(told(b"some text of another file"), "{program}");
        assert!(told(&[&[0; 100_000][..], b"x"].concat()), "{program}");
    }
}

#[test]
fn compressed_and_cut_short_is_an_error() {
    let records: Vec<(u32, u32)> = (0..2000).map(|n| (n, n * 7 % 1000)).collect();
    let plain = pcap(Little, 0xa1b2_c3d4, &records);
    for program in PACKERS {
        let Some(whole) = packed(program, &plain) else { continue };
        for len in (6..whole.len()).step_by(whole.len() / 40 + 1) {
            let (found, error) = frames(&whole[..len]);
            assert!(found.len() <= records.len());
            assert!(error.is_some(), "{program}, {len} of {} octets", whole.len());
        }
    }
}

#[test]
fn xz_that_asks_for_gibibytes_is_refused() {
    let with_check = |octets: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(octets);
        [octets, &crc.sum().to_le_bytes()].concat()
    };
    // A stream without checks, and a block of LZMA2 with the largest dictionary.
    let stream = [b"\xfd7zXZ\0", &with_check(&[0, 0])[..]].concat();
    let block = with_check(&[2, 0, 0x21, 1, 40, 0, 0, 0]);
    let (_, error) = frames(&[stream, block, vec![0; 64]].concat());
    let said = error.unwrap().to_string();
    assert!(said.contains("expected xz data that takes at most 256 MiB, found more"), "{said}");
}

#[test]
fn what_is_not_read_is_known_by_its_first_octets() {
    assert_eq!(foreign_format(b"PK\x03\x04........"), Some("a zip archive"));
    assert_eq!(foreign_format(b"GMBU"), Some("a capture of Microsoft Network Monitor 2"));
    assert_eq!(foreign_format(b"# notes"), None);
    assert_eq!(foreign_format(b""), None);
}

#[test]
fn cut_short_says_where() {
    let whole = pcap(Little, 0xa1b2_c3d4, &[(1, 0), (2, 0)]);
    for cut in 1..21 {
        let (found, error) = frames(&whole[..whole.len() - cut]);
        assert_eq!(found.len(), 1);
        assert!(error.unwrap().to_string().starts_with("cut short at offset 45, in frame 2"));
    }
    assert!(frames(&whole[..whole.len() - 21]).1.is_none(), "an end between records is an end");
    let (found, error) = frames(&gzip(&whole)[..40]);
    assert!(found.len() < 2);
    assert!(matches!(error, Some(ReadError::Io { .. })));
}

#[test]
fn impossible_lengths_say_where() {
    let mut octets = pcap(Little, 0xa1b2_c3d4, &[(1, 0)]);
    octets.extend([0xff; 64]);
    let (found, error) = frames(&octets);
    assert_eq!(found.len(), 1);
    let said = error.unwrap().to_string();
    assert!(
        said.starts_with("damaged at offset 45, in frame 2: expected at most 262144 octets"),
        "{said}"
    );
}

#[test]
fn no_capture_at_all() {
    for octets in
        [&b""[..], b"x", b"PK\x03\x04 this is a zip file", &gzip(b"text, packed"), &[0; 100]]
    {
        let (_, error) = frames(octets);
        assert!(error.unwrap().is_not_a_capture());
    }
}
