//! One row of a dataset: the tokens, identity and summary of a flow.

use std::collections::BTreeMap;

use tokenizer::FlowIdentity;

/// Tokens of one flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tokens {
    /// Tokens of the `field` code: column type `list<uint16>`.
    U16(Vec<u16>),
    /// Tokens of the `word16` code, tcpflowgen's: column type `list<int32>`.
    I32(Vec<i32>),
}

impl Tokens {
    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Tokens::U16(tokens) => tokens.len(),
            Tokens::I32(tokens) => tokens.len(),
        }
    }

    /// Returns whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns Arrow's name of the column type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Tokens::U16(_) => "list<uint16>",
            Tokens::I32(_) => "list<int32>",
        }
    }
}

/// Properties of a flow that can be queried without decoding its tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowSummary {
    /// Time from first to last packet, in nanoseconds.
    pub duration_ns: i64,
    /// TCP port of the server.
    pub server_port: u16,
    /// IP version: 4 or 6.
    pub ip_version: u8,
    /// Number of packets from the client and from the server.
    pub packets: [u64; 2],
    /// Payload octets from the client and from the server, retransmissions included.
    pub payload_octets: [u64; 2],
    /// Conversation completeness as Wireshark's `tcp.completeness`: SYN 1, SYN-ACK 2, ACK 4,
    /// DATA 8, FIN 16, RST 32.
    pub completeness: u8,
    /// Close of the flow: `fin`, `rst` or `open`.
    pub close: String,
    /// Class of the flow by `flowtrack`'s verdict: `graceful`, `reset`, `started`, `ended`,
    /// `partial`.
    pub class: String,
    /// Evidence of which endpoint is the client: `syn`, `syn-ack`, `earlier`, `ports` or `unknown`.
    pub direction: String,
    /// Path of the capture of the first packet, below the folder that holds all inputs; empty for
    /// generated flows.
    pub source: String,
    /// Frame number of the first packet in the capture, from 1; 0 for generated flows.
    pub first_frame: u64,
    /// Class that a person gave the flow, such as an application or a device.
    pub label: Option<String>,
    /// Unit that a split keeps together, such as a person, a site or a week.
    pub group: Option<String>,
}

/// One row of a dataset: a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRow {
    /// Packets of the flow, in the dataset's token code.
    pub tokens: Tokens,
    /// Addresses, bases and start time, which the tokens do not encode.
    pub identity: FlowIdentity,
    /// Properties to query; absent in datasets that have tokens alone.
    pub summary: Option<FlowSummary>,
}

/// Metadata of a dataset, stored in its schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatasetMeta {
    /// Name of the token code: `field` or `word16`.
    pub token_code: String,
    /// Version of the token code. Readers refuse other versions.
    pub token_version: u32,
    /// Number of token ids in the code's vocabulary.
    pub vocab_size: u32,
    /// Name and version of the program that wrote the dataset.
    pub tool: String,
    /// Options of that program by their names.
    pub options: BTreeMap<String, String>,
}
