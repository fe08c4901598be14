//! The reference document of the code, written from the table of [`vocab`](super::vocab).

use std::fmt::Write;

use super::host::{HostSkeleton, SkeletonFlow, Syn, syn_of};
use super::vocab::{self, TABLE, VERSION, VOCAB_SIZE};
use crate::TokenId;
use crate::field::{self, SessionClass, TimeUnit};

const INTRODUCTION: &str = include_str!("doc/introduction.md");

/// Returns the text of `docs/skeleton.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = INTRODUCTION
        .replace("{version}", &VERSION.to_string())
        .replace("{size}", &VOCAB_SIZE.to_string());
    for row in TABLE {
        let (first, last) = (row.range.first, row.range.first + row.range.len - 1);
        let ids = if first == last { first.to_string() } else { format!("{first}..{last}") };
        let (name, field) = if row.name.is_empty() {
            ("that of the flow code".to_owned(), "host, port, syn, class, length")
        } else {
            (format!("`{}`", row.name), row.field)
        };
        let digits = if row.digits.is_empty() { "as there" } else { row.digits };
        let _ = writeln!(out, "| {ids} | {name} | {field} | {digits} | {} |", row.meaning);
    }
    let _ = write!(out, "\n## A host by hand\n\n{}", worked_text());
    out
}

/// Returns the tokens of a SYN, those of the worked flow of the flow code.
#[must_use]
pub fn worked_syn() -> Vec<TokenId> {
    let mut tokens = Vec::new();
    // The worked flow has a token for each of its values.
    let _ = field::encode(&field::doc::worked_flow(), &mut tokens);
    syn_of(&tokens).map_or_else(Vec::new, |syn| syn.tokens)
}

/// Returns a host of four flows, made by hand: a page with two parallel connections to one server,
/// a second server, and the first one again.
#[must_use]
pub fn worked_host() -> HostSkeleton {
    let flow = |start_us: i64, end_us: i64, server, port, length_class| SkeletonFlow {
        start_ns: start_us * 1000,
        end_ns: end_us * 1000,
        server,
        port,
        syn: Syn { is_v6: false, tokens: worked_syn() },
        class: SessionClass::default(),
        length_class,
    };
    HostSkeleton {
        since_ns: 0,
        unit: TimeUnit::Microsecond,
        flows: vec![
            flow(0, 800_000, 0, 443, 5),
            flow(1_200, 400_000, 0, 443, 4),
            flow(450_000, 460_000, 1, 80, 3),
            flow(5_460_000, 5_900_000, 0, 443, 4),
        ],
    }
}

/// Returns the tokens of the worked host, a line for each flow.
fn worked_text() -> String {
    let mut tokens = Vec::new();
    // The worked host is made of values that the code has.
    let _ = super::encode(&worked_host(), 0, &mut tokens);
    let mut parser = super::Parser::new(0);
    let mut text = String::from("```text\n");
    let mut line = Vec::new();
    for token in tokens {
        line.push(vocab::describe(token));
        if matches!(parser.push(token), Ok(super::Step::Flow(_) | super::Step::End)) {
            let _ = writeln!(text, "{}", line.join(" "));
            line.clear();
        }
    }
    text + "```\n"
}
