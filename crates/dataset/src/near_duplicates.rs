//! Flows that differ in time alone.

use tokenizer::field::vocab;

/// Returns the tokens of a flow without times, time stamps and the digits of both. Flows for which
/// these tokens are equal differ in time alone.
#[must_use]
pub fn without_time(tokens: &[u16]) -> Vec<u16> {
    let mut is_left_out = false;
    let is_kept = |token: &u16| {
        if vocab::DIGIT.arg(*token).is_none() {
            is_left_out = vocab::row(*token)
                .is_some_and(|row| ["time", "due", "timestamps"].contains(&row.field));
        }
        !is_left_out
    };
    tokens.iter().copied().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::{vocab, without_time};

    #[test]
    fn times_and_their_digits_do_not_count() {
        let digit = |n| vocab::DIGIT.at(n);
        let flow = |gap: usize| {
            let head = [vocab::PACKET.at(3), vocab::WIN_UP.at(9), digit(7)];
            let clock = [
                vocab::TSVAL_FORWARD.at(0),
                digit(1),
                digit(gap),
                vocab::TIME.at(gap),
                digit(gap),
                digit(2),
            ];
            [&head[..], &clock, &[vocab::PACKET.at(5), digit(1)]].concat()
        };
        assert_eq!(without_time(&flow(4)), without_time(&flow(90)));
        assert_eq!(without_time(&flow(4)).len(), 5);
    }
}
