//! Every header that is read, against what it hides, against Wireshark, and against the document.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use tcpwire::{Dissector, HeaderRow, LinkType, SkipReason};

use crate::samples::{Kind, NONE, Sample, VXLAN_PORT, samples, skipped, tcp};

/// Returns a dissector that knows the named port of the samples.
fn dissector() -> Dissector {
    Dissector::with_vxlan_ports(&[VXLAN_PORT])
}

#[test]
fn every_header_is_read() {
    for sample in samples() {
        let mut dissector = dissector();
        let said = dissector.dissect(&sample.frame(sample.octets.len()));
        let shown = format!("{:?} {}, {}", sample.kind, sample.number, sample.name);
        let segment = said.unwrap_or_else(|reason| panic!("{shown}: {reason}"));
        assert_eq!((segment.tcp.src_port, segment.tcp.dst_port), (1, 2), "{shown}");
        assert_eq!((segment.tcp.seq.0, segment.payload_len), (7, Some(2)), "{shown}");
        assert_eq!(segment.quirks, sample.quirks, "{shown}");
    }
}

#[test]
fn a_frame_that_is_cut_anywhere_has_a_name() {
    for sample in samples() {
        let whole = sample.octets.len();
        for len in 0..whole {
            let mut dissector = dissector();
            match dissector.dissect(&sample.frame(len)) {
                Ok(segment) => {
                    let shown = format!("{:?} {}, {}", sample.kind, sample.number, sample.name);
                    assert!(len + 6 + 20 > whole, "{shown}: {segment:?} of {len} octets");
                }
                Err(reason) => assert!(!reason.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn a_header_that_is_cut_is_a_loss() {
    for sample in samples() {
        let mut dissector = dissector();
        // Ports and sequence number of the TCP header.
        let at = sample.octets.windows(8).rposition(|w| w == &tcp()[..8]).unwrap();
        let reason = dissector.dissect(&sample.frame(at + 8)).unwrap_err();
        assert_eq!(reason, SkipReason::CutBeforeTcp, "{:?} {}", sample.kind, sample.number);
        assert!(reason.is_loss());
    }
}

/// Appends a pcapng block.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = 12 + body.len().next_multiple_of(4) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(len.to_le_bytes());
}

/// Returns a pcapng file with one frame for each sample, on an interface of its link type.
fn pcapng(samples: &[Sample]) -> Vec<u8> {
    let mut out = Vec::new();
    let version = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    block(&mut out, 0x0a0d_0d0a, &[&version[..], &[0xff; 8]].concat());
    for (n, sample) in samples.iter().enumerate() {
        let link = (sample.link.0 as u16).to_le_bytes();
        block(&mut out, 1, &[&link[..], &[0; 2], &[0, 0, 4, 0]].concat());
        let len = sample.octets.len() as u32;
        let words = [n as u32, 0, 0, len, len];
        let head: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        block(&mut out, 6, &[&head[..], &sample.octets].concat());
    }
    out
}

/// Returns sequence number and length of the TCP header that Wireshark finds in each frame; `None`
/// if it is not installed.
fn wireshark(capture: &[u8]) -> Option<Vec<String>> {
    let vxlan = [8472, VXLAN_PORT].map(|port| format!("udp.port=={port},vxlan"));
    let fields = ["frame.number", "tcp.seq_raw", "tcp.len"];
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-", "-T", "fields", "-E", "occurrence=l"]);
    command.args(["-d", "tcp.port==0-65535,data", "-d", &vxlan[0], "-d", &vxlan[1]]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tshark = command.spawn().ok()?;
    tshark.stdin.take().unwrap().write_all(capture).unwrap();
    let output = tshark.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn wireshark_finds_the_same_headers() {
    let samples = samples();
    let Some(found) = wireshark(&pcapng(&samples)) else {
        skipped("tshark is not installed");
        return;
    };
    assert_eq!(found.len(), samples.len());
    let mut differ = Vec::new();
    for (n, (sample, line)) in samples.iter().zip(&found).enumerate() {
        if (line == &format!("{}\t7\t2", n + 1)) != sample.in_wireshark {
            differ.push(format!("{:?} {}, {}: {line}", sample.kind, sample.number, sample.name));
        }
    }
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Tables of the dissector, each under its heading in the document.
const TABLES: [(Kind, &str, &[HeaderRow]); 4] = [
    (Kind::Link, "Link types", Dissector::LINK_TYPES),
    (Kind::EtherType, "EtherTypes", Dissector::ETHER_TYPES),
    (Kind::IpProtocol, "IP protocols", Dissector::IP_PROTOCOLS),
    (Kind::UdpPort, "UDP ports", Dissector::UDP_PORTS),
];

#[test]
fn tables_are_in_order() {
    for (kind, _, table) in TABLES {
        assert!(table.is_sorted_by(|a, b| a.number < b.number), "{kind:?}");
    }
}

#[test]
fn every_row_has_a_sample() {
    let samples = samples();
    for (kind, _, table) in TABLES {
        for row in table {
            // A quotation and an encrypted payload give no segment of their own.
            let without = kind == Kind::IpProtocol && matches!(row.number, 1 | 50 | 58);
            let has = samples.iter().any(|s| s.kind == kind && s.number == row.number);
            assert!(has || without, "{kind:?} {row:?} has no sample");
        }
    }
}

/// Returns the rows of a table of the document, as number and name.
fn documented(text: &str, heading: &str) -> BTreeSet<(String, String)> {
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[1].to_owned())
    })
    .collect()
}

#[test]
fn the_document_lists_the_headers() {
    let text = std::fs::read_to_string(testkit::repository_root().join("docs/headers.md")).unwrap();
    for (kind, heading, table) in TABLES {
        let shown = |row: &HeaderRow| match kind {
            Kind::EtherType => format!("{:#06x}", row.number),
            _ if row.number == LinkType::IPOIB_SNOOP.0 => "26 of snoop".to_owned(),
            _ => row.number.to_string(),
        };
        let rows = table.iter().map(|row| (shown(row), row.name.to_owned())).collect();
        assert_eq!(documented(&text, heading), rows, "docs/headers.md, {heading}");
    }
}

#[test]
fn what_is_not_read_is_named_with_its_number() {
    let named = |link: u32, octets: &[u8]| {
        let sample = Sample {
            name: "",
            kind: Kind::Other,
            number: 0,
            link: LinkType(link),
            octets: octets.to_vec(),
            quirks: NONE,
            in_wireshark: false,
        };
        let mut dissector = Dissector::default();
        let reason = dissector.dissect(&sample.frame(octets.len())).unwrap_err();
        (reason.to_string(), reason.is_loss())
    };
    let ethernet = crate::samples::ethernet;
    let (ipv4, udp) = (crate::samples::ipv4, crate::samples::udp);
    let loss = |name: &str| (name.to_owned(), true);
    let no_loss = |name: &str| (name.to_owned(), false);
    assert_eq!(named(147, &[0; 60]), loss("link type 147 not read"));
    assert_eq!(named(149, &[0; 120]), loss("link type 258 not read"));
    assert_eq!(named(1, &ethernet(0x8999, &[0; 60])), loss("EtherType 0x8999 not read"));
    assert_eq!(named(1, &ethernet(0x0806, &[0; 28])), no_loss("not IP"));
    assert_eq!(named(1, &ethernet(0x88cc, &[0; 28])), no_loss("not IP"));
    assert_eq!(named(9, &[0xff, 3, 0, 0x3d, 0, 0]), loss("PPP protocol 0x003d not read"));
    assert_eq!(named(9, &[0xff, 3, 0xc0, 0x21, 1, 0]), no_loss("not IP"));
    assert_eq!(named(101, &ipv4(17, &udp(53, &[0; 20]))), no_loss("IP without TCP"));
    let refused = loss("tunnel on UDP port 8472 not read");
    assert_eq!(named(101, &ipv4(17, &udp(8472, &[0; 60]))), refused);
    let from_that_port = [&[0x21, 0x18, 0x99, 0x99, 0, 68, 0, 0][..], &[0; 60]].concat();
    assert_eq!(named(101, &ipv4(17, &from_that_port)), no_loss("IP without TCP"));
    assert_eq!(named(101, &ipv4(17, &udp(5247, &[1; 60]))), loss("encrypted"));
    assert_eq!(named(101, &ipv4(50, &[0; 60])), loss("encrypted"));
    assert_eq!(named(1, &ethernet(0x88e5, &[0x2c; 60])), loss("encrypted"));
    assert_eq!(named(105, &[&[0x08, 0x41][..], &[0; 60]].concat()), loss("encrypted"));
    assert_eq!(named(101, &ipv4(115, &[1; 60])), loss("IP protocol 115 not read"));
}
