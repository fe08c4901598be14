//! The TCP header, captured in whole or in part.

use pnet_packet::tcp::TcpPacket;

use super::layer::Context;
use super::{PacketQuirks, Segment, SkipReason, Span, TcpView};
use crate::{Flags, SeqNum};

/// Number of TCP among the IP protocols.
pub(super) const PROTOCOL: u8 = 6;
/// Length of a header without options, in octets.
const MIN_HEADER: usize = 20;
/// Length of a header up to the window, in octets: Wireshark reads these fields before it looks for
/// the conversation.
const MIN_CAPTURED: usize = 16;

/// Reads a TCP header and computes the payload length from the IP length.
#[inline]
pub(super) fn read<'a>(span: Span<'a>, context: &Context<'_>) -> Result<Segment<'a>, SkipReason> {
    let ip = context.ip.ok_or(SkipReason::NotIp)?;
    let mut quirks = context.quirks;
    let tcp = match TcpPacket::new(span.data) {
        Some(view) => fields(&view, span.data),
        None => {
            quirks |= PacketQuirks::HEADER_CUT;
            cut_fields(span.data)?
        }
    };
    let header_len = usize::from(tcp.header_len);
    if span.data.len() < header_len {
        quirks |= PacketQuirks::HEADER_CUT;
    }
    // RFC 9293, section 3.1: the data offset is at least five 32-bit words, and the header ends
    // within the IP payload.
    let has_room = span.wire_len as usize >= header_len;
    if header_len < MIN_HEADER || !has_room {
        quirks |= PacketQuirks::BAD_LENGTH;
    }
    let known = has_room && !context.partial && !quirks.intersects(PacketQuirks::QUOTED);
    let payload_len = known.then(|| span.wire_len - header_len as u32);
    // Nothing else about a quotation is a property of the flow.
    if quirks.intersects(PacketQuirks::QUOTED) {
        quirks = PacketQuirks::QUOTED;
    }
    Ok(Segment { ip, tcp, payload_len, quirks, tags: context.tags })
}

/// Returns the fields of a header whose fixed part was captured. The options come from `octets`,
/// since `pnet_packet`'s own accessor trusts the data offset.
#[inline]
fn fields<'a>(view: &TcpPacket<'_>, octets: &'a [u8]) -> TcpView<'a> {
    let header_len = view.get_data_offset() * 4;
    let options_end = usize::from(header_len).clamp(MIN_HEADER, octets.len());
    TcpView {
        src_port: view.get_source(),
        dst_port: view.get_destination(),
        seq: SeqNum(view.get_sequence()),
        ack: SeqNum(view.get_acknowledgement()),
        header_len,
        flags: Flags::from_bits_retain(u16::from_be_bytes([octets[12], octets[13]]) & 0x0fff),
        window: view.get_window(),
        checksum: view.get_checksum(),
        urgent: view.get_urgent_ptr(),
        options: &octets[MIN_HEADER..options_end],
    }
}

/// Returns the fields of a header that was captured without its last four octets (checksum and
/// urgent pointer), which read as zero.
fn cut_fields(octets: &[u8]) -> Result<TcpView<'_>, SkipReason> {
    if octets.len() < MIN_CAPTURED {
        return Err(SkipReason::CutBeforeTcp);
    }
    let mut padded = [0u8; MIN_HEADER];
    for (to, from) in padded.iter_mut().zip(octets) {
        *to = *from;
    }
    let view = TcpPacket::new(&padded).ok_or(SkipReason::CutBeforeTcp)?;
    let cut = fields(&view, &padded);
    Ok(TcpView { options: &[], ..cut })
}
