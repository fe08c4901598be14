//! Capture formats and archives that are not read, by their first octets.

/// First octets of files that may hold packets and are not read, with the name of the format.
const MAGICS: [(&[u8], &str); 15] = [
    (b"GMBU", "a capture of Microsoft Network Monitor 2"),
    (b"RTSS", "a capture of Microsoft Network Monitor 1"),
    (b"TRSNIFF data", "a capture of Network General's Sniffer"),
    (b"XCP\0", "a capture of NetXRay"),
    (b"\x7fver", "a capture of AiroPeek or OmniPeek"),
    (b"ObserverPktBuffe", "a capture of Network Instruments' Observer"),
    (b"iptrace ", "a capture of AIX's iptrace"),
    (b"\x05VNF", "a capture of Visual Networks"),
    (b"\xaa\xaa\xaa\xaa", "a capture of 5View"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x1f\x9d", "compressed by compress"),
    (b"\x5d\0\0", "compressed by lzma"),
    (b"LZIP", "compressed by lzip"),
];

/// Returns the name of the capture format or archive that a file with these first octets is, if it
/// is one that [`CaptureReader`](crate::CaptureReader) does not read. Sixteen octets are enough.
#[must_use]
pub fn foreign_format(head: &[u8]) -> Option<&'static str> {
    MAGICS.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| name)
}
