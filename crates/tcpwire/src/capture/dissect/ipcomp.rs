//! IPComp: IP payloads compressed one by one (RFC 3173).

use std::io::Read;

use super::{Context, Found, PacketQuirks, SkipReason, Span};

/// IPComp's number among IP protocols.
pub(super) const PROTOCOL: u8 = 108;
/// The longest payload that is believed.
const MAX_PAYLOAD: u64 = 65_535;

/// Its header: the protocol within. How it is compressed the ends may have agreed on apart: DEFLATE
/// (RFC 2394) is tried.
pub(super) fn read(span: Span<'_>, mut context: Context) -> Result<Found<'_>, SkipReason> {
    context.quirks |= PacketQuirks::IPV6_EXTENSION;
    let protocol = span.octet(0).ok_or(SkipReason::CutBeforeTcp)?;
    if !span.is_whole() || span.data.len() < 4 {
        return Err(SkipReason::NotTcp);
    }
    Ok(Found::Compressed(protocol, &span.data[4..], context))
}

pub(super) fn inflate(octets: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    flate2::read::DeflateDecoder::new(octets).take(MAX_PAYLOAD).read_to_end(&mut payload).ok()?;
    Some(payload)
}
