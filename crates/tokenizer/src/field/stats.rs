//! What tokens cost: how many a packet takes for each field, and how much information is in them.

use std::collections::BTreeMap;
use std::fmt;

use flowtrack::Flow;

use super::codec::Field;
use super::vocab::{self, TABLE};
use crate::{EncodeError, TokenCode, TokenId};

/// Counts tokens of many flows, field by field.
#[derive(Clone, Debug, Default)]
pub struct TokenStats {
    flows: u64,
    packets: u64,
    tokens: BTreeMap<TokenId, u64>,
    /// Digits by the token that they follow and their place after it.
    digits: BTreeMap<(TokenId, u8), BTreeMap<TokenId, u64>>,
}

/// What one field costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FieldStats {
    /// Name of the field, as in the table of ids.
    pub field: &'static str,
    /// Tokens per packet, digits included.
    pub tokens: f64,
    /// Of these, digits.
    pub digits: f64,
    /// Bits per packet: the entropy of the field's frequencies (not said being one of its values)
    /// and, given the token before them, of its digits'. A model that sees more than frequencies
    /// needs fewer.
    pub bits: f64,
}

impl TokenStats {
    /// What `flows` cost.
    ///
    /// # Errors
    /// Where a flow can not be encoded.
    pub fn of(flows: &[Flow]) -> Result<TokenStats, EncodeError> {
        let mut stats = TokenStats::default();
        let mut code = Field::default();
        let mut tokens = Vec::new();
        for flow in flows {
            tokens.clear();
            code.encode(flow, &mut tokens)?;
            stats.add(&tokens);
        }
        Ok(stats)
    }

    /// Counts the tokens of one flow. Ids that are not in the table count for nothing.
    pub fn add(&mut self, tokens: &[TokenId]) {
        self.flows += 1;
        let mut before = vocab::END;
        let mut place = 0;
        for &token in tokens {
            if vocab::DIGIT.arg(token).is_some() {
                *self.digits.entry((before, place)).or_default().entry(token).or_default() += 1;
                place = place.saturating_add(1);
                continue;
            }
            (before, place) = (token, 0);
            *self.tokens.entry(token).or_default() += 1;
            self.packets += u64::from(vocab::PACKET.arg(token).is_some());
        }
    }

    /// Number of packets counted.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What each field costs, in the order of the table; then all of them under the name `all`.
    #[must_use]
    pub fn costs(&self) -> Vec<FieldStats> {
        let mut fields: Vec<&'static str> =
            TABLE.iter().map(|r| r.field).filter(|f| *f != "digit").collect();
        fields.dedup();
        let mut costs: Vec<FieldStats> = fields.into_iter().map(|f| self.cost(f)).collect();
        let sum = |of: fn(&FieldStats) -> f64| costs.iter().map(of).sum();
        costs.push(FieldStats {
            field: "all",
            tokens: sum(|c| c.tokens),
            digits: sum(|c| c.digits),
            bits: sum(|c| c.bits),
        });
        costs
    }

    fn cost(&self, field: &'static str) -> FieldStats {
        let ours = |token: &TokenId| vocab::row(*token).is_some_and(|r| r.field == field);
        let said: Vec<u64> = self.tokens.iter().filter(|(t, _)| ours(t)).map(|(_, &n)| n).collect();
        let digits: Vec<&BTreeMap<TokenId, u64>> = self
            .digits
            .iter()
            .filter(|((before, _), _)| ours(before))
            .map(|(_, counts)| counts)
            .collect();
        let (tokens, more): (u64, u64) =
            (said.iter().sum(), digits.iter().flat_map(|d| d.values()).sum());
        // A field is said at most once a packet, or (the head) once a flow; options take several
        // tokens.
        let unsaid = self.packets.saturating_sub(tokens);
        let mut bits = if field == "flow" {
            bits_of(said.into_iter())
        } else {
            bits_of(said.into_iter().chain([unsaid]))
        };
        bits += digits.iter().map(|d| bits_of(d.values().copied())).sum::<f64>();
        let packets = self.packets.max(1) as f64;
        FieldStats {
            field,
            tokens: (tokens + more) as f64 / packets,
            digits: more as f64 / packets,
            bits: bits / packets,
        }
    }
}

/// The bits that an ideal coder takes for symbols with these counts, all together.
fn bits_of(counts: impl Iterator<Item = u64>) -> f64 {
    let counts: Vec<f64> = counts.filter(|&n| n > 0).map(|n| n as f64).collect();
    let sum: f64 = counts.iter().sum();
    counts.iter().map(|n| n * (sum / n).log2()).sum()
}

impl fmt::Display for TokenStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| field | tokens per packet | of them digits | bits per packet |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for c in self.costs() {
            writeln!(f, "| {} | {:.3} | {:.3} | {:.3} |", c.field, c.tokens, c.digits, c.bits)?;
        }
        write!(f, "\n{} flows, {} packets", self.flows, self.packets)
    }
}
