//! Integration tests of datasets of flows.

mod corpus;
mod rows;
mod sink;
