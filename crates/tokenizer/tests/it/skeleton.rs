//! Skeletons of hosts: exact round trips, and a grammar that is what the parser takes.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;
use testkit::captures::all_complete_flows;
use tokenizer::field::{self, SessionClass, TimeUnit};
use tokenizer::skeleton::{
    self, HostSkeleton, Parser, SkeletonError, SkeletonFlow, Step, Syn, VOCAB_SIZE, doc, syn_of,
    vocab,
};

/// SYNs of real flows, each once.
static SYNS: LazyLock<Vec<Syn>> = LazyLock::new(|| {
    let mut syns: Vec<Syn> = Vec::new();
    let mut tokens = Vec::new();
    for flow in all_complete_flows() {
        tokens.clear();
        field::encode(&flow, &mut tokens).unwrap();
        syns.extend(syn_of(&tokens).filter(|syn| !syns.contains(syn)));
    }
    assert!(syns.len() > 10, "{} SYNs", syns.len());
    syns
});

/// Numbers that make a flow: gap, duration, server, port, SYN, class, length class.
type Draw = (u64, u64, u32, u16, usize, usize, u8);

/// Builds a host of the draws, with servers numbered by first use.
fn host(draws: &[Draw], syns: &[Syn], shared: u32, unit: TimeUnit, since: u64) -> HostSkeleton {
    let ns = |units: u64| units as i64 * unit.ns();
    let (mut flows, mut start, mut new): (Vec<SkeletonFlow>, u64, u32) = (Vec::new(), 0, 0);
    for (i, &(gap, duration, server, port, syn, class, length_class)) in draws.iter().enumerate() {
        start += if i == 0 { 0 } else { gap };
        let server = server % (shared + new + 1);
        new += u32::from(server == shared + new);
        flows.push(SkeletonFlow {
            start_ns: ns(start),
            end_ns: ns(start + duration),
            server,
            port: if port < 50 { 443 } else { port % 60 },
            syn: syns[syn % syns.len()].clone(),
            class: SessionClass::from_id(class).unwrap(),
            length_class,
        });
    }
    HostSkeleton { since_ns: ns(since), unit, flows }
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let time = prop_oneof![Just(0), 0..3000_u64, 0..40_000_000_u64, 0..1_u64 << 45];
    let draw = (time.clone(), time, 0..12_u32, any::<u16>(), 0..9_usize, 0..6_usize, 0..16_u8);
    prop::collection::vec(draw, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_host_comes_back(
        draws in draws(),
        shared in select(vec![0, 1, 5, 300]),
        unit in select(vec![TimeUnit::Nanosecond, TimeUnit::Microsecond]),
        since in 0..1_u64 << 40,
    ) {
        let host = host(&draws, &SYNS, shared, unit, since);
        let mut tokens = Vec::new();
        skeleton::encode(&host, shared, &mut tokens).unwrap();
        let ends: Vec<i64> = host.flows.iter().map(|flow| flow.end_ns).collect();
        prop_assert_eq!(&skeleton::decode(&tokens, shared, &ends).unwrap(), &host);
        // Whatever is cut off, the tokens are refused and not taken for a host.
        let cut = skeleton::decode(&tokens[..tokens.len() - 1], shared, &ends);
        let is_truncated = matches!(cut, Err(SkeletonError::Truncated { .. }));
        prop_assert!(is_truncated);
    }

    #[test]
    fn the_mask_is_what_push_takes(picks in prop::collection::vec(any::<u16>(), 1..200)) {
        let mut parser = Parser::new(2);
        for pick in picks {
            let mask = parser.allowed_next();
            let allowed: Vec<u16> = mask.iter().collect();
            for token in (0..VOCAB_SIZE as u16 + 3).step_by(7).chain(allowed.iter().copied()) {
                let taken = parser.clone().push(token).is_ok();
                prop_assert_eq!(taken, mask.contains(token), "{}", vocab::describe(token));
            }
            if parser.is_done() {
                prop_assert!(allowed.is_empty());
                break;
            }
            prop_assert!(!allowed.is_empty());
            parser.push(allowed[usize::from(pick) % allowed.len()]).unwrap();
        }
    }

    #[test]
    fn any_tokens_decode_or_are_refused(tokens in prop::collection::vec(0..900_u16, 0..60)) {
        let _ = skeleton::decode(&tokens, 3, &[0]);
    }

    #[test]
    fn every_walk_is_a_host(picks in prop::collection::vec(any::<u16>(), 400)) {
        let mut parser = Parser::new(0);
        let (mut heads, mut tokens) = (0, Vec::new());
        for pick in picks.iter().cycle() {
            // Behind enough tokens the walk ends as soon as it may.
            let allowed: Vec<u16> = parser.allowed_next().iter().collect();
            let is_late = tokens.len() > 300 && allowed.contains(&skeleton::END);
            let token = allowed[usize::from(*pick) % allowed.len()];
            let token = if is_late { skeleton::END } else { token };
            tokens.push(token);
            match parser.push(token).unwrap() {
                Step::Flow(_) => heads += 1,
                Step::End => break,
                Step::More => {}
            }
        }
        let host = skeleton::decode(&tokens, 0, &vec![0; heads]).unwrap();
        prop_assert_eq!(host.flows.len(), heads);
    }
}

#[test]
fn misplaced_tokens_are_named() {
    let error = skeleton::decode(&[vocab::END], 0, &[]).unwrap_err().to_string();
    assert_eq!(error, "token 0 (from 0): expected host, found 1 (host.end)");
    let mut tokens = Vec::new();
    skeleton::encode(&doc::worked_host(), 0, &mut tokens).unwrap();
    let error = skeleton::decode(&tokens, 0, &[0]).unwrap_err().to_string();
    assert_eq!(error, "ends of the host's flows: expected 4, found 1");
}

#[test]
fn a_host_that_the_code_does_not_express_is_refused() {
    let check = |change: fn(&mut HostSkeleton), expected: &str| {
        let mut host = doc::worked_host();
        change(&mut host);
        let mut tokens = vec![7];
        let error = skeleton::encode(&host, 0, &mut tokens).unwrap_err().to_string();
        assert_eq!((error.as_str(), &tokens[..]), (expected, &[7][..]));
    };
    check(|host| host.flows.clear(), "the host has no flows");
    check(
        |host| host.flows[1].server = 2,
        "flow 1 of the host (from 0): expected servers numbered by first use, found 2",
    );
    check(
        |host| host.flows[1].start_ns += 1,
        "flow 1 of the host (from 0): expected a gap of whole units, not below 0, found 1200001",
    );
    check(
        |host| host.flows[3].start_ns = 0,
        "flow 3 of the host (from 0): expected a gap of whole units, not below 0, found -450000000",
    );
    check(
        |host| host.flows[0].syn.tokens.clear(),
        "flow 0 of the host (from 0): expected a SYN of the client, found ",
    );
}

#[test]
fn the_reference_of_skeletons_is_fresh() {
    let path = testkit::repository_root().join("docs/skeleton.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == doc::reference(), "docs/skeleton.md is stale: just docs-skeleton");
}
