//! Capture files and frames, valid and hostile.

mod dissect;
mod headers;
mod hostile;
mod merge;
mod reader;
mod samples;
