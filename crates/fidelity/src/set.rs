//! Sets of flows, each flow observed once.

use flowtrack::Flow;
use tokenizer::TokenCode;
use tokenizer::field::{Field, vocab};

use crate::comparison::Error;
use crate::learn::{Seen, see};
use crate::observe::{Names, Observed};

/// Set of flows with their observations.
pub(crate) struct Set {
    pub(crate) observed: Vec<Observed>,
    /// Features of each flow for measures that learn.
    pub(crate) seen: Vec<Seen>,
    /// Tokens of each flow, time included.
    pub(crate) exact: Vec<Vec<u16>>,
    /// Tokens of each flow without those of time.
    pub(crate) headers: Vec<Vec<u16>>,
}

impl Set {
    pub(crate) fn of(side: &'static str, flows: &[Flow], names: &mut Names) -> Result<Set, Error> {
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
        let observed = flows.iter().map(|f| names.observe(f)).collect();
        Ok(Set { observed, seen: flows.iter().map(see).collect(), exact, headers })
    }
}

/// Returns the tokens without those that encode time.
fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut keep = true;
    let mut kept = Vec::with_capacity(tokens.len() / 2);
    for &token in tokens {
        let field = vocab::row(token).map_or("", |r| r.field);
        keep = if field == "digit" { keep } else { field != "time" };
        if keep {
            kept.push(token);
        }
    }
    kept
}
