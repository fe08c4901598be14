//! The program as a user runs it, on a small dataset.

mod classify;
mod generate;
mod privacy;
mod resume;
mod score;
mod support;
mod team;
mod trace;
mod train;
