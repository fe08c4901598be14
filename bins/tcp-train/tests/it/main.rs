//! The binary as a user runs it, on a small dataset of its own.

mod generate;
mod resume;
mod support;
mod team;
mod train;
