//! From a frame to its innermost TCP header, as Wireshark 4.0 dissects: link layers, tunnels, IP,
//! fragments.
//!
//! ```
//! use tcpwire::{Dissector, Frame, LinkType, TimestampResolution};
//!
//! // IPv4, 10.0.0.1:1 to 10.0.0.2:2, SYN.
//! let octets = [
//!     0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, //
//!     0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
//! ];
//! let frame = Frame {
//!     number: 1,
//!     time_ns: 0,
//!     resolution: TimestampResolution::Micros,
//!     orig_len: 40,
//!     link: LinkType::RAW,
//!     data: &octets,
//! };
//! let mut dissector = Dissector::default();
//! let segment = dissector.dissect(&frame).expect("it holds a TCP header");
//! assert_eq!(segment.tcp.dst_port, 2);
//! assert_eq!(segment.payload_len, Some(0));
//! ```

mod fast_path;
mod fragments;
mod ieee80211;
mod ip;
mod ipcomp;
mod layers;
mod span;
mod tcp;

use std::fmt;

use bitflags::bitflags;

pub(crate) use span::Span;

use crate::{Flags, Frame, IpRepr, LinkType, SeqNum, TimestampResolution};
use fragments::{Fragment, FragmentTable};

/// A TCP header as it was captured, and the innermost IP header before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Innermost IP header, the last before the TCP header.
    pub ip: IpRepr,
    /// Fields of the TCP header.
    pub tcp: TcpView<'a>,
    /// Payload length by the IP header, in octets, captured or not. `None` if it cannot be known:
    /// in a fragment that is not reassembled, in an ICMP error's quotation, and where the IP length
    /// leaves no room for the whole TCP header.
    pub payload_len: Option<u32>,
    /// Properties that the other fields do not express.
    pub quirks: PacketQuirks,
}

/// The fields of a TCP header, options borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpView<'a> {
    /// Port of the sender.
    pub src_port: u16,
    /// Port of the receiver.
    pub dst_port: u16,
    /// Sequence number of the first payload octet, or of the SYN.
    pub seq: SeqNum,
    /// Acknowledgment number, with or without the ACK flag.
    pub ack: SeqNum,
    /// Header length by the data offset, in octets: 0 to 60, of which those under 20 are invalid.
    pub header_len: u8,
    /// Control bits and reserved bits.
    pub flags: Flags,
    /// Receive window as the header has it, not scaled (RFC 7323, section 2).
    pub window: u16,
    /// Checksum, right or wrong; 0 if it was not captured.
    pub checksum: u16,
    /// Urgent pointer, with or without the URG flag; 0 if it was not captured.
    pub urgent: u16,
    /// Option octets that were captured.
    pub options: &'a [u8],
}

bitflags! {
    /// Properties of a captured segment that the other fields of its [`Segment`] do not express:
    /// headers outside the innermost IP header, malformed lengths, incomplete captures. Wireshark
    /// reports such properties as expert info, Zeek as weirds.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PacketQuirks: u16 {
        /// An IEEE 802.1Q, 802.1ad or 802.1ah tag before the IP header.
        const VLAN = 1;
        /// An MPLS label stack (RFC 3032) before the IP header.
        const MPLS = 1 << 1;
        /// A PPPoE header (RFC 2516) before the IP header.
        const PPPOE = 1 << 2;
        /// Tunnel: an outer IP header of the same version.
        const TUNNEL = 1 << 3;
        /// Tunnel: an outer IP header of the other version.
        const TUNNEL_OTHER_VERSION = 1 << 4;
        /// Options in the innermost IPv4 header.
        const IP_OPTIONS = 1 << 5;
        /// Extension headers after the innermost IP header: IPv6's own, AH or IPComp.
        const IPV6_EXTENSION = 1 << 6;
        /// IP fragments: the segment was reassembled, or is the first fragment alone.
        const FRAGMENTED = 1 << 7;
        /// Quotation in an ICMP error: the segment was not sent at this point of the capture.
        const QUOTED = 1 << 8;
        /// A TCP header that was captured in part.
        const HEADER_CUT = 1 << 9;
        /// A data offset under 5, or an IP payload that ends before the TCP header does.
        const BAD_LENGTH = 1 << 10;
        /// The reserved bit of the IPv4 flags (RFC 791, section 3.1) is set.
        const IPV4_RESERVED = 1 << 11;
        /// An IPv4 total length of 0, as captures show segmentation offload: the frame's length is
        /// used.
        const NO_IP_LENGTH = 1 << 12;
        /// An invalid capture time ([`TimestampResolution::Invalid`]).
        const INVALID_TIME = 1 << 13;
    }
}

