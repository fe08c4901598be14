//! `--flow-log`: what became of every conversation.

use std::io::Write;
use std::net::IpAddr;

use serde::Serialize;

/// One conversation.
#[derive(Serialize, Clone, Debug)]
pub(crate) struct Line {
    /// The capture, relative to the input.
    pub(crate) file: String,
    /// Number of the frame that opens it, from 1.
    pub(crate) first_packet: u64,
    /// The opener.
    pub(crate) src: IpAddr,
    pub(crate) src_port: u16,
    /// The other end.
    pub(crate) dst: IpAddr,
    pub(crate) dst_port: u16,
    /// Packets, as Wireshark counts them.
    pub(crate) packets: u64,
    /// Of these, packets that came after the conversation was given out: they are not in the dataset.
    pub(crate) late_packets: u64,
    /// `tcp.completeness` as tshark prints it in one pass: without the last packet.
    pub(crate) completeness: u8,
    /// `tcp.completeness` with the last packet, as Wireshark's window and `tshark -2` show it.
    pub(crate) completeness_final: u8,
    /// Our own class.
    pub(crate) class: &'static str,
    /// How it ended.
    pub(crate) close: &'static str,
    /// Stream octets never seen, the opener's and the other end's.
    pub(crate) missing_octets: [u64; 2],
    /// Whether it is in the dataset.
    pub(crate) kept: bool,
    /// Why not; empty where it is.
    pub(crate) reason: String,
}

/// Writes lines of JSON.
pub(crate) fn write(to: &mut dyn Write, lines: &[Line]) -> std::io::Result<()> {
    for line in lines {
        serde_json::to_writer(&mut *to, line)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}
