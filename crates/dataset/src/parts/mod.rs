//! A dataset written by several processes, each a part of it, on one machine or on many that share
//! a file system.
//!
//! Parts wait in the folder `OUTPUT.parts`: `_plan.json` with the list of the work, and a folder
//! for each part that is complete, with its shards and a record of them. [`join`] makes OUTPUT of
//! it in one step. Rows of a joined dataset, read in the order of the shards' names, are those of
//! one run in its order.

mod join;
mod record;
mod run;
mod run_part;

pub use self::join::join;
pub(crate) use self::record::is_record_of_join;
pub use self::record::{Manifest, PartRecord, PartReport, PartsError, RunSettings, fingerprint};
pub use self::run::PartRun;
pub use self::run_part::RunPart;
