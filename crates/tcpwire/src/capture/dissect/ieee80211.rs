//! IEEE 802.11 data frames without encryption.

use super::layer::{Layer, Next, after, skip, u8_at, u16_at, u32_le_at};
use super::{SkipReason, Span};

/// Reads a radiotap header, whose length is little-endian, before an 802.11 frame.
pub(super) fn radiotap(span: Span<'_>) -> Next<'_> {
    let len = u16_at(span, 2)?.swap_bytes();
    data_frame(skip(span, usize::from(len))?)
}

/// Reads a Prism header, or an AVS header in its place, before an 802.11 frame.
pub(super) fn prism(span: Span<'_>) -> Next<'_> {
    if span.data.starts_with(&[0x80, 0x21, 0x10]) {
        return avs(span);
    }
    let len = u32_le_at(span, 4)?;
    let len = if len > 0xffff { len.swap_bytes() } else { len };
    data_frame(skip(span, len as usize)?)
}

/// Reads an AVS header, whose length is big-endian, before an 802.11 frame.
pub(super) fn avs(span: Span<'_>) -> Next<'_> {
    let len = u32_le_at(span, 4)?.swap_bytes();
    data_frame(skip(span, len as usize)?)
}

/// Version and type of a data frame in the first octet of frame control.
const DATA: u8 = 0x08;
/// Flags of a frame between two access points, which has a fourth address.
const TO_AND_FROM_DS: u8 = 0x03;
/// Flag of an encrypted frame.
const PROTECTED: u8 = 0x40;
/// Flag of a QoS frame with an HT control field (+HTC/Order).
const HT_CONTROL: u8 = 0x80;
/// QoS control bit of a frame with several packets (A-MSDU).
const AGGREGATE: u8 = 0x80;

/// Reads a data frame (IEEE 802.11-2020, section 9.3.2).
pub(super) fn data_frame(span: Span<'_>) -> Next<'_> {
    frame(span, u8_at(span, 0)?, u8_at(span, 1)?)
}

/// Reads a data frame of an access point, some of which turn the two octets of frame control round.
pub(super) fn frame_of_either_order(span: Span<'_>) -> Next<'_> {
    let (first, second) = (u8_at(span, 0)?, u8_at(span, 1)?);
    let is_data = |control: u8| control & 0x0f == DATA;
    if is_data(second) && !is_data(first) {
        frame(span, second, first)
    } else {
        frame(span, first, second)
    }
}

/// Reads a data frame with these octets of frame control.
fn frame(span: Span<'_>, control: u8, flags: u8) -> Next<'_> {
    let (kind, subtype) = (control >> 2 & 3, control >> 4);
    let no_data = subtype & 4 != 0;
    if kind != 2 || no_data {
        return Err(SkipReason::NotIp);
    }
    if flags & PROTECTED != 0 {
        return Err(SkipReason::Encrypted);
    }
    let mut header = 24;
    if flags & TO_AND_FROM_DS == TO_AND_FROM_DS {
        header += 6;
    }
    if subtype & 8 != 0 {
        let is_aggregate = u8_at(span, header)? & AGGREGATE != 0;
        header += 2;
        if flags & HT_CONTROL != 0 {
            header += 4;
        }
        if is_aggregate {
            return aggregate(skip(span, header)?);
        }
    }
    after(span, header, Layer::Llc)
}

/// Reads an A-MSDU (IEEE 802.11-2020, section 9.3.2.2) that holds one packet.
fn aggregate(mut span: Span<'_>) -> Next<'_> {
    /// Length of the addresses and the length before a packet, in octets.
    const SUBFRAME_HEADER: u32 = 14;
    /// Length of the check sequence that may follow, and of padding, in octets.
    const MAX_REST: u32 = 4 + 3;
    let len = SUBFRAME_HEADER + u32::from(u16_at(span, 12)?);
    if span.wire_len > len + MAX_REST {
        return Err(SkipReason::Aggregate);
    }
    span.cap(len);
    after(span, SUBFRAME_HEADER as usize, Layer::Llc)
}
