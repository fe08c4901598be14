//! Everything between the octets of capture files and header values, in both directions.

mod checksum;
mod dissect;
mod emit;
mod link;
mod read;
mod write;

pub use self::checksum::Checksum;
pub use self::dissect::{Dissector, HeaderRow, PacketQuirks, Segment, SkipReason, Tags, TcpView};
pub use self::emit::{EthernetRepr, Payload, emit_packet};
pub use self::link::LinkType;
pub use self::read::{
    CaptureEnd, CaptureInput, CaptureReader, Frame, MergedReader, OpenCapture, ReadError,
    TimestampResolution, foreign_format, is_capture_magic,
};
pub use self::write::{CaptureFormat, CaptureWriter, LINKTYPE_ETHERNET, TimestampUnit, WriteError};
