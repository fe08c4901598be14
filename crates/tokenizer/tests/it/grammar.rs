//! Random walks through the grammar.

use flowtrack::{Direction, Flow};
use proptest::prelude::*;
use tcpwire::{Flags, TcpOption, option_kind, options};
use tokenizer::field::{Constraint, Grammar, Limits};
use tokenizer::{FlowIdentity, SideIdentity, field};

use crate::flows::any_flow;

/// Linear congruential generator: walks are to be reproducible, and need no better numbers.
struct Walk(u64);

impl Walk {
    fn below(&mut self, n: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }
}

/// Returns `count` seeds, or two under Miri, which takes hundreds of times as long.
fn seeds(count: u64) -> std::ops::Range<u64> {
    0..if cfg!(miri) { 2 } else { count }
}

fn identity() -> FlowIdentity {
    let side = |n: u32| SideIdentity {
        seq_base: Some(n),
        ts_base: Some(n / 2),
        ..SideIdentity::default()
    };
    FlowIdentity {
        start_ns: Some(1),
        client_port: Some(40_000),
        client: side(0xffff_fff0),
        server: side(77),
        option_digits: None,
    }
}

/// Returns the names of tokens, for messages.
fn names(tokens: &[u16]) -> String {
    tokens.iter().map(|&token| field::vocab::describe(token)).collect::<Vec<_>>().join("; ")
}

pub(crate) fn walk(seed: u64, constraint: Constraint, max_packets: u64) -> (Vec<u16>, Flow) {
    walk_that_prefers(&[], seed, constraint, max_packets)
}

/// Walks through the grammar, and takes any of the tokens `liked` where it is allowed, seven times
/// out of eight.
pub(crate) fn walk_that_prefers(
    liked: &[u16],
    seed: u64,
    constraint: Constraint,
    max_packets: u64,
) -> (Vec<u16>, Flow) {
    walk_through(Grammar::new(constraint, Limits { max_packets }), liked, seed)
}

/// Walks through a grammar that no token was pushed to.
fn walk_through(mut grammar: Grammar, liked: &[u16], seed: u64) -> (Vec<u16>, Flow) {
    let mut walk = Walk(seed);
    let mut tokens = Vec::new();
    while !grammar.is_done() {
        let allowed = grammar.allowed_next();
        let n = allowed.count();
        assert!(n > 0, "stuck after {} tokens: {}", tokens.len(), names(&tokens));
        let liked = liked.iter().copied().find(|&token| allowed.contains(token));
        let token = match liked {
            Some(token) if walk.below(8) > 0 => token,
            _ => {
                let nth = walk.below(n) as usize;
                assert_eq!(allowed.nth(nth), allowed.iter().nth(nth));
                allowed.nth(nth).unwrap()
            }
        };
        grammar.push(token).unwrap();
        tokens.push(token);
        assert!(tokens.len() < 200_000, "the walk does not end");
    }
    assert!(grammar.allowed_next().count() == 0);
    let flow = field::decode(&tokens, &identity()).unwrap();
    assert_eq!(flow.packets.len() as u64, grammar.packets());
    (tokens, flow)
}

/// Returns the offset of a sequence number from the side's base. The flow must be far shorter than
/// 2^31 octets.
fn offset(flow: &Flow, d: Direction, seq: tcpwire::SeqNum) -> i64 {
    let base = if d == Direction::Forward { 0xffff_fff0 } else { 77 };
    let _ = flow;
    i64::from(seq.distance(tcpwire::SeqNum(base)))
}

/// Returns the window shifts that the SYNs offer; a shift above 14 counts as 14 (RFC 7323, section
/// 2.3).
fn offered_scales(flow: &Flow) -> [Option<u8>; 2] {
    let offered = |d: Direction| {
        let syn = flow.packets.iter().find(|p| p.direction == d && p.flags.contains(Flags::SYN))?;
        options(flow.options_of(syn)).find_map(|option| match option {
            TcpOption::Tlv { kind: option_kind::WINDOW_SCALE, data: [shift] } => {
                Some((*shift).min(14))
            }
            _ => None,
        })
    };
    [offered(Direction::Forward), offered(Direction::Reverse)]
}

