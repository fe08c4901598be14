//! What the binaries share: inputs, outputs, progress, exit codes, reports.
