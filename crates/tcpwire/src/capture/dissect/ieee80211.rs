//! IEEE 802.11 data frames that are not encrypted.

use super::{Layer, SkipReason, Span};

/// A radiotap header, then an 802.11 frame.
pub(super) fn radiotap(span: Span<'_>) -> Result<(Layer, Span<'_>), SkipReason> {
    let len = span.half(2).ok_or(SkipReason::CutBeforeTcp)?.swap_bytes();
    data_frame(span.skip(usize::from(len)).ok_or(SkipReason::CutBeforeTcp)?)
}

const TO_AND_FROM_DS: u8 = 0x03;
const PROTECTED: u8 = 0x40;
const HT_CONTROL: u8 = 0x80;

/// A data frame (IEEE 802.11-2020, section 9.3.2), aggregated ones left out.
pub(super) fn data_frame(span: Span<'_>) -> Result<(Layer, Span<'_>), SkipReason> {
    let (control, flags) = (
        span.octet(0).ok_or(SkipReason::CutBeforeTcp)?,
        span.octet(1).ok_or(SkipReason::CutBeforeTcp)?,
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
