//! Frames down to their innermost TCP header, as Wireshark 4.0 goes: link layers, tunnels, IP,
//! fragments.
//!
//! ```
//! use tcpwire::{Dissector, Frame, LinkType, TimeStep};
//!
//! // IPv4, 10.0.0.1:1 to 10.0.0.2:2, SYN.
//! let octets = [
//!     0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, //
//!     0, 1, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
//! ];
//! let frame = Frame { number: 1, time_ns: 0, step: TimeStep::Micro, orig_len: 40, link: LinkType::RAW, data: &octets };
//! let mut dissector = Dissector::default();
//! let segment = dissector.dissect(&frame).expect("it holds a TCP header");
//! assert_eq!(segment.tcp.dst_port, 2);
//! assert_eq!(segment.payload_len, Some(0));
//! ```

mod compressed;
mod fragments;
mod ip;
mod layers;
mod plain;
mod span;
mod tcp;
mod wireless;

use std::fmt;

pub(crate) use span::Span;

use crate::{Flags, Frame, IpRepr, LinkType, SeqNum, TimeStep};
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
    pub marks: Marks,
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

/// What a segment carries that its [`Segment`] does not hold: a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Marks(pub u16);

impl Marks {
    /// An 802.1Q, 802.1ad or 802.1ah tag before the IP header.
    pub const VLAN: Marks = Marks(1);
    /// An MPLS label stack before the IP header.
    pub const MPLS: Marks = Marks(1 << 1);
    /// A PPPoE header before the IP header.
    pub const PPPOE: Marks = Marks(1 << 2);
    /// A tunnel: another IP header of the same version before this one.
    pub const TUNNEL: Marks = Marks(1 << 3);
    /// A tunnel: an IP header of the other version before this one.
    pub const TUNNEL_OTHER_VERSION: Marks = Marks(1 << 4);
    /// Options in the innermost IPv4 header.
    pub const IP_OPTIONS: Marks = Marks(1 << 5);
    /// Extension headers after the innermost IP header: IPv6's own, AH, IPComp.
    pub const IPV6_EXTENSION: Marks = Marks(1 << 6);
    /// It came in fragments: reassembled, or the first of them.
    pub const FRAGMENTED: Marks = Marks(1 << 7);
    /// Quoted in an ICMP error, not sent as such.
    pub const QUOTED: Marks = Marks(1 << 8);
    /// The TCP header was not captured whole.
    pub const HEADER_CUT: Marks = Marks(1 << 9);
    /// The data offset is under 5, or the IP payload ends before the TCP header does.
    pub const BAD_LENGTH: Marks = Marks(1 << 10);
    /// The reserved bit of the IPv4 flags is set.
    pub const IPV4_RESERVED: Marks = Marks(1 << 11);
    /// An IPv4 total length of 0 (segmentation offload): the length is the frame's.
    pub const NO_IP_LENGTH: Marks = Marks(1 << 12);

    /// The capture's time for it is wrong.
    pub const WRONG_TIME: Marks = Marks(1 << 13);

    /// Every mark with its name, in order of bits.
    pub const ALL: [(Marks, &'static str); 14] = [
        (Marks::VLAN, "VLAN tag"),
        (Marks::MPLS, "MPLS label"),
        (Marks::PPPOE, "PPPoE header"),
        (Marks::TUNNEL, "tunnel header"),
        (Marks::TUNNEL_OTHER_VERSION, "tunnel in the other IP version"),
        (Marks::IP_OPTIONS, "IPv4 options"),
        (Marks::IPV6_EXTENSION, "IP extension header"),
        (Marks::FRAGMENTED, "IP fragments"),
        (Marks::QUOTED, "header quoted in an ICMP error"),
        (Marks::HEADER_CUT, "TCP header cut by the snap length"),
        (Marks::BAD_LENGTH, "TCP header length wrong"),
        (Marks::IPV4_RESERVED, "IPv4 reserved bit"),
        (Marks::NO_IP_LENGTH, "IPv4 total length 0"),
        (Marks::WRONG_TIME, "wrong time"),
    ];

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// Whether a mark of `any` is set.
    #[must_use]
    pub const fn any(self, any: Marks) -> bool {
        self.0 & any.0 != 0
    }

    /// The marks that are set, with their names.
    pub fn iter(self) -> impl Iterator<Item = (Marks, &'static str)> {
        Marks::ALL.into_iter().filter(move |(mark, _)| self.any(*mark))
    }
}

/// Why a frame gives no segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Skip {
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

impl Skip {
    /// Every reason.
    pub const ALL: [Skip; 7] = [
        Skip::NotTcp,
        Skip::NotIp,
        Skip::LinkType,
        Skip::CutBeforeTcp,
        Skip::BadIp,
        Skip::Fragment,
        Skip::TooDeep,
    ];

