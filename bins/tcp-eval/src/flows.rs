//! The complete flows of one side of a comparison.

use std::path::Path;

use anyhow::bail;
use clikit::{Console, Inputs, Unit};
use dataset::{CompleteFlows, RowCodec};
use fidelity::{TraceFlow, Traces};

/// Flows of one side of the comparison.
pub(crate) struct Side {
    /// Flows that are whole sessions.
    pub(crate) complete: CompleteFlows,
    /// Traces of all flows whose SYN was seen.
    pub(crate) traces: Traces,
}

/// Reads one side: a capture, a dataset, or a folder of them. Parts that cannot be read are
/// reported as left out.
///
/// # Errors
/// If the input does not exist, holds neither a capture nor a dataset, or has a dataset in another
/// token code than `field`.
pub(crate) fn read(
    path: &Path,
    token_code: Option<RowCodec>,
    console: &Console,
) -> anyhow::Result<Side> {
    let inputs = Inputs::find(path, dataset::is_dataset_or_capture)?;
    let total = inputs.total_size();
    let Inputs::Files { files, unreadable } = inputs else {
        bail!("expected a file or a folder, found -")
    };
    unreadable.iter().for_each(|line| console.left_out(line));
    if files.is_empty() {
        bail!("{}: expected captures or a dataset, found none", path.display());
    }
    let progress = console.progress(&format!("reading {}", path.display()), total, Unit::Octets);
    let mut complete = CompleteFlows::new(token_code, |line| tracing::warn!("{line}"));
    let mut traces = Traces::default();
    for file in &files {
        let left_out = complete.add_file_with(&file.path, |capture, flow| {
            if let Some(flow) = TraceFlow::from_flow(flow) {
                traces.add(capture, flow);
            }
        })?;
        left_out.iter().for_each(|left_out| console.left_out(left_out));
        progress.inc(file.size);
    }
    progress.finish();
    Ok(Side { complete, traces: traces.finish() })
}