/// Returns the window shifts that both sides use (RFC 7323, section 2.2).
fn scales(flow: &Flow) -> [u8; 2] {
    match offered_scales(flow) {
        [Some(client), Some(server)] => [client, server],
        _ => [0, 0],
    }
}

/// Returns whether a side takes back a unit of its window's scale or more.
fn takes_window_back(flow: &Flow) -> bool {
    let scale = scales(flow);
    let (mut acked, mut furthest) = ([0; 2], [0; 2]);
    flow.packets.iter().any(|p| {
        let d = p.direction.index();
        let ack = offset(flow, p.direction.reversed(), p.ack);
        if !p.flags.contains(Flags::ACK) || p.flags.contains(Flags::RST) || ack < acked[d] {
            return false;
        }
        acked[d] = ack;
        let shift = if p.flags.contains(Flags::SYN) { 0 } else { scale[d] };
        let edge = ack + (i64::from(p.window) << shift);
        furthest[d] = edge.max(furthest[d]);
        edge + (1 << shift) <= furthest[d]
    })
}

/// Returns whether options parse to the last octet, with the lengths that the RFCs prescribe for
/// the common ones.
fn well_formed(octets: &[u8]) -> bool {
    use option_kind::{FAST_OPEN, MSS, SACK, SACK_PERMITTED, TIMESTAMPS, WINDOW_SCALE};
    options(octets).all(|option| match option {
        TcpOption::Nop => true,
        TcpOption::EndOfList { padding } => padding.iter().all(|&o| o == 0),
        TcpOption::Malformed(_) => false,
        TcpOption::Tlv { kind, data } => matches!(
            (kind, data.len()),
            (MSS, 2)
                | (WINDOW_SCALE, 1)
                | (SACK_PERMITTED, 0)
                | (SACK, 8 | 16 | 24 | 32)
                | (TIMESTAMPS, 8)
                | (FAST_OPEN, 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16)
                | (9..=18 | 24..=26 | 31..=33 | 35..=75 | 77 | 79..=252 | 255, _)
        ),
    })
}

/// Returns the TSval among the options of a packet.
fn tsval(octets: &[u8]) -> Option<u32> {
    options(octets).find_map(|option| match option {
        TcpOption::Tlv { kind: option_kind::TIMESTAMPS, data } if data.len() == 8 => {
            Some(u32::from_be_bytes(*data.first_chunk()?))
        }
        _ => None,
    })
}

