//! Ethernet, IP and TCP headers as values, and capture files in and out.
//!
//! A [`CaptureReader`] reads frames of pcap, pcapng and snoop files, plain or compressed; a
//! [`Dissector`] finds the innermost TCP header of a frame; [`emit_packet`] and [`CaptureWriter`]
//! go the other way. Values are lossless: reserved bits, an urgent pointer without URG, an
//! acknowledgment number without ACK and malformed options stay as captured. A wrong checksum is a
//! value, not an error.
//!
#![cfg_attr(feature = "capture", doc = "```")]
#![cfg_attr(not(feature = "capture"), doc = "```ignore")]
//! use std::fs::File;
//!
//! use tcpwire::{CaptureReader, Dissector, Flags};
//!
//! let mut capture = CaptureReader::new(File::open("../../testdata/quick.pcap")?)?;
//! let mut dissector = Dissector::default();
//! let (mut syns, mut skipped) = (0, 0);
//! while let Some(frame) = capture.next_frame()? {
//!     match dissector.dissect(&frame) {
//!         Ok(segment) if segment.tcp.flags == Flags::SYN => {
//!             let (client, server) = (segment.ip.src(), segment.ip.dst());
//!             println!("frame {}: {client} calls {server}", frame.number);
//!             syns += 1;
//!         }
//!         Ok(_) => {}
//!         Err(reason) => {
//!             println!("frame {}: {reason}", frame.number);
//!             skipped += 1;
//!         }
//!     }
//! }
//! assert_eq!((capture.frames(), syns, skipped), (357, 19, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
#![doc = "```"]
//!
//! The crate knows nothing of flows, tokens, clocks and paths.
//!
//! # Features
//!
//! `capture` (default) has everything that reads and writes; without it, header values, TCP options
//! and sequence numbers are left, and the crate depends on `bitflags` alone.

#![forbid(unsafe_code)]

#[cfg(feature = "capture")]
mod capture;
mod header;
mod options;
mod seq;

#[cfg(feature = "capture")]
pub use capture::{
    CaptureEnd, CaptureFormat, CaptureInput, CaptureReader, CaptureWriter, Checksum, Dissector,
    EthernetRepr, Frame, HeaderRow, LINKTYPE_ETHERNET, LinkType, MergedReader, OpenCapture,
    PacketQuirks, Payload, ReadError, Segment, SkipReason, Tags, TcpView, TimestampResolution,
    TimestampUnit, WriteError, emit_packet, foreign_format, is_capture_magic,
};
pub use header::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, TcpRepr};
pub use options::{MAX_OPTION_OCTETS, Options, TcpOption, option_kind, options};
pub use seq::{SeqNum, SeqUnwrapper};
