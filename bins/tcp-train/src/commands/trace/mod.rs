//! Traces: hosts by a model of skeletons, each with its flows by a model of flows.

mod filter;
mod flows;
mod hosts;
mod run;
mod skeletons;
mod training;

pub(super) use run::generate;
pub(super) use training::{SKELETON, skeleton_file};
