//! Rows of the dataset with completed identities.

use arrowio::{DatasetMeta, DatasetReader, Recovery};

use crate::identity::IdentitySampler;
use crate::pending::PendingFlow;
use crate::reject_reason::RejectReason;
use crate::write_context::WriteContext;

/// Reader of flows that are ready to be written: header read, identity complete.
pub(crate) struct PendingReader {
    rows: DatasetReader,
    sampler: IdentitySampler,
    /// Whether the rest of a file could not be read.
    is_cut: bool,
}

impl PendingReader {
    /// Creates a reader of `rows`, whose generated flows get their identities from `sampler`.
    pub(crate) fn new(rows: DatasetReader, sampler: IdentitySampler) -> PendingReader {
        PendingReader { rows, sampler, is_cut: false }
    }

    /// Returns the metadata of the dataset.
    pub(crate) fn meta(&self) -> &DatasetMeta {
        self.rows.meta()
    }

    /// Returns the next flow whose header can be read and whose identity can be completed; flows
    /// before it are left out, with a message each.
    pub(crate) fn next_flow(
        &mut self,
        context: &mut WriteContext<'_>,
    ) -> anyhow::Result<Option<PendingFlow>> {
        loop {
            let row = match self.rows.next() {
                None => {
                    if !self.is_cut {
                        self.sampler.check_rows(context.summary.flows_read)?;
                    }
                    return Ok(None);
                }
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    let reason = RejectReason::from(&error);
                    if error.recovery == Recovery::NextRow {
                        context.summary.flows_read += 1;
                        context.leave_out(None, &reason);
                    } else {
                        self.is_cut = true;
                        context.leave_out_rest(&reason);
                    }
                    continue;
                }
            };
            context.summary.flows_read += 1;
            let mut flow = PendingFlow::from(row);
            let header = match context.decoder.header(&mut flow) {
                Ok(header) => header,
                Err(error) => {
                    let mut reason = RejectReason::from(&error);
                    let number = context.summary.flows_read;
                    reason.message = format!("flow (row {number}): {}", reason.message);
                    context.leave_out(Some(&flow.row), &reason);
                    continue;
                }
            };
            let mut identity = flow.row.identity.clone();
            let number = context.summary.flows_read - 1;
            let hints = || context.decoder.hints(&mut flow, &header);
            match self.sampler.complete(number, &mut identity, &header, hints)? {
                Err(reason) => context.leave_out_named(&flow.row, reason),
                Ok(drawn) => {
                    flow.set_identity(identity);
                    if let Some(tuple) = drawn {
                        let end = flow.start_ns() + context.decoder.duration_ns(&mut flow);
                        self.sampler.occupy(tuple, flow.start_ns()..end);
                    }
                    return Ok(Some(flow));
                }
            }
        }
    }
}
