//! Tests of every form of the operator against the definition, in float64 if the form has it.

mod attention;
mod convolution;
mod cuda;
mod decoder;
mod device_decoder;
mod gpu;
mod layers;
mod memory;
mod optimizer;
