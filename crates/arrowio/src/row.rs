//! One row of a dataset: a flow's tokens and what stands beside them.

use std::collections::BTreeMap;

use tokenizer::FlowIdentity;

/// The tokens of one flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tokens {
    /// The `field` code: column type `list<uint16>`.
    U16(Vec<u16>),
    /// The `word16` code of the original: column type `list<int32>`.
    I32(Vec<i32>),
}

impl Tokens {
    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Tokens::U16(words) => words.len(),
            Tokens::I32(words) => words.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one wants to query of a flow without decoding it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowSummary {
    /// From first to last packet, in nanoseconds.
    pub duration_ns: i64,
    /// The server's port.
    pub server_port: u16,
    /// IP version: 4 or 6.
    pub ip_version: u8,
    /// Packets from client and from server.
    pub packets: [u64; 2],
    /// Payload octets from client and from server, repeats included.
    pub payload_octets: [u64; 2],
    /// Wireshark's `tcp.completeness`.
    pub completeness: u8,
    /// How it ended: `fin`, `rst` or `open`.
    pub close: String,
    /// Class by our own verdict: `graceful`, `reset`, `started`, `ended`, `partial`.
    pub class: String,
    /// The capture it came from, relative to the input; empty for generated flows.
    pub source: String,
    /// Frame number of its first packet, from 1; 0 for generated flows.
    pub first_frame: u64,
}

/// One row: a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRow {
    /// The flow's tokens.
    pub tokens: Tokens,
    /// What the tokens do not say.
    pub identity: FlowIdentity,
    /// What one queries; absent in datasets that hold tokens alone.
    pub summary: Option<FlowSummary>,
}

/// What a dataset says of itself, in its schema's metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatasetMeta {
    /// Token code: `field` or `word16`.
    pub token_code: String,
    /// Version of the token code.
    pub token_version: u32,
    /// Number of token ids.
    pub vocab_size: u32,
    /// The program that wrote it, with its version.
    pub tool: String,
    /// The options it was written with.
    pub options: BTreeMap<String, String>,
}
