//! Tests of the workspace itself.

mod layers;
mod readme;
