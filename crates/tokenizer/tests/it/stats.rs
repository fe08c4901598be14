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
    let time = fields.iter().find(|c| c.field == "time").unwrap();
    assert!((time.tokens - time.digits - 1.0).abs() < 1e-9, "a time for each packet: {time:?}");
    // 11 gaps: 129 and 55 with their digits thrice and twice, the others once.
    assert!(time.bits > 2.0 && time.bits < 11.0f64.log2() + 1.0, "{time:?}");
}
