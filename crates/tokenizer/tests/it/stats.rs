//! Statistics of the tokens of one flow.

use tokenizer::field::{self, TokenStats};

#[test]
fn all_tokens_are_counted_once() {
    let flow = field::doc::worked_flow();
    let mut tokens = Vec::new();
    field::encode(&flow, &mut tokens).unwrap();
    let mut stats = TokenStats::default();
    stats.add(&tokens);
    stats.add(&tokens);
    let fields = stats.fields();
    let all = fields.last().unwrap();
    assert_eq!(stats.packets(), 22);
    assert!((all.tokens - tokens.len() as f64 / 11.0).abs() < 1e-9, "{all:?}");
    let times: Vec<_> = fields.iter().filter(|c| ["time", "due"].contains(&c.field)).collect();
    let said: f64 = times.iter().map(|time| time.tokens - time.digits).sum();
    assert!((said - 1.0).abs() < 1e-9, "a time for each packet: {times:?}");
    // Four times in 11 are that of an answer, each with a token of its own.
    assert!((times[1].tokens - times[1].digits - 4.0 / 11.0).abs() < 1e-9, "{times:?}");
    assert!(times[0].bits > 1.0 && times[0].bits < 11.0f64.log2() + 1.0, "{times:?}");
}
