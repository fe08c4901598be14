//! Any octets as frames of any link type: a segment within bounds, or a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpwire::{Dissector, Frame, LinkType, TimestampResolution};

fuzz_target!(|octets: &[u8]| {
    let mut dissector = Dissector::with_vxlan_ports(&[9]);
    // Frames of one dissector: a length, a link type, how much longer it was, the octets.
    let mut rest = octets;
    let mut number = 0;
    while let [len, link_high, link_low, longer, tail @ ..] = rest {
        let len = usize::from(*len).min(tail.len());
        let (data, next) = tail.split_at(len);
        number += 1;
        let frame = Frame {
            number,
            time_ns: 0,
            resolution: TimestampResolution::Micros,
            orig_len: len as u32 + u32::from(*longer) * 16,
            link: LinkType(u32::from(u16::from_be_bytes([*link_high, *link_low]))),
            interface: 0,
            data,
        };
        if let Ok(segment) = dissector.dissect(&frame) {
            assert!(segment.tcp.options.len() <= 40);
            assert!(segment.tcp.header_len <= 60);
        }
        rest = next;
    }
});
