//! The model, its training and its sampling, with plain integers.

mod analysis;
mod file;
mod generate;
mod gpu;
mod model;
mod pytorch;
mod sample;
mod store;
mod train;
