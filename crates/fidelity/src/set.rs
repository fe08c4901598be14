//! Sets of flows, and what is seen of each flow once.

use flowtrack::Flow;
use tokenizer::TokenCode;
use tokenizer::field::{Field, vocab};

use crate::comparison::Error;
use crate::learn::{Seen, see};
use crate::observe::{Names, Observed};

/// Flows, and which of them come from one capture.
#[derive(Clone, Copy, Debug)]
pub struct Flows<'a> {
    /// The flows.
    pub flows: &'a [Flow],
    /// A number for the capture of each flow; empty where captures are not known: then each flow stands alone.
    pub captures: &'a [u32],
}

impl<'a> From<&'a [Flow]> for Flows<'a> {
    fn from(flows: &'a [Flow]) -> Flows<'a> {
        Flows { flows, captures: &[] }
    }
}

impl Flows<'_> {
    fn captures(&self) -> Vec<u32> {
        match self.captures.len() == self.flows.len() {
            true => self.captures.to_vec(),
            false => (0..self.flows.len() as u32).collect(),
        }
    }

    /// Flows and packets.
    pub(crate) fn size(&self) -> [u64; 2] {
        [self.flows.len() as u64, self.flows.iter().map(|f| f.packets.len() as u64).sum()]
    }
}

/// A set of flows, looked at.
pub(crate) struct Set {
    pub(crate) observed: Vec<Observed>,
    pub(crate) seen: Vec<Seen>,
    /// The capture of each flow.
    pub(crate) captures: Vec<u32>,
    /// Tokens of each flow, and tokens without time.
    pub(crate) exact: Vec<Vec<u16>>,
    pub(crate) headers: Vec<Vec<u16>>,
}

impl Set {
    pub(crate) fn of(side: &'static str, flows: Flows<'_>, names: &mut Names) -> Result<Set, Error> {
        let captures = flows.captures();
        let flows = flows.flows;
        let mut code = Field::default();
        let (mut exact, mut headers) = (Vec::new(), Vec::new());
        for (index, flow) in flows.iter().enumerate() {
            let mut tokens = Vec::new();
            code.encode(flow, &mut tokens).map_err(|error| Error::Unsayable { side, index, error })?;
            headers.push(without_time(&tokens));
            exact.push(tokens);
        }
        let observed = flows.iter().map(|f| names.observe(f)).collect();
        Ok(Set { observed, seen: flows.iter().map(see).collect(), captures, exact, headers })
    }
}

/// The tokens that do not speak of time.
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
