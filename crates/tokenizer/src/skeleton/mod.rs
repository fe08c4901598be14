//! The `skeleton` code: which flows a host opens, when, and to which servers.
//!
//! One sequence is one host: its SYN, then for each flow its start, a destination, a class and a
//! length. What the flow's own tokens say is not in it, nor is any address: servers and pairs
//! (a server and a port of it) are counted back from their last use. `docs/skeleton.md` is the
//! reference, written from the table of [`vocab`].
//!
//! ```
//! use tokenizer::field::{SessionClass, TimeUnit};
//! use tokenizer::skeleton::{self, HostSkeleton, SkeletonFlow, Syn};
//!
//! // Two flows to port 443 of one server, the second one half a second after the first one's end.
//! let syn = Syn { is_v6: false, tokens: tokenizer::skeleton::doc::worked_syn() };
//! let flow = |start_ns, syn| SkeletonFlow {
//!     start_ns,
//!     end_ns: start_ns + 2_000_000_000,
//!     server: 0,
//!     port: 443,
//!     syn,
//!     class: SessionClass::default(),
//!     length_class: 3,
//! };
//! let host = HostSkeleton {
//!     since_ns: 0,
//!     unit: TimeUnit::Microsecond,
//!     flows: vec![flow(0, syn.clone()), flow(2_500_000_000, syn)],
//! };
//! let mut tokens = Vec::new();
//! skeleton::encode(&host, 0, &mut tokens)?;
//! // The ends of flows are not in the skeleton: they come from the flows.
//! let ends = [2_000_000_000, 4_500_000_000];
//! assert_eq!(skeleton::decode(&tokens, 0, &ends)?, host);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
pub mod doc;
mod error;
mod host;
mod parse;
mod state;
mod time;
pub mod vocab;

pub use code::{decode, encode};
pub use error::SkeletonError;
pub use host::{Anchor, FlowHead, HostSkeleton, SkeletonFlow, Syn, syn_of};
pub use parse::{Parser, Step};
pub use time::half_octave;
pub use vocab::{BOS, END, VERSION, VOCAB_SIZE};

/// Name of the code in messages and models.
pub const NAME: &str = "skeleton";
