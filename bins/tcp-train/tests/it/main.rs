//! The binary as a user runs it, on a small dataset of its own.

mod generate;
mod privacy;
mod resume;
mod score;
mod support;
mod team;
mod train;
