//! Captures that tests write segment by segment, tracked by this crate and by tshark.

use std::process::Command;

use flowtrack::{ConversationSummary, FinishedConversation, FlowReader, TrackerOptions};
use tcpwire::{
    CaptureFormat, CaptureWriter, EthernetRepr, Flags, IpRepr, Ipv4Repr, Payload, TcpRepr,
    TimestampUnit, emit_packet,
};

/// Segments between a client, 10.0.0.1 port 1000, and a server, 10.0.0.2 port 80.
pub(crate) struct Talk {
    writer: CaptureWriter<Vec<u8>>,
    now_ns: i64,
    vlan: Option<u16>,
    /// Octets and length on the wire of the last segment.
    last: (Vec<u8>, u32),
}

/// Sender of a segment: client or server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

pub(crate) use self::End::{Client, Server};

pub(crate) const S: Flags = Flags::SYN;
pub(crate) const SA: Flags = Flags::SYN.union(Flags::ACK);
pub(crate) const A: Flags = Flags::ACK;
pub(crate) const FA: Flags = Flags::FIN.union(Flags::ACK);
pub(crate) const R: Flags = Flags::RST;
pub(crate) const RA: Flags = Flags::RST.union(Flags::ACK);

impl Talk {
    pub(crate) fn new() -> Self {
        let writer =
            CaptureWriter::new(Vec::new(), CaptureFormat::Pcap(TimestampUnit::Micros)).unwrap();
        Talk { writer, now_ns: 1_700_000_000_000_000_000, vlan: None, last: Default::default() }
    }

    /// Adds a segment, a millisecond after the one before.
    pub(crate) fn say(mut self, from: End, flags: Flags, seq: u32, ack: u32, payload: u32) -> Self {
        self.now_ns += 1_000_000;
        let (c, s) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let (src, dst) = if from == Client { (c, s) } else { (s, c) };
        let ip = IpRepr::V4(Ipv4Repr {
            src,
            dst,
            traffic_class: 0,
            id: 7,
            dont_fragment: true,
            ttl: 64,
        });
        let (src_port, dst_port) = if from == Client { (1000, 80) } else { (80, 1000) };
        let tcp =
            TcpRepr { src_port, dst_port, seq, ack, flags, window: 65_000, ..TcpRepr::default() };
        let mut octets = Vec::new();
        EthernetRepr { src: [2; 6], dst: [4; 6], vlan: self.vlan }.emit(&ip, &mut octets);
        let link_len = octets.len() as u32;
        let wire_len = link_len
            + emit_packet(&ip, &tcp, Payload::Omitted { len: payload, octet: 0 }, &mut octets);
        self.writer.write(self.now_ns, wire_len, &octets).unwrap();
        self.last = (octets, wire_len);
        self
    }

    /// Adds the last segment again, `microseconds` later and with another time to live.
    pub(crate) fn routed(mut self, microseconds: i64) -> Self {
        let (octets, wire_len) = &mut self.last;
        octets[14 + 8] -= 1;
        self.writer.write(self.now_ns + microseconds * 1000, *wire_len, octets).unwrap();
        self
    }

    /// Adds the following segments with a VLAN tag.
    pub(crate) fn on_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    pub(crate) fn pause(mut self, seconds: i64) -> Self {
        self.now_ns += seconds * 1_000_000_000;
        self
    }

    /// Adds a handshake with the initial sequence numbers 100 and 500.
    pub(crate) fn handshake(self) -> Self {
        self.say(Client, S, 100, 0, 0).say(Server, SA, 500, 101, 0).say(Client, A, 101, 501, 0)
    }

    /// Adds the FINs of both, at these sequence numbers, and their acknowledgments.
    pub(crate) fn close(self, client: u32, server: u32) -> Self {
        self.say(Client, FA, client, server, 0)
            .say(Server, FA, server, client.wrapping_add(1), 0)
            .say(Client, A, client.wrapping_add(1), server.wrapping_add(1), 0)
    }

    pub(crate) fn octets(self) -> Vec<u8> {
        self.writer.into_inner()
    }

    /// Tracks the segments. Fails unless tshark agrees about conversations, packets and
    /// completeness.
    pub(crate) fn tracked(self) -> Tracked {
        let octets = self.octets();
        let tracked = track(&octets, TrackerOptions::default());
        if let Some(theirs) = wireshark(&octets) {
            let ours: Vec<_> = tracked
                .records
                .iter()
                .map(|r| (r.first_frame, r.packets, r.completeness_before_last.bits()))
                .collect();
            assert_eq!(ours, theirs, "ours and Wireshark's (first frame, packets, completeness)");
        }
        tracked
    }
}

/// Conversations of a capture, in order of first packets.
pub(crate) struct Tracked {
    pub(crate) ended: Vec<FinishedConversation>,
    pub(crate) records: Vec<ConversationSummary>,
}

impl Tracked {
    /// Returns the class of each conversation, and the parts that it misses or has beyond a session.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        let line = |e: &FinishedConversation| {
            let surplus = e.verdict.surplus.iter().map(ToString::to_string);
            let missing: Vec<String> =
                e.verdict.missing.iter().map(ToString::to_string).chain(surplus).collect();
            if missing.is_empty() {
                e.verdict.class.name().to_owned()
            } else {
                format!("{}: {}", e.verdict.class.name(), missing.join("; "))
            }
        };
        self.ended.iter().map(line).collect()
    }

    pub(crate) fn packets(&self) -> Vec<u64> {
        self.records.iter().map(|r| r.packets).collect()
    }
}

pub(crate) fn track(capture: &[u8], options: TrackerOptions) -> Tracked {
    let mut reader = FlowReader::new(capture, options).unwrap();
    let mut ended: Vec<FinishedConversation> = reader.by_ref().map(Result::unwrap).collect();
    let (mut tracker, _) = reader.into_parts();
    ended.sort_by_key(|e| e.id);
    let mut records: Vec<ConversationSummary> = tracker.drain_forgotten().collect();
    records.extend(tracker.summaries());
    records.sort_by_key(|r| r.id);
    Tracked { ended, records }
}

/// Returns tshark's conversations as (first frame, packets, completeness). `None`, with a message,
/// if tshark is not installed.
pub(crate) fn wireshark(capture: &[u8]) -> Option<Vec<(u64, u64, u8)>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture).unwrap();
    let fields = ["-e", "frame.number", "-e", "tcp.stream", "-e", "tcp.completeness"];
    let output = Command::new("tshark")
        .args(["-n", "-Y", "tcp.stream", "-d", "tcp.port==0-65535,data", "-T", "fields", "-r"])
        .arg(file.path())
        .args(fields)
        .output();
    let Ok(output) = output else {
        skipped("tshark is not installed: not compared with it");
        return None;
    };
    let mut streams: Vec<(u64, u64, u8)> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let cells: Vec<u64> = line.split('\t').map(|cell| cell.parse().unwrap()).collect();
        let stream = cells[1] as usize;
        if stream == streams.len() {
            streams.push((cells[0], 0, 0));
        }
        streams[stream].1 += 1;
        streams[stream].2 |= cells[2] as u8;
    }
    Some(streams)
}

/// Reports on stderr that part of a test was skipped.
#[expect(clippy::print_stderr, reason = "a message to the person who runs the tests")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
