//! IEEE 802.11 data frames without encryption.

use super::{Layer, SkipReason, Span};

/// Reads a radiotap header, whose length is little-endian, before an 802.11 frame.
pub(super) fn radiotap(span: Span<'_>) -> Result<(Layer, Span<'_>), SkipReason> {
    let len = span.u16_at(2).ok_or(SkipReason::CutBeforeTcp)?.swap_bytes();
    data_frame(span.skip(usize::from(len)).ok_or(SkipReason::CutBeforeTcp)?)
}

/// Flags of a frame between two access points, which has a fourth address.
const TO_AND_FROM_DS: u8 = 0x03;
/// Flag of an encrypted frame.
const PROTECTED: u8 = 0x40;
/// Flag of a QoS frame with an HT control field (+HTC/Order).
const HT_CONTROL: u8 = 0x80;

/// Reads a data frame (IEEE 802.11-2020, section 9.3.2). Aggregated frames (A-MSDU) are not
/// supported.
pub(super) fn data_frame(span: Span<'_>) -> Result<(Layer, Span<'_>), SkipReason> {
    let (control, flags) = (
        span.u8_at(0).ok_or(SkipReason::CutBeforeTcp)?,
        span.u8_at(1).ok_or(SkipReason::CutBeforeTcp)?,
    );
    let (kind, subtype) = (control >> 2 & 3, control >> 4);
    let no_data = subtype & 4 != 0;
    if kind != 2 || no_data || flags & PROTECTED != 0 {
        return Err(SkipReason::NotIp);
    }
    let mut header = 24;
    if flags & TO_AND_FROM_DS == TO_AND_FROM_DS {
        header += 6;
    }
    if subtype & 8 != 0 {
        header += 2;
        if flags & HT_CONTROL != 0 {
            header += 4;
        }
    }
    Ok((Layer::Llc, span.skip(header).ok_or(SkipReason::CutBeforeTcp)?))
}
