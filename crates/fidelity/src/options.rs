//! Option values that measures read (RFC 9293, section 3.1; RFC 7323).

use tcpwire::{option_kind, options};

/// Returns the data of the first option of this kind.
pub(crate) fn find(octets: &[u8], kind: u8) -> Option<&[u8]> {
    options(octets).find(|option| option.kind() == Some(kind)).map(|option| option.data())
}

/// Returns TSval and TSecr of the first timestamps option; `None` if its length is not ten octets.
pub(crate) fn timestamps(octets: &[u8]) -> Option<(u32, u32)> {
    let (value, echo) = find(octets, option_kind::TIMESTAMPS)?.split_first_chunk()?;
    Some((u32::from_be_bytes(*value), u32::from_be_bytes(echo.try_into().ok()?)))
}