/// Asserts that a flow is a whole session, by a plain bitmap and nothing of the tokenizer's own.
fn check_session(flow: &Flow) {
    let p = &flow.packets;
    let mut sent = [vec![], vec![]];
    let mut top = [0i64; 2];
    let mut fin = [None, None];
    let mut acked = [0i64; 2];
    let mut reset = false;
    assert!(p[0].flags.contains(Flags::SYN) && !p[0].flags.contains(Flags::ACK));
    let mut last_time = p[0].time_ns;
    let mut ttls = [vec![], vec![]];
    let mut last_ts: [Option<u32>; 2] = [None; 2];
    let (mut edge, mut latest, mut ahead) = ([0i64; 2], [0i64; 2], [0i64; 2]);
    let scale = scales(flow);
    for (i, p) in p.iter().enumerate() {
        assert!(
            p.time_ns >= last_time - (1 << 20),
            "packet {i}: time goes back by {}",
            last_time - p.time_ns
        );
        last_time = p.time_ns;
        let (d, o) = (p.direction.index(), 1 - p.direction.index());
        let start = offset(flow, p.direction, p.seq);
        let end = start + i64::from(p.payload_len) + i64::from(p.flags.seq_len());
        if p.flags.contains(Flags::RST) {
            // What arrives behind a RST is answered at its acknowledgment.
            let least = acked[o] - i64::from(fin[d] == Some(acked[o]));
            let least = if reset { 1 } else { least };
            reset = true;
            assert!(
                (least..=top[d]).contains(&start),
                "packet {i}: RST at {start}, of {least} to {}",
                top[d]
            );
            assert!(
                p.flags.contains(Flags::ACK) || p.window == 0,
                "packet {i}: a window without an acknowledgment"
            );
        } else {
            assert!(start >= 0, "packet {i}: before the initial sequence number");
            if sent[d].len() < end as usize {
                sent[d].resize(end as usize, false);
            }
            sent[d][start as usize..end as usize].fill(true);
        }
        let new = i64::from(p.payload_len > 0) * (end - i64::from(p.flags.contains(Flags::FIN)));
        assert!(
            new <= top[d] || new <= edge[o] || p.flags.contains(Flags::SYN),
            "packet {i}: payload beyond the window"
        );
        let before = top[d];
        top[d] = top[d].max(end);
        if p.flags.contains(Flags::FIN) && fin[d].is_none() {
            assert!(end <= edge[o].min(latest[o]), "packet {i}: FIN beyond the window");
        }
        if p.flags.contains(Flags::FIN) {
            assert!(fin[d].is_none_or(|f| f == end), "packet {i}: a second FIN elsewhere");
            fin[d] = Some(end);
        }
        assert!(fin[d].is_none_or(|f| end <= f || end == start), "packet {i}: data after the FIN");
        if p.flags.contains(Flags::ACK) {
            let ack = offset(flow, p.direction.reversed(), p.ack);
            // A FIN may be captured after the acknowledgment that follows it.
            let may_go_back = match p.flags.contains(Flags::FIN) {
                true => p.payload_len == 0 && end <= ahead[d],
                false => !p.flags.contains(Flags::RST) && !p.flags.contains(Flags::SYN),
            };
            assert!(ack >= acked[d] || may_go_back, "packet {i}: acknowledgment goes back");
            assert!(
                sent[o].iter().take(ack as usize).filter(|&&s| s).count() as i64 == ack,
                "packet {i}: acknowledges what was not sent"
            );
            acked[d] = acked[d].max(ack);
            if p.flags.bits() & 0x3f == Flags::ACK.bits() && p.payload_len == 0 {
                ahead[d] = ahead[d].max(start);
            }
            let shift = if p.flags.contains(Flags::SYN) { 0 } else { scale[d] };
            let right = ack + (i64::from(p.window) << shift);
            if fin[d].is_none() {
                edge[d] = edge[d].max(right);
            }
            let is_closing = fin != [None, None] && !p.flags.contains(Flags::RST);
            assert!(
                !is_closing || right >= top[o],
                "packet {i}: the window is taken back while the session closes"
            );
            if !p.flags.contains(Flags::RST) {
                latest[d] = right;
            }
        } else {
            let is_rst = p.flags.contains(Flags::RST);
            assert!(p.ack.0 == 0 || is_rst, "packet {i}: acknowledgment without ACK");
        }
        assert!(
            i == 0
                || p.flags.contains(Flags::ACK)
                || p.flags.contains(Flags::RST)
                || p.flags.contains(Flags::SYN)
        );
        let options = flow.options_of(p);
        assert!(well_formed(options), "packet {i}: options {options:?}");
        assert!(p.ttl > 0, "packet {i}: no time to live");
        ttls[d].push(p.ttl);
        // Nobody checks the TSval of a RST.
        let has_checked_tsval = !p.flags.intersects(Flags::SYN | Flags::RST);
        if let Some(ts) = tsval(options).filter(|_| has_checked_tsval) {
            let goes_back = last_ts[d].is_some_and(|last| (ts.wrapping_sub(last) as i32) < 0);
            let is_new = end > before;
            assert!(!goes_back || !is_new, "packet {i}: TSval goes back");
            if !goes_back {
                last_ts[d] = Some(ts);
            }
        }
    }
    for ttls in &mut ttls {
        ttls.sort_unstable();
        ttls.dedup();
        assert!(ttls.len() <= 3, "TTLs {ttls:?}");
    }
    assert!(sent.iter().all(|s| s.iter().all(|&s| s)), "a hole is left");
    let graceful = fin[0].is_some_and(|f| acked[1] >= f) && fin[1].is_some_and(|f| acked[0] >= f);
    assert!(reset || graceful, "not closed");
    assert!(
        p.iter().any(|p| p.payload_len == 0
            && p.flags.contains(Flags::ACK)
            && p.flags.seq_len() == 0
            && !p.flags.contains(Flags::RST)),
        "no packet acknowledges and does nothing else"
    );
    let synack = p.iter().find(|p| p.direction == Direction::Reverse).unwrap();
    assert!(synack.flags.contains(Flags::SYN | Flags::ACK));
    assert_eq!(synack.ack, p[0].seq.add(1 + p[0].payload_len));
}

