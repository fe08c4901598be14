//! Tests of the workspace itself.

mod circles;
mod docs;
mod layers;
mod readme;
mod sentences;
mod sources;
mod tree;
mod walls;
