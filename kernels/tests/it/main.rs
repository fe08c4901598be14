//! Every form of the operator against the definition, in float64 where it can be.

mod attention;
mod cuda;
mod decoder;
mod gpu;
mod memory;
mod optimizer;
