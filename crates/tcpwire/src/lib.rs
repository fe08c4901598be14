//! Octets and headers: Ethernet, IP and TCP headers as values; capture files in and out.
//!
//! *Packet reads, header means, neither judges.* A wrong checksum is a value here, not an error.

mod checksum;
mod emit;
mod header;
mod seq;
mod write;

pub use checksum::Checksum;
pub use emit::{EthernetRepr, Payload, emit_packet};
pub use header::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, TcpRepr};
pub use seq::SeqNum;
pub use write::{CaptureFormat, CaptureWriter, LINKTYPE_ETHERNET, Resolution, WriteError};
