//! Datasets of flows: the layer between token codes, the file format and the programs.
//!
//! [`RowEncoder`] and [`RowDecoder`] turn flows into rows and back in either token code,
//! [`summarize`] computes the columns next to the tokens, [`Sink`] writes a dataset as an output
//! that is complete or absent, [`CompleteFlows`] reads captures and datasets alike, and [`Corpus`]
//! is a dataset as training wants it: distinct flows, split, shuffled. [`PartRun`] is one of the
//! parts that several processes write a dataset in, and [`join`] makes one of them.
//!
//! A flow becomes a row, and the row the same flow:
//!
//! ```
//! use arrowio::FlowRow;
//! use dataset::{Outcome, RowCodec, RowDecoder, RowEncoder, summarize};
//!
//! let flow = tokenizer::field::doc::worked_flow();
//! let (tokens, identity) = RowEncoder::new(RowCodec::Field).encode(&flow)?;
//! let summary = summarize(&flow, Outcome::of_decoded(&flow), "example.pcap");
//! assert_eq!(summary.class, "graceful");
//!
//! let row = FlowRow { tokens, identity, summary: Some(summary) };
//! let (decoded, synthesized) = RowDecoder::default().decode(&row)?;
//! assert_eq!(decoded.packets, flow.packets);
//! assert_eq!(synthesized.packets, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here reads a command line or prints: paths, formats and metadata are arguments, and
//! parts of a file that cannot be read are returned as [`LeftOut`].

mod bases;
mod codec;
mod corpus;
mod hash;
mod hosts;
mod near_duplicates;
mod pack;
mod parts;
mod shard;
mod sink;
mod source;
mod split;
mod summary;
mod traces;

pub use self::bases::draw_bases;
pub use self::codec::{CODEC_IDS, DECODED_IDS, RowCodec, RowDecoder, RowEncoder, header_of};
pub use self::corpus::{Corpus, CorpusError, CorpusOptions, NearDuplicates, TokenCheck};
pub use self::hosts::{FlowTraits, HostTable};
pub use self::near_duplicates::without_time;
pub use self::pack::{FlowPiece, Row, continued_flows, pack_rows, split_row};
pub use self::parts::{
    Manifest, PartRecord, PartReport, PartRun, PartsError, RunPart, RunSettings, fingerprint, join,
};
pub use self::sink::{Destination, Sink, SinkError, SinkOptions};
pub use self::source::{
    CompleteFlows, LeftOut, SourceError, begins_like_capture, is_capture, is_dataset_or_capture,
};
pub use self::split::{Part, Shares, Split, epoch_order};
pub use self::summary::{Outcome, summarize};
pub use self::traces::{Trace, TraceError, TraceFlows, TracedHost};
