//! The model, its training and its sampling, with plain integers.

mod generate;
mod model;
mod pytorch;
mod sample;
mod store;
mod train;
