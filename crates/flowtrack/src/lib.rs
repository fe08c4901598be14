//! TCP conversations from captured packets: which conversation a segment belongs to, what was seen
//! of the conversation, and what is missing.
//!
//! A [`Flow`] is one conversation as a value: two endpoints, and the header fields of each packet
//! in capture order. A [`Tracker`] makes flows of segments, split where Wireshark splits them, and
//! gives each a [`Verdict`]; a [`FlowReader`] does the same from the octets of a capture file, or
//! of several that are read as one.
//!
#![cfg_attr(feature = "tracker", doc = "```")]
#![cfg_attr(not(feature = "tracker"), doc = "```ignore")]
//! use std::fs::File;
//!
//! use flowtrack::{FlowReader, TrackerOptions};
//!
//! let capture = File::open("../../testdata/quick.pcap")?;
//! let mut graceful = 0;
//! for conversation in FlowReader::new(capture, TrackerOptions::default())? {
//!     let conversation = conversation?;
//!     let Some(flow) = conversation.flow else { continue };
//!     let (client, server) = (flow.client, flow.server);
//!     println!(
//!         "{}:{} to {}:{}: {} packets, {}",
//!         client.addr,
//!         client.port,
//!         server.addr,
//!         server.port,
//!         flow.packets.len(),
//!         conversation.verdict.class.name(),
//!     );
//!     graceful += u32::from(conversation.verdict.class == flowtrack::Class::Graceful);
//! }
//! assert_eq!(graceful, 17);
//! # Ok::<(), Box<dyn std::error::Error>>(())
#![doc = "```"]
//!
//! The crate knows nothing of tokens, files and clocks. Strange traffic is never an error: it is
//! counted ([`PacketQuirks`](tcpwire::PacketQuirks), [`Missing`], [`Inserted::repeated`]).
//!
//! # Features
//!
//! `tracker` (default) has everything that makes flows of packets; without it, flows as values are
//! left.

#![forbid(unsafe_code)]

mod flow;
#[cfg(feature = "tracker")]
mod tracker;

pub use flow::{Completeness, Direction, Endpoint, Flow, FrameId, OptionsRef, Packet};
#[cfg(feature = "tracker")]
pub use tracker::{
    Assembler, CaptureCounts, Class, ClientEvidence, Close, ConversationSummary, EndReason,
    EndedCapture, FinishedConversation, FlowReader, FramePayload, Framer, Inserted,
    MAX_GAPS_LISTED, Missing, Surplus, TagKinds, Tracker, TrackerOptions, UNENCODABLE, Verdict,
};
