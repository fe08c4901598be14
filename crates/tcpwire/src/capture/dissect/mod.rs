//! Frames down to their innermost TCP header, as Wireshark 4.0 goes: link layers, tunnels, IP,
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
//! let frame = Frame { number: 1, time_ns: 0, resolution: TimestampResolution::Micros, orig_len: 40, link: LinkType::RAW, data: &octets };
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
use fragments::Fragments;

/// A TCP header as it was captured, and the innermost IP header above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// The innermost IP header.
    pub ip: IpRepr,
    /// The TCP header.
    pub tcp: TcpView<'a>,
    /// Payload octets by the IP header, captured or not. `None` where that can not be known: in a
    /// fragment that is not reassembled, in an ICMP error's quotation, and where IP leaves no room
    /// for the whole header.
    pub payload_len: Option<u32>,
    /// What stands around or inside it that the other fields do not say.
    pub quirks: PacketQuirks,
}

/// The fields of a TCP header, options borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpView<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: SeqNum,
    /// Acknowledgment number, with or without the ACK flag.
    pub ack: SeqNum,
    /// Header length in octets by the data offset: 0 to 60. Under 20 it is wrong.
    pub header_len: u8,
    /// Reserved bits and flags.
    pub flags: Flags,
    /// Window, unscaled.
    pub window: u16,
    /// Checksum; 0 where it was not captured.
    pub checksum: u16,
    /// Urgent pointer; 0 where it was not captured.
    pub urgent: u16,
    /// The option octets that were captured.
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

/// Why a frame gives no segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SkipReason {
    /// IP, but another protocol than TCP.
    NotTcp,
    /// Neither IP nor anything that is opened to look for IP.
    NotIp,
    /// A link type that is not read.
    LinkType,
    /// The capture ends before the TCP header's window.
    CutBeforeTcp,
    /// An IP header that contradicts itself.
    BadIp,
    /// A fragment other than the last to come, or without its others.
    Fragment,
    /// Layers within layers, too many to follow.
    TooDeep,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 7] = [
        SkipReason::NotTcp,
        SkipReason::NotIp,
        SkipReason::LinkType,
        SkipReason::CutBeforeTcp,
        SkipReason::BadIp,
        SkipReason::Fragment,
        SkipReason::TooDeep,
    ];

    /// Its name, for a summary.
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

    /// Whether the frame may have held TCP that was lost by not reading it.
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

/// What comes next in a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layer {
    Ethernet,
    EtherType(u16),
    /// 802.2 logical link control.
    Llc,
    Ip,
    IpProtocol(u8),
    Ppp,
    Mpls,
}

/// What the layers so far have left behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context {
    quirks: PacketQuirks,
    ip: Option<IpRepr>,
    /// The IP payload is an unreassembled first fragment.
    partial: bool,
}

/// How many layers are followed before a frame is given up.
const MAX_LAYERS: usize = 40;

/// Finds the TCP header of frames. Holds the fragments that wait for others.
#[derive(Default)]
pub struct Dissector {
    fragments: Fragments,
    /// A payload put together from fragments, or decompressed.
    made: Vec<u8>,
}

impl Dissector {
    /// The innermost TCP header of `frame`.
    ///
    /// # Errors
    /// With the reason where there is none, or none that can be read.
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

    /// Has `take` see the innermost TCP header of `frame`. The same as [`dissect`](Self::dissect),
    /// for loops in which every nanosecond counts: a segment that is handed through `Result` is
    /// copied in memory, which takes as long as all the rest.
    ///
    /// # Errors
    /// With the reason where there is none, or none that can be read; `take` was not called then.
    #[inline]
    pub fn dissect_with<T>(
        &mut self,
        frame: &Frame<'_>,
        mut take: impl FnMut(&Segment<'_>) -> T,
    ) -> Result<T, SkipReason> {
        if frame.link == LinkType::ETHERNET
            && frame.resolution != TimestampResolution::Invalid
            && let Some(taken) = fast_path::read(frame.data, frame.orig_len, &mut take)
        {
            return Ok(taken);
        }
        self.dissect_any(frame).map(|segment| take(&segment))
    }

    /// Layer by layer, whatever they are.
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
            Found::Segment(segment) => return Ok(segment),
            Found::Fragment(piece, context) => {
                self.made = self.fragments.add(&piece).ok_or(SkipReason::Fragment)?;
                (piece.key.protocol, context)
            }
            Found::Compressed(protocol, octets, context) => {
                self.made = ipcomp::inflate(octets).ok_or(SkipReason::NotTcp)?;
                (protocol, context)
            }
        };
        let made = Span::new(&self.made, self.made.len() as u32);
        match descend(Layer::IpProtocol(protocol), made, context)? {
            Found::Segment(segment) => Ok(segment),
            // What is made of a frame is not followed into another such making.
            Found::Fragment(..) => Err(SkipReason::Fragment),
            Found::Compressed(..) => Err(SkipReason::NotTcp),
        }
    }

    /// Fragments that wait for others now.
    #[must_use]
    pub fn waiting_fragments(&self) -> usize {
        self.fragments.len()
    }
}

/// Where the layers of a frame lead.
enum Found<'a> {
    Segment(Segment<'a>),
    Fragment(fragments::Piece<'a>, Context),
    Compressed(u8, &'a [u8], Context),
}

fn descend<'a>(
    mut layer: Layer,
    mut span: Span<'a>,
    mut context: Context,
) -> Result<Found<'a>, SkipReason> {
    for _ in 0..MAX_LAYERS {
        (layer, span) = match layer {
            Layer::IpProtocol(tcp::PROTOCOL) => {
                return tcp::read(span, context).map(Found::Segment);
            }
            Layer::IpProtocol(ipcomp::PROTOCOL) => return ipcomp::read(span, context),
            Layer::Ip => match ip::read(span, &mut context)? {
                ip::Payload::Whole(protocol, rest) => (Layer::IpProtocol(protocol), rest),
                ip::Payload::Fragment(piece) => return Ok(Found::Fragment(piece, context)),
            },
            _ => layers::step(layer, span, &mut context)?,
        };
    }
    Err(SkipReason::TooDeep)
}
