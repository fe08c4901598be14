//! Headers as steps: which comes next, and what is known from those before.

use std::fmt;

use super::{PacketQuirks, SkipReason, Span, Tags};
use crate::{IpRepr, LinkType};

/// Header to be read next in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    /// First header of a frame of this type.
    Link(LinkType),
    Ethernet,
    /// Header of a protocol by its EtherType.
    EtherType(u16),
    /// 802.2 logical link control.
    Llc,
    /// IP of either version.
    Ip,
    /// Header of a protocol by its IP protocol number.
    IpProtocol(u8),
    /// PPP with or without HDLC-like framing.
    PppFramed,
    Ppp,
    Mpls,
    FrameRelay,
}

/// Facts from the headers read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context<'a> {
    pub(super) quirks: PacketQuirks,
    pub(super) tags: Tags,
    /// Innermost IP header so far.
    pub(super) ip: Option<IpRepr>,
    /// Whether the IP payload is a first fragment that is not reassembled.
    pub(super) partial: bool,
    /// UDP ports of VXLAN besides those that are read anyway.
    pub(super) vxlan_ports: &'a [u16],
    /// Whether a UDP datagram was taken for a tunnel by its source port alone, which may be any
    /// client's port.
    pub(super) by_source_port: bool,
}

impl Context<'_> {
    /// Returns the reason why the frame gives no segment. Where the headers were a guess or a copy,
    /// what cannot be read is no loss.
    #[cold]
    pub(super) fn reason(&self, found: SkipReason) -> SkipReason {
        if self.by_source_port || self.quirks.intersects(PacketQuirks::QUOTED) {
            SkipReason::NotTcp
        } else {
            found
        }
    }
}

/// Next header and the octets from there on.
pub(super) type Next<'a> = Result<(Layer, Span<'a>), SkipReason>;

/// Reader of a header, which returns the next one.
type Read = for<'a> fn(Span<'a>, &mut Context<'_>) -> Next<'a>;

/// Header that is read: its number among its kind, and its name.
#[derive(Clone, Copy)]
pub struct HeaderRow {
    /// Link type, EtherType, IP protocol, GRE protocol type or UDP port.
    pub number: u32,
    /// Name of the header, for documents.
    pub name: &'static str,
    pub(super) read: Read,
}

impl HeaderRow {
    /// Creates a row of a table, whose rows are in order of numbers.
    pub(super) const fn new(number: u32, name: &'static str, read: Read) -> HeaderRow {
        HeaderRow { number, name, read }
    }

    /// Returns the reader of a number, if the table has it.
    pub(super) fn find(table: &[HeaderRow], number: u32) -> Option<Read> {
        let at = table.binary_search_by_key(&number, |row| row.number).ok()?;
        Some(table[at].read)
    }
}

impl fmt::Debug for HeaderRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

/// Returns the span after `octets`.
pub(super) fn skip(span: Span<'_>, octets: usize) -> Result<Span<'_>, SkipReason> {
    span.skip(octets).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns the 16-bit number at `at`.
pub(super) fn u16_at(span: Span<'_>, at: usize) -> Result<u16, SkipReason> {
    span.u16_at(at).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns the 24-bit number at `at`.
pub(super) fn u24_at(span: Span<'_>, at: usize) -> Result<u32, SkipReason> {
    Ok(u32::from(u8_at(span, at)?) << 16 | u32::from(u16_at(span, at + 1)?))
}

/// Returns the octet at `at`.
pub(super) fn u8_at(span: Span<'_>, at: usize) -> Result<u8, SkipReason> {
    span.u8_at(at).ok_or(SkipReason::CutBeforeTcp)
}

/// Returns the little-endian 32-bit number at `at`.
pub(super) fn u32_le_at(span: Span<'_>, at: usize) -> Result<u32, SkipReason> {
    let (low, high) = (u16_at(span, at)?.swap_bytes(), u16_at(span, at + 2)?.swap_bytes());
    Ok(u32::from(high) << 16 | u32::from(low))
}

/// Returns `layer` as the next header, after `octets`.
pub(super) fn after(span: Span<'_>, octets: usize, layer: Layer) -> Next<'_> {
    Ok((layer, skip(span, octets)?))
}

/// Returns the header of the EtherType at `at` as the next one, after `octets`.
pub(super) fn typed(span: Span<'_>, at: usize, octets: usize) -> Next<'_> {
    after(span, octets, Layer::EtherType(u16_at(span, at)?))
}
