//! Capture files and frames, valid and hostile.

mod dissect;
mod hostile;
mod reader;
