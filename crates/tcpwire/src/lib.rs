//! Octets and headers: Ethernet, IP and TCP headers as values; capture files in and out.
//!
//! *Packet reads, header means, neither judges.* A wrong checksum is a value here, not an error.

mod header;
mod seq;

pub use header::{Flags, IpRepr, Ipv4Repr, Ipv6Repr, TcpRepr};
pub use seq::SeqNum;