impl PacketQuirks {
    /// Text of each quirk for summaries, in order of bits.
    const DESCRIPTIONS: [(PacketQuirks, &'static str); 14] = [
        (PacketQuirks::VLAN, "VLAN tag"),
        (PacketQuirks::MPLS, "MPLS label"),
        (PacketQuirks::PPPOE, "PPPoE header"),
        (PacketQuirks::TUNNEL, "tunnel header"),
        (PacketQuirks::TUNNEL_OTHER_VERSION, "tunnel in the other IP version"),
        (PacketQuirks::IP_OPTIONS, "IPv4 options"),
        (PacketQuirks::IPV6_EXTENSION, "IP extension header"),
        (PacketQuirks::FRAGMENTED, "IP fragments"),
        (PacketQuirks::QUOTED, "header quoted in an ICMP error"),
        (PacketQuirks::HEADER_CUT, "TCP header cut by the snap length"),
        (PacketQuirks::BAD_LENGTH, "TCP header length wrong"),
        (PacketQuirks::IPV4_RESERVED, "IPv4 reserved bit"),
        (PacketQuirks::NO_IP_LENGTH, "IPv4 total length 0"),
        (PacketQuirks::INVALID_TIME, "wrong time"),
    ];

    /// Returns the texts of the quirks in the set, for summaries, in order of bits.
    pub fn descriptions(self) -> impl Iterator<Item = &'static str> {
        let all = PacketQuirks::DESCRIPTIONS.into_iter();
        all.filter(move |(quirk, _)| self.contains(*quirk)).map(|(_, text)| text)
    }
}

/// Reason why a frame gives no segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SkipReason {
    /// IP with another protocol than TCP.
    NotTcp,
    /// Neither IP nor a header that may have IP after it.
    NotIp,
    /// A link type that is not supported.
    LinkType,
    /// The capture ends before the TCP header's window.
    CutBeforeTcp,
    /// An IP header that contradicts itself.
    BadIp,
    /// A fragment whose datagram is not complete yet, or never becomes so.
    Fragment,
    /// More headers than are followed.
    TooDeep,
}

impl SkipReason {
    /// All reasons, in order of their discriminants.
    pub const ALL: [SkipReason; 7] = [
        SkipReason::NotTcp,
        SkipReason::NotIp,
        SkipReason::LinkType,
        SkipReason::CutBeforeTcp,
        SkipReason::BadIp,
        SkipReason::Fragment,
        SkipReason::TooDeep,
    ];

    /// Returns the reason as text for summaries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SkipReason::NotTcp => "IP without TCP",
            SkipReason::NotIp => "not IP",
            SkipReason::LinkType => "link type not read",
            SkipReason::CutBeforeTcp => "cut before the TCP header",
            SkipReason::BadIp => "malformed IP header",
            SkipReason::Fragment => "fragment without the others",
            SkipReason::TooDeep => "too many layers",
        }
    }

    /// Reports whether the frame may have a TCP segment that is lost with it.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        !matches!(self, SkipReason::NotTcp | SkipReason::NotIp)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Header to be read next in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layer {
    Ethernet,
    /// Header of a protocol by its EtherType.
    EtherType(u16),
    /// 802.2 logical link control.
    Llc,
    /// IP of either version.
    Ip,
    /// Header of a protocol by its IP protocol number.
    IpProtocol(u8),
    Ppp,
    Mpls,
}

/// Facts from the headers read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context {
    quirks: PacketQuirks,
    /// Innermost IP header so far.
    ip: Option<IpRepr>,
    /// Whether the IP payload is a first fragment that is not reassembled.
    partial: bool,
}

/// Largest number of headers that are read in a frame.
const MAX_LAYERS: usize = 40;

/// Finds the innermost TCP header of frames. Buffers IP fragments until their datagram is complete.
#[derive(Default)]
pub struct Dissector {
    fragments: FragmentTable,
    /// IP payload that was reassembled or decompressed last.
    rebuilt: Vec<u8>,
}

