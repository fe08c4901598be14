//! The TCP header.

use pnet_packet::tcp::TcpPacket;

use super::{Context, PacketQuirks, Segment, SkipReason, Span, TcpView};
use crate::{Flags, SeqNum};

/// TCP's number among IP protocols.
pub(super) const PROTOCOL: u8 = 6;
const MIN_HEADER: usize = 20;
/// Up to and with the window: what Wireshark reads before it looks for the conversation.
const MIN_CAPTURED: usize = 16;

#[inline]
pub(super) fn read(span: Span<'_>, context: Context) -> Result<Segment<'_>, SkipReason> {
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
    let room = span.wire_len as usize >= header_len;
    if header_len < MIN_HEADER || !room {
        quirks |= PacketQuirks::BAD_LENGTH;
    }
    let known = room && !context.partial && !quirks.intersects(PacketQuirks::QUOTED);
    let payload_len = known.then(|| span.wire_len - header_len as u32);
    Ok(Segment { ip, tcp, payload_len, quirks })
}

/// The fields of a header of which the fixed part is there. `pnet_packet`'s own view of the options
/// trusts the data offset, so they are taken from `octets` here.
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

/// A header cut in its last four octets: those read as zero.
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
