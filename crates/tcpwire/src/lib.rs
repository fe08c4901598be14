//! Octets and headers: Ethernet, IP and TCP headers as values; capture files in and out.
//!
//! *Packet reads, header means, neither judges.* A wrong checksum is a value here, not an error.

mod checksum;
mod dissect;
mod emit;
mod header;
mod link;
mod read;
mod seq;
mod write;

pub use checksum::Checksum;
pub use dissect::{Dissector, Marks, Segment, Skip, TcpView};
pub use emit::{EthernetRepr, Payload, emit_packet};
pub use header::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, TcpRepr};
pub use link::LinkType;
pub use read::{CaptureReader, Frame, ReadError, TimeStep, is_capture_magic};
pub use seq::SeqNum;
pub use write::{CaptureFormat, CaptureWriter, LINKTYPE_ETHERNET, Resolution, WriteError};
