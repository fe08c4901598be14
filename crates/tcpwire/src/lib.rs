//! Octets and headers: Ethernet, IP and TCP headers as values; capture files in and out.
//!
//! *Packet reads, header means, neither judges.* A wrong checksum is a value here, not an error.

#![forbid(unsafe_code)]

#[cfg(feature = "capture")]
mod checksum;
#[cfg(feature = "capture")]
mod dissect;
#[cfg(feature = "capture")]
mod emit;
mod header;
#[cfg(feature = "capture")]
mod link;
mod options;
#[cfg(feature = "capture")]
mod read;
mod seq;
#[cfg(feature = "capture")]
mod write;

#[cfg(feature = "capture")]
pub use checksum::Checksum;
#[cfg(feature = "capture")]
pub use dissect::{Dissector, PacketQuirks, Segment, SkipReason, TcpView};
#[cfg(feature = "capture")]
pub use emit::{EthernetRepr, Payload, emit_packet};
pub use header::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, TcpRepr};
#[cfg(feature = "capture")]
pub use link::LinkType;
pub use options::{MAX_OPTION_OCTETS, Options, TcpOption, option_kind, options};
#[cfg(feature = "capture")]
pub use read::{CaptureReader, Frame, ReadError, TimestampResolution, is_capture_magic};
pub use seq::{SeqNum, SeqUnwrapper};
#[cfg(feature = "capture")]
pub use write::{CaptureFormat, CaptureWriter, LINKTYPE_ETHERNET, TimestampUnit, WriteError};