#[test]
fn every_walk_of_sessions_is_a_whole_session() {
    for seed in seeds(2_000) {
        let (_, flow) = walk(seed, Constraint::Session, 8 + seed % 232);
        check_session(&flow);
        assert!(
            flow.packets.len() as u64 <= 8 + seed % 232,
            "{seed}: {} packets",
            flow.packets.len()
        );
    }
}

/// Returns the greatest number of consecutive duplicate acknowledgments of a side that answer
/// nothing, until the session closes.
fn longest_unasked(flow: &Flow) -> u32 {
    let (mut owed, mut row, mut longest) = ([0u32; 2], [0u32; 2], 0);
    let (mut top, mut acked, mut window) = ([0i64; 2], [0i64; 2], [0u16; 2]);
    for p in &flow.packets {
        let (d, o) = (p.direction.index(), 1 - p.direction.index());
        let seq = offset(flow, p.direction, p.seq);
        let taken = i64::from(p.payload_len) + i64::from(p.flags.seq_len());
        let is_keepalive = taken <= 1 && seq == top[d] - 1;
        // Observers ignore the window of a keep-alive: an update has to say it again.
        let is_update = p.window > window[d];
        if !is_keepalive {
            window[d] = p.window;
        }
        if p.flags.contains(Flags::FIN) || p.flags.contains(Flags::RST) {
            break;
        }
        if taken > 0 || is_keepalive {
            (owed[o], row[o]) = (owed[o] + 1, 0);
        }
        let ack = if p.flags.contains(Flags::ACK) {
            offset(flow, p.direction.reversed(), p.ack)
        } else {
            0
        };
        let is_duplicate = taken == 0 && !is_keepalive && ack == acked[d];
        if is_duplicate && !is_update && owed[d] == 0 {
            row[d] += 1;
            longest = longest.max(row[d]);
        }
        owed[d] = owed[d].saturating_sub(1);
        if taken > 0 {
            top[d] = top[d].max(seq + taken);
        }
        acked[d] = ack;
    }
    longest
}

#[test]
fn no_row_of_acknowledgments_answers_nothing() {
    // Duplicate acknowledgments of either direction.
    let acks = [8, 40].map(|i| field::vocab::PACKET.at(i));
    let mut longest = 0;
    for seed in seeds(300) {
        let (_, flow) =
            walk_that_prefers(&acks[seed as usize % 2..][..1], seed, Constraint::Session, 300);
        check_session(&flow);
        longest = longest.max(longest_unasked(&flow));
    }
    assert!(longest == 2 || (cfg!(miri) && longest < 2), "{longest}");
}

#[test]
fn options_with_a_form_keep_to_it() {
    let liked =
        [field::vocab::OPT_LIST.first, field::vocab::OPT_RAW.first, field::vocab::DIGIT.at(30)];
    let mut fast_open = 0;
    for seed in seeds(300) {
        let (_, flow) = walk_that_prefers(
            &[&liked[..], &[field::vocab::DIGIT.at(34)]].concat(),
            seed,
            Constraint::Session,
            1,
        );
        check_session(&flow);
        fast_open +=
            flow.packets.iter().filter(|p| flow.options_of(p).first() == Some(&34)).count();
    }
    assert!(fast_open > 100 || cfg!(miri), "{fast_open}");
}

#[test]
fn a_session_is_as_long_as_its_head_says() {
    for seed in seeds(300) {
        let (tokens, flow) = walk(seed, Constraint::Session, if seed % 2 == 0 { 9 } else { 700 });
        let class = field::header(&tokens).unwrap().length_class;
        assert_eq!(
            flow.packets.len().ilog2(),
            u32::from(class),
            "{seed}: {} packets: {}",
            flow.packets.len(),
            names(&tokens)
        );
    }
}

