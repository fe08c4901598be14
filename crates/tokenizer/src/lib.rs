//! Flows as tokens and back: lossless, compact, relative to the state of TCP.
//!
//! Two codes implement one trait, [`TokenCode`]: [`field`], our own, in which a token is a header
//! field, and [`word16`], that of tcpflowgen, in which a token is a 16-bit word of the header. The
//! crate knows nothing of Arrow, tensors or files.
//!
//! A handshake, encoded and decoded in both codes:
//!
//! ```
//! use flowtrack::{Direction, Flow, OptionsRef, Packet};
//! use tcpwire::{Flags, SeqNum};
//! use tokenizer::field::{self, Constraint, Grammar, Limits, vocab};
//! use tokenizer::word16;
//!
//! let mut flow = Flow::new("192.0.2.1".parse()?, "198.51.100.7".parse()?);
//! (flow.client.port, flow.server.port) = (50_000, 80);
//! let handshake = [
//!     (Direction::Forward, Flags::SYN, 1000, 0),
//!     (Direction::Reverse, Flags::SYN | Flags::ACK, 5000, 1001),
//!     (Direction::Forward, Flags::ACK, 1001, 5001),
//! ];
//! for (i, (direction, flags, seq, ack)) in handshake.into_iter().enumerate() {
//!     flow.packets.push(Packet {
//!         time_ns: i as i64 * 20_000_000,
//!         seq: SeqNum(seq),
//!         ack: SeqNum(ack),
//!         payload_len: 0,
//!         flow_label: 0,
//!         options: OptionsRef::default(),
//!         flags,
//!         window: 64_240,
//!         urgent: 0,
//!         ip_id: 0,
//!         ttl: 64,
//!         traffic_class: 0,
//!         dont_fragment: true,
//!         direction,
//!     });
//! }
//!
//! // In `field`, a packet is a token for its kind, one for its time, and one for each field that
//! // differs from the value that TCP makes likely.
//! let mut tokens = Vec::new();
//! let identity = field::encode(&flow, &mut tokens)?;
//! let names: Vec<String> = tokens.iter().map(|&token| vocab::describe(token)).collect();
//! assert_eq!(names[..5], ["begin", "flow(1)", "class(2)", "length(1)", "port(1)"]);
//! assert_eq!(names[5..9], ["packet(0)", "win(1)", "id.zero", "time(0)"]);
//! assert_eq!(names[9..11], ["packet(37)", "win(1)"]);
//! assert_eq!(field::decode(&tokens, &identity)?.packets, flow.packets);
//!
//! // The identity keeps the values that tokens do not hold.
//! assert_eq!(identity.client.seq_base, Some(1000));
//!
//! // In `word16`, a packet is its header, word by word; times and the IP header are lost.
//! let mut words = Vec::new();
//! let identity = word16::encode(&flow, &mut words)?;
//! let (again, synthesized) = word16::decode(&words, &identity)?;
//! assert_eq!((tokens.len(), words.len()), (20, 50));
//! assert_eq!(again.packets[1].ack, flow.packets[1].ack);
//! assert_eq!(synthesized.packets, 3);
//!
//! // A grammar computes which tokens may follow, for a model to choose from.
//! let mut grammar = Grammar::new(Constraint::Session, Limits::default());
//! let header = ["begin", "flow(1)", "class(0)", "length(3)", "port(1)"];
//! for name in header {
//!     let token = (0..1024).find(|&token| vocab::describe(token) == name).unwrap();
//!     assert!(grammar.allowed_next().contains(token));
//!     grammar.push(token)?;
//! }
//! // A session begins with a SYN of the client, which may carry payload: no other packet may
//! // follow.
//! let allowed = grammar.allowed_next();
//! let packets = allowed.iter().filter(|&token| vocab::PACKET.arg(token).is_some());
//! assert_eq!(packets.collect::<Vec<_>>(), [vocab::PACKET.at(0), vocab::PACKET.at(2)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod code;
mod error;
pub mod field;
pub mod host;
mod identity;
pub mod skeleton;
pub mod word16;

pub use code::{Synthesized, TokenCode};
pub use error::{DecodeError, EncodeError};
pub use identity::{FlowIdentity, SideIdentity};

/// Id of a token of the `field` code: at most 1,024 of them exist.
pub type TokenId = u16;
