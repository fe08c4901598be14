//! Base-256 digits: numbers that follow a token, most significant digit first.

use super::bucket::{Scale, digits_for};
use super::vocab::{self, TokenRange};
use crate::TokenId;

/// Appends the `count` lowest digits of `value`.
pub(crate) fn write_digits(value: u64, count: u8, out: &mut Vec<TokenId>) {
    for i in (0..count).rev() {
        out.push(vocab::DIGIT.at((value >> (8 * i) & 0xff) as usize));
    }
}

/// Appends the first token of `range`, and `count` digits of `value`.
pub(crate) fn write_raw(range: TokenRange, value: u64, count: u8, out: &mut Vec<TokenId>) {
    out.push(range.at(0));
    write_digits(value, count, out);
}

/// Appends the token of the bucket that `value` lies in, and the digits of its place there. Appends
/// nothing if `value` is outside the scale.
pub(crate) fn write_bucketed(range: TokenRange, scale: &Scale, value: u64, out: &mut Vec<TokenId>) {
    let Some((i, b)) = scale.find(value) else { return };
    out.push(range.at(i));
    write_digits(value - b.first, digits_for(b.max_offset()), out);
}

/// Value that a run of digits spells.
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
    /// Kind octet of an option without tokens of its own.
    OptionKind,
    /// Length octet of an option of this kind.
    OptionLen {
        kind: u8,
    },
    /// Number of octets that do not parse as options.
    OctetsLen,
    /// One octet of an option, with `left` more to follow.
    OptionOctet {
        left: u8,
    },
    Mss,
    Ws,
    /// Edges of a SACK block, with `more` blocks to follow.
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
    /// Time since the packet before; `back`: the clock was set back.
    Gap {
        back: bool,
    },
    /// Time since an answer was due; `early`: until it is due.
    Due {
        early: bool,
    },
}

/// A run of digits of which some have been read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digits {
    /// Value that the digits spell.
    pub(crate) target: DigitTarget,
    /// Number of digits that have not been read.
    pub(crate) left: u8,
    /// First value of the bucket, which is added to the number.
    pub(crate) first: u64,
    /// Number that the digits read so far make.
    pub(crate) value: u64,
    /// Least number that all digits may make.
    pub(crate) min: u64,
    /// Greatest number that all digits may make.
    pub(crate) max: u64,
}

impl Digits {
    /// Returns the least and the greatest next digit of a number from `least` to `most`.
    pub(crate) fn range(&self, least: u64, most: u64) -> (u8, u8) {
        let shift = 8 * u32::from(self.left.max(1) - 1);
        // Each bound counts only while the digits so far equal its own: a number that is already
        // between the bounds may have any digit.
        let digit =
            |bound: u64| ((bound >> shift) - (self.value << 8).min(bound >> shift)).min(255) as u8;
        let least = self.min.max(least);
        let low = if self.value << 8 <= least >> shift { digit(least) } else { 0 };
        (low, digit(self.max.min(most)))
    }

    /// Reads one digit, which must keep the number within its bounds.
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

/// Error of a token that is no digit, or of a digit that takes the number out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutOfRange;
