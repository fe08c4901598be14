//! Loss by header field: the share of each field in the cost of a packet.

use serde::{Deserialize, Serialize};
use tokenizer::field::vocab::{self, TABLE};

/// Cross-entropy by field, summed over tokens. A digit counts for the field whose number it is part
/// of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FieldLoss {
    /// Nats of each field, in the order of [`field_names`]; empty until a token is counted.
    nats: Vec<f64>,
    /// Number of tokens counted, digits included.
    tokens: u64,
    /// Number of packets counted: one for each token that begins a packet.
    packets: u64,
}

/// Returns the names of the fields that tokens encode, in the order of the token table.
#[must_use]
pub fn field_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in TABLE.iter().filter(|row| row.field != "digit" && !row.field.is_empty()) {
        if !names.contains(&row.field) {
            names.push(row.field);
        }
    }
    names
}

/// Returns the field of each token id as an index into [`field_names`], or `None` for digits, which
/// belong to the field of an earlier token.
#[must_use]
pub fn fields_by_token() -> Vec<Option<usize>> {
    let names = field_names();
    (0..vocab::VOCAB_SIZE as u16)
        .map(|token| {
            vocab::row(token).and_then(|row| names.iter().position(|name| *name == row.field))
        })
        .collect()
}

impl FieldLoss {
    /// Adds the losses of consecutive tokens, in nats. A digit counts for the field of the nearest
    /// token before it that is no digit.
    pub fn add(&mut self, tokens: impl Iterator<Item = u16>, losses: &[f32]) {
        let fields = fields_by_token();
        self.nats.resize(field_names().len(), 0.0);
        let mut field = 0;
        for (token, &loss) in tokens.zip(losses) {
            field = fields[usize::from(token)].unwrap_or(field);
            self.nats[field] += f64::from(loss);
            self.tokens += 1;
            self.packets += u64::from(vocab::PACKET.arg(token).is_some());
        }
    }

    /// Returns the sums as numbers, for an all-reduce over processes: the nats by field, then the
    /// counts of tokens and packets.
    #[must_use]
    pub fn to_numbers(&self) -> Vec<f64> {
        let mut all = self.nats.clone();
        all.resize(field_names().len(), 0.0);
        all.extend([self.tokens as f64, self.packets as f64]);
        all
    }

    /// Returns the loss with these sums, the inverse of [`FieldLoss::to_numbers`].
    #[must_use]
    pub fn from_numbers(numbers: &[f64]) -> FieldLoss {
        let (nats, counts) = numbers.split_at(numbers.len() - 2);
        FieldLoss { nats: nats.to_vec(), tokens: counts[0] as u64, packets: counts[1] as u64 }
    }

    /// Returns the larger of the two counts, tokens and packets.
    #[must_use]
    pub fn max_count(&self) -> u64 {
        self.tokens.max(self.packets)
    }

    /// Returns whether no token was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Returns the mean cross-entropy per token, in nats.
    #[must_use]
    pub fn nats_per_token(&self) -> f64 {
        self.nats.iter().sum::<f64>() / self.tokens.max(1) as f64
    }

    /// Returns the mean cross-entropy per packet, in bits: the sum over the fields.
    #[must_use]
    pub fn bits_per_packet(&self) -> f64 {
        self.bits_by_field().map(|(_, bits)| bits).sum()
    }

    /// Returns each field with its mean cross-entropy per packet, in bits.
    pub fn bits_by_field(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let per_packet = 1.0 / (std::f64::consts::LN_2 * self.packets.max(1) as f64);
        field_names().into_iter().zip(&self.nats).map(move |(name, nats)| (name, nats * per_packet))
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldLoss, vocab};

    #[test]
    fn digits_count_for_the_field_before_them() {
        let tokens = [
            vocab::PACKET.at(3),
            vocab::WIN_UP.at(9),
            vocab::DIGIT.at(7),
            vocab::TIME.at(2),
            vocab::PACKET.at(0),
        ];
        let mut loss = FieldLoss::default();
        loss.add(tokens.into_iter(), &[1.0, 2.0, 4.0, 8.0, 16.0]);
        let nats = |field: &str| {
            loss.bits_by_field().find(|(name, _)| *name == field).unwrap().1
                * std::f64::consts::LN_2
                * 2.0
        };
        assert!((nats("packet") - 17.0).abs() < 1e-9);
        assert!((nats("window") - 6.0).abs() < 1e-9);
        assert!((nats("time") - 8.0).abs() < 1e-9);
        assert!((loss.nats_per_token() - 31.0 / 5.0).abs() < 1e-9);
        assert_eq!(FieldLoss::from_numbers(&loss.to_numbers()), loss);
    }
}
