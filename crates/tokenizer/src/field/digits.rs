//! Base-256 digits: numbers that follow a token, most significant digit first.

use super::bucket::{Scale, digits_for};
use super::vocab::{self, Range};
use crate::TokenId;

pub(crate) fn write_digits(value: u64, count: u8, out: &mut Vec<TokenId>) {
    for i in (0..count).rev() {
        out.push(vocab::DIGIT.at((value >> (8 * i) & 0xff) as usize));
    }
}

pub(crate) fn write_raw(range: Range, value: u64, count: u8, out: &mut Vec<TokenId>) {
    out.push(range.at(0));
    write_digits(value, count, out);
}

pub(crate) fn write_bucketed(
    range: Range,
    scale: Scale,
    value: u64,
    out: &mut Vec<TokenId>,
) -> bool {
    let Some(i) = scale.index(value) else { return false };
    let b = scale.bucket(i);
    out.push(range.at(i));
    write_digits(value - b.first, digits_for(b.max_offset()), out);
    true
}

/// What a run of digits is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum DigitTarget {
    #[default]
    Port,
    Flags,
    SeqForward,
    SeqBack,
    SeqRaw,
    AckForward,
    AckBack,
    AckRaw,
    Len,
    LenRaw,
    WindowUp,
    WindowDown,
    Urgent,
    OptionKind,
    OptionLen {
        kind: u8,
    },
    OctetsLen,
    OptionOctet {
        left: u8,
    },
    Mss,
    Ws,
    Sack {
        more: u8,
    },
    TsValForward,
    TsValRaw,
    TsEcrRaw,
    TrafficClass,
    Ttl,
    Id,
    Label,
    Gap {
        back: bool,
    },
}

/// A run of digits, of which some are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digits {
    pub(crate) target: DigitTarget,
    /// Digits to come.
    pub(crate) left: u8,
    /// What is added to the value: where its bucket begins.
    pub(crate) first: u64,
    /// The value so far.
    pub(crate) value: u64,
    /// The least and the greatest value that all of them may make.
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Digits {
    /// The digits that may follow, for a value from `least` to `most`.
    pub(crate) fn range(&self, least: u64, most: u64) -> (u8, u8) {
        let shift = 8 * u32::from(self.left.max(1) - 1);
        let digit =
            |bound: u64| ((bound >> shift) - (self.value << 8).min(bound >> shift)).min(255) as u8;
        let least = self.min.max(least);
        let low = if self.value << 8 <= least >> shift { digit(least) } else { 0 };
        (low, digit(self.max.min(most)))
    }

    /// Takes in a digit.
    #[inline]
    pub(crate) fn push(&mut self, token: TokenId) -> Result<(), OutOfRange> {
        let digit = vocab::DIGIT.arg(token).ok_or(OutOfRange)? as u64;
        let shift = 8 * u32::from(self.left.max(1) - 1);
        let next = self.value << 8 | digit;
        if next < self.min >> shift || next > self.max >> shift {
            return Err(OutOfRange);
        }
        self.value = next;
        self.left -= 1;
        Ok(())
    }
}

/// Error: a token that is no digit, or a digit that makes the number too small or too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutOfRange;