    /// Its name, for a summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Skip::NotTcp => "IP without TCP",
            Skip::NotIp => "not IP",
            Skip::LinkType => "link type not read",
            Skip::CutBeforeTcp => "cut before the TCP header",
            Skip::BadIp => "malformed IP header",
            Skip::Fragment => "fragment without the others",
            Skip::TooDeep => "too many layers",
        }
    }

    /// Whether the frame may have held TCP that was lost by not reading it.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        !matches!(self, Skip::NotTcp | Skip::NotIp)
    }
}

impl fmt::Display for Skip {
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
    marks: Marks,
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
    pub fn dissect<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        let plain = (frame.link == LinkType::ETHERNET && frame.step != TimeStep::Wrong)
            .then(|| plain::read(frame.data, frame.orig_len, Segment::clone));
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
    ) -> Result<T, Skip> {
        if frame.link == LinkType::ETHERNET
            && frame.step != TimeStep::Wrong
            && let Some(taken) = plain::read(frame.data, frame.orig_len, &mut take)
        {
            return Ok(taken);
        }
        self.dissect_any(frame).map(|segment| take(&segment))
    }

    /// Layer by layer, whatever they are.
    #[inline(never)]
    fn dissect_any<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        let (layer, span) = layers::begin(frame.link, Span::new(frame.data, frame.orig_len))?;
        let wrong_time =
            if frame.step == TimeStep::Wrong { Marks::WRONG_TIME } else { Marks::default() };
        let begin = Context { marks: wrong_time, ..Context::default() };
        let (protocol, context) = match descend(layer, span, begin)? {
            Found::Segment(segment) => return Ok(segment),
            Found::Fragment(piece, context) => {
                self.made = self.fragments.add(&piece).ok_or(Skip::Fragment)?;
                (piece.key.protocol, context)
            }
            Found::Compressed(protocol, octets, context) => {
                self.made = compressed::inflate(octets).ok_or(Skip::NotTcp)?;
                (protocol, context)
            }
        };
        let made = Span::new(&self.made, self.made.len() as u32);
        match descend(Layer::IpProtocol(protocol), made, context)? {
            Found::Segment(segment) => Ok(segment),
            // What is made of a frame is not followed into another such making.
            Found::Fragment(..) => Err(Skip::Fragment),
            Found::Compressed(..) => Err(Skip::NotTcp),
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
) -> Result<Found<'a>, Skip> {
    for _ in 0..MAX_LAYERS {
        (layer, span) = match layer {
            Layer::IpProtocol(tcp::PROTOCOL) => {
                return tcp::read(span, context).map(Found::Segment);
            }
            Layer::IpProtocol(compressed::PROTOCOL) => return compressed::read(span, context),
            Layer::Ip => match ip::read(span, &mut context)? {
                ip::Payload::Whole(protocol, rest) => (Layer::IpProtocol(protocol), rest),
                ip::Payload::Fragment(piece) => return Ok(Found::Fragment(piece, context)),
            },
            _ => layers::step(layer, span, &mut context)?,
        };
    }
    Err(Skip::TooDeep)
}
