//! Sets of flows, each flow observed once.

use flowtrack::Flow;
use tokenizer::TokenCode;
use tokenizer::field::{Field, vocab};

use crate::comparison::Error;
use crate::learn::{LearnerInput, learner_input};
use crate::observe::{Observed, ValueIds};

/// Set of flows with their observations.
pub(crate) struct FlowSet {
    pub(crate) observed: Vec<Observed>,
    /// Features of each flow for measures that learn.
    pub(crate) learner_inputs: Vec<LearnerInput>,
    /// Tokens of each flow, time included.
    pub(crate) exact: Vec<Vec<u16>>,
    /// Tokens of each flow without those of time.
    pub(crate) headers: Vec<Vec<u16>>,
}

impl FlowSet {
    pub(crate) fn new(
        side: &'static str,
        flows: &[Flow],
        ids: &mut ValueIds,
    ) -> Result<FlowSet, Error> {
        let mut code = Field::default();
        let (mut exact, mut headers) = (Vec::new(), Vec::new());
        for (index, flow) in flows.iter().enumerate() {
            let mut tokens = Vec::new();
            code.encode(flow, &mut tokens).map_err(|error| Error::Unencodable {
                side,
                index,
                error,
            })?;
            headers.push(without_time(&tokens));
            exact.push(tokens);
        }
        let observed = flows.iter().map(|f| ids.observe(f)).collect();
        Ok(FlowSet {
            observed,
            learner_inputs: flows.iter().map(learner_input).collect(),
            exact,
            headers,
        })
    }
}

/// Returns the tokens without those that encode time.
fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut keep = true;
    let mut kept = Vec::with_capacity(tokens.len() / 2);
    for &token in tokens {
        let field = vocab::row(token).map_or("", |r| r.field);
        keep = if field == "digit" { keep } else { !["time", "due"].contains(&field) };
        if keep {
            kept.push(token);
        }
    }
    kept
}
