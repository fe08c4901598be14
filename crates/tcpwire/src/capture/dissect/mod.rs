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
//!     interface: 0,
//!     data: &octets,
//! };
//! let mut dissector = Dissector::default();
//! let segment = dissector.dissect(&frame).expect("it holds a TCP header");
//! assert_eq!(segment.tcp.dst_port, 2);
//! assert_eq!(segment.payload_len, Some(0));
//! ```

mod ether;
mod fast_path;
mod fragments;
mod ieee80211;
mod ip;
mod ipcomp;
mod layer;
mod link_header;
mod quirks;
mod skip_reason;
mod span;
mod tags;
mod tcp;
mod tunnel;

use std::collections::BTreeMap;

pub use self::layer::HeaderRow;
pub use self::quirks::PacketQuirks;
pub use self::skip_reason::SkipReason;

pub(crate) use span::Span;
pub use tags::Tags;

use crate::{Flags, Frame, IpRepr, SeqNum, TimestampResolution};
use fragments::{Fragment, FragmentTable};
use layer::{Context, Layer};

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
    /// Interface, and the networks that tags and tunnels before the IP header name.
    pub tags: Tags,
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

/// Largest number of headers that are read in a frame.
const MAX_LAYERS: usize = 40;

/// Finds the innermost TCP header of frames. Buffers IP fragments until their datagram is complete.
#[derive(Default)]
pub struct Dissector {
    fragments: FragmentTable,
    /// IP payload that was reassembled or decompressed last.
    rebuilt: Vec<u8>,
    /// UDP ports of VXLAN besides the usual ones.
    vxlan_ports: Vec<u16>,
}

impl Dissector {
    /// Link types that are read.
    pub const LINK_TYPES: &[HeaderRow] = link_header::LINK_TYPES;
    /// EtherTypes that are read.
    pub const ETHER_TYPES: &[HeaderRow] = ether::ETHER_TYPES;
    /// IP protocols that are read.
    pub const IP_PROTOCOLS: &[HeaderRow] = tunnel::IP_PROTOCOLS;
    /// UDP ports whose datagrams are read as tunnels.
    pub const UDP_PORTS: &[HeaderRow] = tunnel::UDP_PORTS;

    /// Creates a dissector that reads datagrams to these UDP ports as VXLAN, besides the usual
    /// ones.
    #[must_use]
    pub fn with_vxlan_ports(ports: &[u16]) -> Dissector {
        Dissector { vxlan_ports: ports.to_vec(), ..Dissector::default() }
    }

    /// Returns the innermost TCP header of `frame`.
    ///
    /// # Errors
    /// If there is no TCP header, or none that can be read: the reason.
    #[inline]
    pub fn dissect<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, SkipReason> {
        match fast_path::read(frame, Segment::clone) {
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
        if let Some(result) = fast_path::read(frame, &mut f) {
            return Ok(result);
        }
        self.dissect_any(frame).map(|segment| f(&segment))
    }

    /// Reads header by header, whatever they are.
    #[inline(never)]
    fn dissect_any<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, SkipReason> {
        let quirks = if frame.resolution == TimestampResolution::Invalid {
            PacketQuirks::INVALID_TIME
        } else {
            PacketQuirks::default()
        };
        let tags = Tags::on(frame);
        let begin = Context { quirks, tags, vxlan_ports: &self.vxlan_ports, ..Context::default() };
        let span = Span::new(frame.data, frame.orig_len);
        let (protocol, context) = match descend(Layer::Link(frame.link), span, begin)? {
            Outcome::Segment(segment) => return Ok(segment),
            Outcome::Fragment(_, context) if context.quirks.intersects(PacketQuirks::QUOTED) => {
                return Err(SkipReason::NotTcp);
            }
            Outcome::Fragment(fragment, context) => {
                self.rebuilt = self.fragments.insert(&fragment).ok_or(SkipReason::Fragment)?;
                (fragment.key.protocol, context)
            }
            Outcome::Compressed(protocol, octets, context) => {
                let inflated = ipcomp::inflate(octets);
                self.rebuilt = inflated.ok_or(SkipReason::IpProtocol(ipcomp::PROTOCOL))?;
                (protocol, context)
            }
        };
        let rebuilt = Span::new(&self.rebuilt, self.rebuilt.len() as u32);
        match descend(Layer::IpProtocol(protocol), rebuilt, context)? {
            Outcome::Segment(segment) => Ok(segment),
            // A payload is rebuilt at most once for a frame.
            Outcome::Fragment(fragment, _) => Err(SkipReason::LostFragment(fragment.key.protocol)),
            Outcome::Compressed(..) => Err(SkipReason::IpProtocol(ipcomp::PROTOCOL)),
        }
    }

    /// Returns the number of fragments that wait for the rest of their datagram.
    #[must_use]
    pub fn waiting_fragments(&self) -> usize {
        self.fragments.len()
    }

    /// Returns the number of frames that were skipped as [`SkipReason::Fragment`] and whose
    /// datagram is not complete so far, by IP protocol.
    #[must_use]
    pub fn lost_fragments(&self) -> BTreeMap<u8, u64> {
        self.fragments.lost()
    }
}

/// Result of reading the headers of a frame, or of a rebuilt payload.
enum Outcome<'a> {
    Segment(Segment<'a>),
    Fragment(Fragment<'a>, Context<'a>),
    /// Compressed IP payload, after the protocol number of the payload.
    Compressed(u8, &'a [u8], Context<'a>),
}

/// Reads header by header down to TCP, or to a payload that has to be rebuilt first.
fn descend<'a>(
    layer: Layer,
    span: Span<'a>,
    mut context: Context<'a>,
) -> Result<Outcome<'a>, SkipReason> {
    walk(layer, span, &mut context).map_err(|found| context.reason(found))
}

/// Reads header by header, and keeps what is known in `context`.
fn walk<'a>(
    mut layer: Layer,
    mut span: Span<'a>,
    context: &mut Context<'a>,
) -> Result<Outcome<'a>, SkipReason> {
    for _ in 0..MAX_LAYERS {
        (layer, span) = match layer {
            Layer::IpProtocol(tcp::PROTOCOL) => {
                return tcp::read(span, context).map(Outcome::Segment);
            }
            Layer::IpProtocol(ipcomp::PROTOCOL) => return ipcomp::read(span, context),
            Layer::Ip => match ip::read(span, context)? {
                ip::Payload::Whole(protocol, rest) => (Layer::IpProtocol(protocol), rest),
                ip::Payload::Fragment(fragment) => {
                    return Ok(Outcome::Fragment(fragment, *context));
                }
            },
            Layer::Link(link) => link_header::begin(link, span, context)?,
            Layer::Ethernet => ether::ethernet(span)?,
            Layer::EtherType(number) => ether::ether_type(number, span, context)?,
            Layer::Llc => ether::llc(span)?,
            Layer::PppFramed => ether::ppp_framed(span)?,
            Layer::Ppp => ether::ppp(span)?,
            Layer::Mpls => ether::mpls(span, context)?,
            Layer::FrameRelay => ether::frame_relay(span)?,
            Layer::IpProtocol(number) => tunnel::ip_protocol(number, span, context)?,
        };
    }
    Err(SkipReason::TooDeep)
}
