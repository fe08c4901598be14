//! Captures of every kind that is read, and octets of no kind at all.

mod dissect;
mod hostile;
mod reader;
