//! IPComp: IP payloads that are compressed one by one (RFC 3173).

use std::io::Read;

use super::layer::Context;
use super::{Outcome, PacketQuirks, SkipReason, Span};

/// Number of IPComp among the IP protocols.
pub(super) const PROTOCOL: u8 = 108;
/// Largest payload that is decompressed, in octets: that of an IP datagram.
const MAX_PAYLOAD: u64 = 65_535;

/// Reads an IPComp header, which names the protocol of the compressed payload. The algorithm is
/// negotiated elsewhere; DEFLATE (RFC 2394) is tried.
pub(super) fn read<'a>(
    span: Span<'a>,
    context: &mut Context<'a>,
) -> Result<Outcome<'a>, SkipReason> {
    context.quirks |= PacketQuirks::IPV6_EXTENSION;
    let protocol = span.u8_at(0).ok_or(SkipReason::CutBeforeTcp)?;
    // RFC 3173, section 3.1: next header, flags, and a compression parameter index of two octets.
    if !span.is_whole() || span.data.len() < 4 {
        return Err(SkipReason::IpProtocol(PROTOCOL));
    }
    Ok(Outcome::Compressed(protocol, &span.data[4..], *context))
}

/// Decompresses a payload; `None` if it is not DEFLATE.
pub(super) fn inflate(octets: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    flate2::read::DeflateDecoder::new(octets).take(MAX_PAYLOAD).read_to_end(&mut payload).ok()?;
    Some(payload)
}