#[test]
fn short_limits_close_at_once() {
    for seed in seeds(500) {
        let (_, flow) = walk(seed, Constraint::Session, 1);
        check_session(&flow);
        assert!(flow.packets.len() <= 7, "{seed}: {} packets", flow.packets.len());
    }
}

#[test]
fn every_walk_of_syntax_decodes() {
    for seed in seeds(12_000) {
        let (tokens, flow) = walk(seed, Constraint::Syntax, 30);
        // A flow that decodes can be encoded, and then has the same packets.
        let mut again = Vec::new();
        let identity = match field::encode(&flow, &mut again) {
            Ok(identity) => identity,
            // Gaps of centuries add up to more than 64 bits of nanoseconds.
            Err(tokenizer::EncodeError::OutOfRange { what: "time", .. }) => continue,
            Err(other) => panic!("{other}"),
        };
        let same = field::decode(&again, &identity).unwrap();
        assert_eq!(same.packets.len(), flow.packets.len(), "{tokens:?}");
    }
}

#[test]
fn a_session_that_was_left_has_masks_too() {
    for seed in seeds(300) {
        let (tokens, _) = walk(seed, Constraint::Syntax, 30);
        let mut grammar = Grammar::new(Constraint::Session, Limits::default());
        for &token in &tokens {
            let _ = grammar.allowed_next();
            grammar.push(token).unwrap();
        }
        assert!(grammar.is_done());
    }
}

#[test]
fn a_steady_clock_goes_on() {
    let runs_back = |grammar: Grammar| {
        (0..100).any(|seed| {
            let (_, flow) = walk_through(grammar.clone(), &[], seed);
            !flow.packets.is_sorted_by_key(|packet| packet.time_ns)
        })
    };
    let grammar = Grammar::new(Constraint::Session, Limits { max_packets: 40 });
    assert!(runs_back(grammar.clone()));
    assert!(!runs_back(grammar.with_steady_clock()));
}

#[test]
fn steady_windows_take_nothing_back() {
    let takes_back = |grammar: Grammar| {
        (0..100).any(|seed| {
            let (_, flow) = walk_through(grammar.clone(), &[], seed);
            takes_window_back(&flow)
        })
    };
    let grammar = Grammar::new(Constraint::Session, Limits { max_packets: 40 });
    assert!(takes_back(grammar.clone()));
    assert!(!takes_back(grammar.with_steady_windows()));
}

proptest! {
    #[test]
    fn any_tokens_leave_a_mask(
        flow in any_flow(),
        others in prop::collection::vec((any::<prop::sample::Index>(), 0..1024_u16), 0..40),
        max_packets in 0..40_u64,
    ) {
        let mut tokens = Vec::new();
        field::encode(&flow, &mut tokens).unwrap();
        for (at, token) in others {
            tokens.insert(at.index(tokens.len()), token);
        }
        let mut grammar = Grammar::new(Constraint::Session, Limits { max_packets });
        for token in tokens {
            let _ = grammar.allowed_next();
            let _ = grammar.push(token);
        }
    }

    #[test]
    fn the_mask_lets_through_what_the_encoder_says(flow in any_flow()) {
        let mut tokens = Vec::new();
        field::encode(&flow, &mut tokens).unwrap();
        let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
        for (i, &token) in tokens.iter().enumerate() {
            let name = field::vocab::describe(token);
            prop_assert!(grammar.allowed_next().contains(token), "token {i}: {name}");
            grammar.push(token).unwrap();
        }
        prop_assert!(grammar.is_done());
    }

    #[test]
    fn the_mask_is_what_push_takes(flow in any_flow(), at in any::<prop::sample::Index>()) {
        let mut tokens = Vec::new();
        field::encode(&flow, &mut tokens).unwrap();
        let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
        for &token in &tokens[..at.index(tokens.len())] {
            grammar.push(token).unwrap();
        }
        let allowed = grammar.allowed_next();
        for token in 0..field::VOCAB_SIZE as u16 {
            let taken = grammar.clone().push(token).is_ok();
            prop_assert_eq!(allowed.contains(token), taken, "{}", field::vocab::describe(token));
        }
    }
}