impl Dissector {
    /// Returns the innermost TCP header of `frame`.
    ///
    /// # Errors
    /// If there is no TCP header, or none that can be read: the reason.
    #[inline]
    pub fn dissect<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, SkipReason> {
        let plain = (frame.link == LinkType::ETHERNET
            && frame.resolution != TimestampResolution::Invalid)
            .then(|| fast_path::read(frame.data, frame.orig_len, Segment::clone));
        match plain.flatten() {
            Some(segment) => Ok(segment),
            None => self.dissect_any(frame),
        }
    }

    /// Calls `f` with the innermost TCP header of `frame`. Like [`dissect`](Self::dissect), for
    /// loops in which every nanosecond counts: a segment returned through `Result` is copied in
    /// memory, which takes as long as everything else.
    ///
    /// # Errors
    /// If there is no TCP header, or none that can be read: the reason. `f` is not called then.
    #[inline]
    pub fn dissect_with<T>(
        &mut self,
        frame: &Frame<'_>,
        mut f: impl FnMut(&Segment<'_>) -> T,
    ) -> Result<T, SkipReason> {
        if frame.link == LinkType::ETHERNET
            && frame.resolution != TimestampResolution::Invalid
            && let Some(result) = fast_path::read(frame.data, frame.orig_len, &mut f)
        {
            return Ok(result);
        }
        self.dissect_any(frame).map(|segment| f(&segment))
    }

    /// Reads header by header, whatever they are.
    #[inline(never)]
    fn dissect_any<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, SkipReason> {
        let (layer, span) = layers::begin(frame.link, Span::new(frame.data, frame.orig_len))?;
        let wrong_time = if frame.resolution == TimestampResolution::Invalid {
            PacketQuirks::INVALID_TIME
        } else {
            PacketQuirks::default()
        };
        let begin = Context { quirks: wrong_time, ..Context::default() };
        let (protocol, context) = match descend(layer, span, begin)? {
            Outcome::Segment(segment) => return Ok(segment),
            Outcome::Fragment(fragment, context) => {
                self.rebuilt = self.fragments.insert(&fragment).ok_or(SkipReason::Fragment)?;
                (fragment.key.protocol, context)
            }
            Outcome::Compressed(protocol, octets, context) => {
                self.rebuilt = ipcomp::inflate(octets).ok_or(SkipReason::NotTcp)?;
                (protocol, context)
            }
        };
        let rebuilt = Span::new(&self.rebuilt, self.rebuilt.len() as u32);
        match descend(Layer::IpProtocol(protocol), rebuilt, context)? {
            Outcome::Segment(segment) => Ok(segment),
            // A payload is rebuilt at most once for a frame.
            Outcome::Fragment(..) => Err(SkipReason::Fragment),
            Outcome::Compressed(..) => Err(SkipReason::NotTcp),
        }
    }

    /// Returns the number of fragments that wait for the rest of their datagram.
    #[must_use]
    pub fn waiting_fragments(&self) -> usize {
        self.fragments.len()
    }
}

/// Result of reading the headers of a frame, or of a rebuilt payload.
enum Outcome<'a> {
    Segment(Segment<'a>),
    Fragment(Fragment<'a>, Context),
    /// Compressed IP payload, after the protocol number of the payload.
    Compressed(u8, &'a [u8], Context),
}

/// Reads header by header down to TCP, or to a payload that has to be rebuilt first.
fn descend<'a>(
    mut layer: Layer,
    mut span: Span<'a>,
    mut context: Context,
) -> Result<Outcome<'a>, SkipReason> {
    for _ in 0..MAX_LAYERS {
        (layer, span) = match layer {
            Layer::IpProtocol(tcp::PROTOCOL) => {
                return tcp::read(span, context).map(Outcome::Segment);
            }
            Layer::IpProtocol(ipcomp::PROTOCOL) => return ipcomp::read(span, context),
            Layer::Ip => match ip::read(span, &mut context)? {
                ip::Payload::Whole(protocol, rest) => (Layer::IpProtocol(protocol), rest),
                ip::Payload::Fragment(fragment) => return Ok(Outcome::Fragment(fragment, context)),
            },
            _ => layers::step(layer, span, &mut context)?,
        };
    }
    Err(SkipReason::TooDeep)
}
