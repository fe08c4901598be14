//! The verdict on a flow, from its packets.

use std::net::IpAddr;

use tcpwire::{IpRepr, Ipv4Repr, Ipv6Repr, PacketQuirks, Segment, Tags, TcpView};

use super::{Tracker, TrackerOptions, Verdict};
use crate::{Completeness, Direction, Flow, Packet};

impl Flow {
    /// Returns the verdict and Wireshark's completeness bits that a [`Tracker`] gives the packets.
    /// `None` if the packets are not a single conversation to the tracker: no packets at all,
    /// endpoints that are the same, or a SYN in the middle that begins another conversation.
    #[must_use]
    pub fn verdict(&self) -> Option<(Verdict, Completeness)> {
        // Nothing is exported before the end, so that every packet counts for the verdict.
        let options = TrackerOptions { linger_octets: usize::MAX, ..TrackerOptions::default() };
        let mut tracker = Tracker::new(options);
        for (i, packet) in self.packets.iter().enumerate() {
            tracker.push(packet.time_ns, i as u64 + 1, &self.segment(packet)?);
            if i == 0 {
                tracker.presume_client(packet.direction);
            }
        }
        tracker.finish();
        let completeness =
            tracker.summaries().next().filter(|_| tracker.conversation_count() == 1)?.completeness;
        let verdict = tracker.drain_finished().next()?.verdict;
        Some((verdict, completeness))
    }

    /// Returns a packet with its endpoints as a segment; `None` if the endpoints are of different
    /// IP versions.
    fn segment(&self, packet: &Packet) -> Option<Segment<'_>> {
        let (from, to) = match packet.direction {
            Direction::Forward => (&self.client, &self.server),
            Direction::Reverse => (&self.server, &self.client),
        };
        let options = self.options_of(packet);
        let tcp = TcpView {
            src_port: from.port,
            dst_port: to.port,
            seq: packet.seq,
            ack: packet.ack,
            header_len: 20 + packet.options.len,
            flags: packet.flags,
            window: packet.window,
            checksum: 0,
            urgent: packet.urgent,
            options,
        };
        Some(Segment {
            ip: ip(packet, from.addr, to.addr)?,
            tcp,
            payload_len: Some(packet.payload_len),
            quirks: PacketQuirks::empty(),
            tags: Tags::default(),
        })
    }
}

/// Returns the IP header of a packet.
fn ip(packet: &Packet, src: IpAddr, dst: IpAddr) -> Option<IpRepr> {
    let Packet { traffic_class, ttl, flow_label, ip_id, dont_fragment, .. } = *packet;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Some(IpRepr::V4(Ipv4Repr { src, dst, traffic_class, id: ip_id, dont_fragment, ttl }))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Some(IpRepr::V6(Ipv6Repr { src, dst, traffic_class, flow_label, hop_limit: ttl }))
        }
        _ => None,
    }
}
