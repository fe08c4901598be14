//! Hosts of captures: their flows in order, and the policies that their numbers show.

mod policies;
mod table;
mod traits;

pub use table::HostTable;
pub use traits::FlowTraits;
