//! Tests of the workspace itself.

mod docs;
mod layers;
mod readme;
mod sources;
