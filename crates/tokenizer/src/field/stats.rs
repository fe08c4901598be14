//! Statistics of tokens: their number per packet, and the information in them, by field.

use std::collections::BTreeMap;
use std::fmt;

use flowtrack::Flow;

use super::codec::Field;
use super::vocab::{self, TABLE};
use crate::{EncodeError, TokenCode, TokenId};

/// Counts of the tokens of many flows.
#[derive(Clone, Debug, Default)]
pub struct TokenStats {
    flows: u64,
    packets: u64,
    tokens: BTreeMap<TokenId, u64>,
    /// Counts of digits, by the token that they follow and their place after it.
    digits: BTreeMap<(TokenId, u8), BTreeMap<TokenId, u64>>,
}

/// Statistics of the tokens of one field.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FieldStats {
    /// Name of the field in the table of ids.
    pub field: &'static str,
    /// Number of tokens per packet, digits included.
    pub tokens: f64,
    /// Number of digits per packet.
    pub digits: f64,
    /// Bits per packet: the entropy of the field's token frequencies, where having no token counts
    /// as one of its values, and of its digits, given the token before them. A model that sees
    /// more than frequencies needs fewer.
    pub bits: f64,
}

impl TokenStats {
    /// Counts the tokens of `flows`.
    ///
    /// # Errors
    /// If a flow cannot be encoded.
    pub fn from_flows(flows: &[Flow]) -> Result<TokenStats, EncodeError> {
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

    /// Counts the tokens of one flow. Ignores ids that are not in the table.
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

    /// Returns the number of packets counted.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Returns the statistics of each field in the order of the table, then those of all fields
    /// under the name `all`.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldStats> {
        let mut names: Vec<&'static str> =
            TABLE.iter().map(|r| r.field).filter(|f| *f != "digit").collect();
        names.dedup();
        let mut fields: Vec<FieldStats> = names.into_iter().map(|f| self.field(f)).collect();
        let sum = |value: fn(&FieldStats) -> f64| fields.iter().map(value).sum();
        fields.push(FieldStats {
            field: "all",
            tokens: sum(|c| c.tokens),
            digits: sum(|c| c.digits),
            bits: sum(|c| c.bits),
        });
        fields
    }

    /// Computes the statistics of one field.
    fn field(&self, field: &'static str) -> FieldStats {
        let ours = |token: &TokenId| vocab::row(*token).is_some_and(|r| r.field == field);
        let counts: Vec<u64> =
            self.tokens.iter().filter(|(t, _)| ours(t)).map(|(_, &n)| n).collect();
        let digits: Vec<&BTreeMap<TokenId, u64>> = self
            .digits
            .iter()
            .filter(|((before, _), _)| ours(before))
            .map(|(_, digits)| digits)
            .collect();
        let (tokens, more): (u64, u64) =
            (counts.iter().sum(), digits.iter().flat_map(|d| d.values()).sum());
        // A packet has at most one token of a field, but several of options; a flow has one of each
        // field of the header.
        let absent = self.packets.saturating_sub(tokens);
        // Which of both times a packet has follows from the state.
        let mut bits = if ["flow", "time", "due"].contains(&field) {
            bits_of(counts.into_iter())
        } else {
            bits_of(counts.into_iter().chain([absent]))
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

/// Returns the number of bits that an ideal coder takes for all symbols with these counts.
fn bits_of(counts: impl Iterator<Item = u64>) -> f64 {
    let counts: Vec<f64> = counts.filter(|&n| n > 0).map(|n| n as f64).collect();
    let sum: f64 = counts.iter().sum();
    counts.iter().map(|n| n * (sum / n).log2()).sum()
}

impl fmt::Display for TokenStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| field | tokens per packet | of them digits | bits per packet |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for c in self.fields() {
            writeln!(f, "| {} | {:.3} | {:.3} | {:.3} |", c.field, c.tokens, c.digits, c.bits)?;
        }
        write!(f, "\n{} flows, {} packets", self.flows, self.packets)
    }
}
