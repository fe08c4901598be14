//! Token datasets on disk and on pipes: Arrow IPC and Parquet.
//!
//! Knows nothing of TCP or tensors. No type of arrow2 or parquet2 stands in a public signature.

mod row;

pub use row::{DatasetMeta, FlowRow, FlowSummary, Tokens};
