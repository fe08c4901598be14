//! Which field the loss is in.

use serde::{Deserialize, Serialize};
use tokenizer::field::vocab::{self, TABLE};

/// Nats by field, over some tokens. Digits count for the field that they spell out.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct FieldLoss {
    /// In the order of [`names`]; empty: nothing counted.
    nats: Vec<f64>,
    tokens: u64,
    packets: u64,
}

/// The fields' names, in the order of the table of tokens.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in TABLE.iter().filter(|row| row.field != "digit" && !row.field.is_empty()) {
        if !names.contains(&row.field) {
            names.push(row.field);
        }
    }
    names
}

/// The field of each token, as an index into [`names`]; digits have none of their own.
fn field_of_each() -> Vec<Option<usize>> {
    let names = names();
    (0..vocab::VOCAB_SIZE as u16)
        .map(|token| {
            vocab::row(token).and_then(|row| names.iter().position(|name| *name == row.field))
        })
        .collect()
}

impl FieldLoss {
    /// Counts tokens with their losses; a digit follows what it belongs to.
    pub fn add(&mut self, tokens: impl Iterator<Item = u16>, losses: &[f32]) {
        let fields = field_of_each();
        self.nats.resize(names().len(), 0.0);
        let mut field = 0;
        for (token, &loss) in tokens.zip(losses) {
            field = fields[usize::from(token)].unwrap_or(field);
            self.nats[field] += f64::from(loss);
            self.tokens += 1;
            self.packets += u64::from(vocab::PACKET.arg(token).is_some());
        }
    }

    /// As numbers that add up over processes.
    pub fn numbers(&self) -> Vec<f64> {
        let mut all = self.nats.clone();
        all.resize(names().len(), 0.0);
        all.extend([self.tokens as f64, self.packets as f64]);
        all
    }

    /// From such numbers.
    pub fn from_numbers(numbers: &[f64]) -> FieldLoss {
        let (nats, counts) = numbers.split_at(numbers.len() - 2);
        FieldLoss { nats: nats.to_vec(), tokens: counts[0] as u64, packets: counts[1] as u64 }
    }

    /// The larger of its counts.
    pub fn largest(&self) -> u64 {
        self.tokens.max(self.packets)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    pub fn nats_per_token(&self) -> f64 {
        self.nats.iter().sum::<f64>() / self.tokens.max(1) as f64
    }

    pub fn bits_per_packet(&self) -> f64 {
        self.bits().map(|(_, bits)| bits).sum()
    }

    /// Bits per packet of each field; together they are the bits per packet.
    pub fn bits(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let per_packet = 1.0 / (std::f64::consts::LN_2 * self.packets.max(1) as f64);
        names().into_iter().zip(&self.nats).map(move |(name, nats)| (name, nats * per_packet))
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldLoss, vocab};

    #[test]
    fn digits_count_for_what_they_spell_out() {
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
            loss.bits().find(|(name, _)| *name == field).unwrap().1 * std::f64::consts::LN_2 * 2.0
        };
        assert!((nats("packet") - 17.0).abs() < 1e-9);
        assert!((nats("window") - 6.0).abs() < 1e-9);
        assert!((nats("time") - 8.0).abs() < 1e-9);
        assert!((loss.nats_per_token() - 31.0 / 5.0).abs() < 1e-9);
        assert_eq!(FieldLoss::from_numbers(&loss.numbers()), loss);
    }
}
