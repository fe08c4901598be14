//! Files that a dataset's folder consists of.

use arrowio::SHARDS;
use atomic_output::{FileKind, has_name_like};

use crate::parts::is_record_of_join;

/// Files that a folder holds if a dataset may replace it.
pub(crate) const SHARD: FileKind = FileKind {
    name: "a dataset",
    is_at: |path| {
        let is_shard = SHARDS.iter().any(|name| has_name_like(path, name));
        is_shard && arrowio::is_dataset(path) || is_record_of_join(path)
    },
};
