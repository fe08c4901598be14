//! Distance between traces: the behaviour of hosts over several flows.

mod compare;
mod damage;
mod flow;
mod observe;
mod windows;

pub use self::compare::{
    Burstiness, TraceComparison, TraceError, TraceMeasure, TraceSides, TraceTrees, TraceUnit,
    compare_traces,
};
pub use self::damage::Damage;
pub use self::flow::{TraceFlow, Traces};
