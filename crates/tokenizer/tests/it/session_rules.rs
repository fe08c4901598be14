//! Rules of sessions, one by one: the tokens of a flow so far, and whether some tokens may follow.

use tokenizer::TokenId;
use tokenizer::field::{BOS, CloseKind, Constraint, END, Grammar, Limits, SessionClass, vocab};

/// Side that sends a packet, as its packet token numbers it.
#[derive(Clone, Copy)]
enum Sender {
    Client,
    Server,
}
use Sender::{Client, Server};

/// Flags of a packet, as its packet token numbers them.
#[derive(Clone, Copy)]
enum Flags {
    Syn,
    SynAck,
    Ack,
    FinAck = 4,
    Rst = 6,
}
use Flags::{Ack, FinAck, Rst, Syn, SynAck};

/// Returns the token of a packet without payload that acknowledges nothing new.
fn packet(sender: Sender, flags: Flags) -> TokenId {
    vocab::PACKET.at(32 * sender as usize + 4 * flags as usize)
}

/// Returns the token of a packet that acknowledges everything received.
fn acking(sender: Sender, flags: Flags) -> TokenId {
    packet(sender, flags) + 1
}

/// Returns the token of a packet with payload that acknowledges nothing new.
fn data(sender: Sender, flags: Flags) -> TokenId {
    packet(sender, flags) + 2
}

/// Returns the packet token of a keep-alive.
fn keep_alive(sender: Sender) -> TokenId {
    vocab::PACKET.at(65 + 10 * sender as usize)
}

/// Returns the packet token of an ACK with a payload as long as the one before.
fn same_len(sender: Sender) -> TokenId {
    vocab::PACKET.at(66 + 10 * sender as usize)
}

/// Token of the shortest gap, which ends a packet.
const NOW: TokenId = vocab::TIME.first;
/// Token of a window of 64,240.
const WIDE: TokenId = vocab::WIN.first + 1;
/// Token of a window of 512.
const NARROW: TokenId = vocab::WIN.first + 12;

/// Tokens of a SYN with a wide window and without options.
const SYN: [TokenId; 3] = [vocab::PACKET.first, WIDE, NOW];

/// Tokens of a RST of the client, whose window is 0.
const RST: [TokenId; 3] = [vocab::PACKET.first + 4 * Flags::Rst as TokenId, vocab::WIN.first, NOW];

/// Returns the header of a session of 64 to 127 packets that ends in this way.
fn header(close: CloseKind) -> Vec<TokenId> {
    let class = SessionClass { close, has_handshake: true };
    [BOS, vocab::FLOW.at(1), vocab::CLASS.at(class.id()), vocab::LENGTH.at(6), vocab::PORT.at(0)]
        .to_vec()
}

/// Returns a session up to the end of its handshake. `window` is that of the server.
fn established(close: CloseKind, window: TokenId) -> Vec<TokenId> {
    let syn_ack = [acking(Server, SynAck), window, NOW];
    [&header(close)[..], &SYN, &syn_ack, &[acking(Client, Ack), NOW]].concat()
}

/// Returns `tokens`, followed by `more`.
fn then(tokens: Vec<TokenId>, more: &[TokenId]) -> Vec<TokenId> {
    [tokens.as_slice(), more].concat()
}

/// Asserts that every token of `tokens` is allowed in its place, and which tokens may follow them.
#[track_caller]
fn check_with(mut grammar: Grammar, tokens: &[TokenId], next: &[(TokenId, bool)]) {
    for (i, &token) in tokens.iter().enumerate() {
        let name = vocab::describe(token);
        assert!(grammar.allowed_next().contains(token), "token {i}: {name} is not allowed");
        grammar.push(token).unwrap();
    }
    let allowed = grammar.allowed_next();
    for &(token, is_allowed) in next {
        assert_eq!(allowed.contains(token), is_allowed, "{}", vocab::describe(token));
    }
}

/// Like [`check_with`], without limits.
#[track_caller]
fn check(tokens: &[TokenId], next: &[(TokenId, bool)]) {
    check_with(Grammar::new(Constraint::Session, Limits::default()), tokens, next);
}

#[test]
fn a_session_opens_with_a_syn_of_the_client() {
    check(
        &header(CloseKind::Graceful),
        &[
            (packet(Client, Syn), true),
            (packet(Client, Ack), false),
            (packet(Server, Syn), false),
            (acking(Server, SynAck), false),
            (END, false),
        ],
    );
}

#[test]
fn a_syn_is_answered_by_a_syn_ack_that_acknowledges_it() {
    check(
        &then(header(CloseKind::Graceful), &SYN),
        &[
            (acking(Server, SynAck), true),
            (packet(Client, Syn), true),
            (packet(Server, SynAck), false),
            (packet(Client, Ack), false),
            (packet(Server, Rst), false),
        ],
    );
}

#[test]
fn a_syn_ack_offers_what_the_syn_offered() {
    // [MSS] and [MSS, NOP, WS].
    let (mss, mss_and_scale) = (vocab::LAYOUT.at(9), vocab::LAYOUT.at(16));
    let syn = [packet(Client, Syn), WIDE, mss, vocab::MSS.at(0), NOW, acking(Server, SynAck), WIDE];
    check(
        &then(header(CloseKind::Graceful), &syn),
        &[(mss, true), (mss_and_scale, false), (NOW, true)],
    );
}

#[test]
fn nothing_but_the_syn_ack_comes_again_after_the_handshake() {
    check(
        &established(CloseKind::Graceful, WIDE),
        &[
            (packet(Client, Syn), false),
            (data(Client, Syn), false),
            (packet(Server, SynAck), true),
            (acking(Server, SynAck), false),
            (data(Client, Ack), true),
            (data(Server, Ack), true),
        ],
    );
}

#[test]
fn nobody_acknowledges_what_was_not_sent() {
    let tokens = established(CloseKind::Graceful, WIDE);
    check(&tokens, &[(acking(Client, Ack), false), (acking(Server, Ack), false)]);
    let tokens = then(tokens, &[data(Client, Ack), NOW]);
    check(&tokens, &[(acking(Client, Ack), false), (acking(Server, Ack), true)]);
}

#[test]
fn payload_ends_within_the_window() {
    // A full segment of 1,460 octets does not fit into 512: the length needs a token.
    check(
        &then(established(CloseKind::Graceful, NARROW), &[data(Client, Ack)]),
        &[
            (NOW, false),
            (vocab::LEN_MULTIPLE.at(0), false),
            (vocab::LEN.at(0), true),
            (vocab::LEN.at(vocab::LEN.count() - 1), false),
        ],
    );
}

#[test]
fn a_full_window_leaves_retransmissions_alone() {
    // 512 octets are the first bucket of their octave, with one digit.
    let fill = [data(Client, Ack), vocab::LEN.at(19), vocab::DIGIT.at(0), NOW, data(Client, Ack)];
    check(
        &then(established(CloseKind::Graceful, NARROW), &fill),
        &[(vocab::SEQ_OLD.at(0), true), (NOW, false), (vocab::LEN.at(0), false)],
    );
}

#[test]
fn a_third_acknowledgment_without_anything_to_answer_is_a_keep_alive() {
    let one = [packet(Server, Ack), NOW];
    check(
        &then(established(CloseKind::Graceful, WIDE), &[one, one].concat()),
        &[(keep_alive(Server), true), (packet(Server, Ack), false)],
    );
}

#[test]
fn a_packet_token_says_what_a_second_one_would() {
    let first = [data(Client, Ack), vocab::LEN.at(0), NOW];
    let tokens = then(established(CloseKind::Graceful, WIDE), &first);
    // As long as the one before: the packet token says it alone.
    check(&tokens, &[(same_len(Client), true), (same_len(Server), false)]);
    check(&then(tokens.clone(), &[data(Client, Ack)]), &[(vocab::LEN_SAME.first, false)]);
    let said = then(tokens, &[same_len(Client)]);
    check(&said, &[(vocab::LEN.at(0), false), (vocab::SEQ_SKIP.first, false), (NOW, true)]);
}

#[test]
fn a_hole_is_filled_behind_the_fin_but_not_behind_a_rst() {
    let skip = [data(Client, Ack), vocab::SEQ_SKIP.at(0), NOW];
    let tokens = then(established(CloseKind::Graceful, WIDE), &skip);
    check(&tokens, &[(packet(Client, FinAck), true), (packet(Server, FinAck), true)]);
    let fin = then(tokens, &[packet(Client, FinAck), NOW, data(Client, Ack)]);
    check(&fin, &[(vocab::SEQ_HOLE.at(0), true), (NOW, false)]);
    let reset = then(established(CloseKind::Reset, WIDE), &skip);
    check(&reset, &[(packet(Client, Rst), false), (packet(Server, Rst), true)]);
}

#[test]
fn an_acknowledgment_may_be_captured_before_octets_of_its_side() {
    let ahead = [data(Server, Ack), NOW, acking(Client, Ack), vocab::SEQ_SKIP.at(0), NOW];
    let grammar = || Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    for (close, end) in [(CloseKind::Graceful, FinAck), (CloseKind::Reset, Rst)] {
        let tokens = then(established(close, WIDE), &ahead);
        // The side has to send what the acknowledgment was behind.
        check_with(grammar(), &tokens, &[(packet(Client, end), false)]);
        check_with(
            grammar(),
            &then(tokens, &[data(Client, Ack), NOW]),
            &[(packet(Client, end), true)],
        );
    }
}

#[test]
fn an_acknowledgment_may_be_overtaken_but_not_that_of_a_fin() {
    let acked = [data(Server, Ack), NOW, acking(Client, Ack), NOW];
    let tokens = then(established(CloseKind::Graceful, WIDE), &acked);
    check(&then(tokens.clone(), &[packet(Client, Ack)]), &[(vocab::ACK_BACK.first, true)]);
    check(&then(tokens.clone(), &[data(Client, Ack)]), &[(vocab::ACK_BACK.first, true)]);
    check(&then(tokens.clone(), &[packet(Client, FinAck)]), &[(vocab::ACK_BACK.first, false)]);
    // By 1,460 octets.
    let digits = [1460 / 256, 1460 % 256].map(|digit| vocab::DIGIT.at(digit));
    let back = [&[packet(Client, Ack), vocab::ACK_BACK.first], &digits[..], &[NOW]].concat();
    check(
        &then(tokens, &back),
        &[
            (data(Client, Ack), true),
            (data(Client, Ack) + 1, true),
            (packet(Client, FinAck), false),
            (acking(Client, FinAck), true),
            (packet(Client, Ack), true),
        ],
    );
}

#[test]
fn a_fin_may_be_captured_after_the_acknowledgment_that_follows_it() {
    let forward = [vocab::SEQ_FORWARD.first, vocab::DIGIT.at(0), vocab::DIGIT.at(1)];
    let fin = [packet(Server, FinAck), NOW, acking(Client, Ack)];
    let tokens = then(established(CloseKind::Graceful, WIDE), &fin);
    let ahead = then(tokens, &[&forward[..], &[NOW]].concat());
    check(&ahead, &[(packet(Client, FinAck), true), (data(Client, Ack), true)]);
    let back = [vocab::ACK_BACK.first, vocab::DIGIT.at(0), vocab::DIGIT.at(1), NOW];
    let late = then(then(ahead, &[packet(Client, FinAck)]), &back);
    check(&late, &[(acking(Server, Ack), true)]);
}

#[test]
fn a_payload_may_come_again_with_new_octets_or_with_its_fin() {
    let data_again = [data(Client, Ack), NOW, data(Client, Ack), vocab::SEQ_OLD.at(0)];
    let tokens = then(established(CloseKind::Graceful, WIDE), &data_again);
    check(&tokens, &[(vocab::LEN_MULTIPLE.at(0), true)]);
    let fin = [data(Client, Ack), NOW, packet(Client, FinAck), NOW, data(Client, FinAck)];
    let tokens = then(established(CloseKind::Graceful, WIDE), &fin);
    check(&tokens, &[(vocab::SEQ_OLD.at(0), true), (vocab::SEQ_BACK.first, true), (NOW, false)]);
    // Nothing but the octets up to the FIN.
    let old = then(tokens, &[vocab::SEQ_OLD.at(0)]);
    check(&old, &[(vocab::LEN_MULTIPLE.at(0), false), (vocab::LEN.at(0), false), (NOW, true)]);
}

/// Returns the tokens of a SYN and a SYN-ACK that agree on SACK and on timestamps, with wide
/// windows, and of the ACK behind them.
fn established_with_sack() -> Vec<TokenId> {
    let offer = [WIDE, vocab::LAYOUT.at(19), vocab::MSS.at(0)];
    let syn = [&[packet(Client, Syn)], &offer[..], &[NOW]].concat();
    let syn_ack = [&[acking(Server, SynAck)], &offer[..], &[NOW]].concat();
    let ack = [acking(Client, Ack), NOW];
    [&header(CloseKind::Graceful)[..], &syn, &syn_ack, &ack].concat()
}

#[test]
fn sack_blocks_may_stand_in_front_of_their_padding_or_in_a_list() {
    let behind = [data(Client, Ack), vocab::SEQ_SKIP.at(0), NOW, packet(Server, Ack)];
    let nothing = [data(Client, Ack), NOW, acking(Server, Ack)];
    let padded = vocab::LAYOUT.at(22);
    let tokens = then(established_with_sack(), &behind);
    check(&tokens, &[(padded, true), (vocab::OPT_LIST.first, true)]);
    // Without timestamps first, since each packet has them (RFC 7323, section 3.2).
    let list = then(tokens, &[vocab::OPT_LIST.first]);
    check(&list, &[(vocab::OPT_SACK.at(2), true), (vocab::OPT_SACK.at(3), false)]);
    let listed = then(list, &[vocab::OPT_TS.first, vocab::OPT_SACK.at(0)]);
    let block = then(listed, &[vocab::SACK_AT.at(0), vocab::SACK_COUNT.at(0)]);
    check(&block, &[(vocab::OPT_SACK.at(0), false), (vocab::OPT_NOP.first, true)]);
    // Octets below the acknowledgment came twice, in one block.
    let below = then(then(established_with_sack(), &nothing), &[vocab::OPT_LIST.first]);
    check(&below, &[(vocab::OPT_SACK.at(0), true), (vocab::OPT_SACK.at(1), false)]);
    let plain = then(established(CloseKind::Graceful, WIDE), &behind);
    check(&plain, &[(padded, false), (vocab::OPT_LIST.first, false)]);
}

#[test]
fn a_later_sack_block_may_be_of_what_came_twice_above_the_acknowledgment() {
    let again = [data(Client, Ack), vocab::SEQ_OLD.at(0), NOW];
    let twice = [&[data(Client, Ack), vocab::SEQ_SKIP.at(0), NOW], &again[..]].concat();
    let tokens = then(established_with_sack(), &twice);
    let block = [vocab::SACK_AT.at(0), vocab::SACK_COUNT.at(0)];
    let second = [&[packet(Server, Ack), vocab::LAYOUT.at(7)], &block[..]].concat();
    check(&then(tokens, &second), &[(vocab::SACK_DUP.at(0), true), (vocab::SACK_DUP.at(1), false)]);
    // What came twice is acknowledged.
    let below = [&[data(Client, Ack), NOW], &again[..], &[acking(Server, Ack), NOW]].concat();
    let skip = [data(Client, Ack), vocab::SEQ_SKIP.at(0), NOW];
    let tokens = then(established_with_sack(), &[&below[..], &skip].concat());
    check(&then(tokens, &second), &[(vocab::SACK_DUP.at(0), false)]);
}

#[test]
fn old_octets_may_carry_a_new_acknowledgment_until_the_first_fin() {
    let acked = [data(Client, Ack), NOW, acking(Server, Ack), NOW, data(Server, Ack), NOW];
    let tokens = then(established(CloseKind::Graceful, WIDE), &acked);
    let old = data(Client, Ack) + 1;
    check(&then(tokens.clone(), &[old]), &[(vocab::SEQ_BACK.first, true)]);
    let fin = then(tokens, &[packet(Server, FinAck), NOW, old]);
    check(&fin, &[(vocab::SEQ_BACK.first, false)]);
}

#[test]
fn what_fills_a_hole_may_go_on_over_what_came() {
    let skip = [data(Client, Ack), vocab::SEQ_SKIP.at(0), NOW];
    let fill = [data(Client, Ack), vocab::SEQ_HOLE.at(0)];
    let tokens = then(established(CloseKind::Graceful, WIDE), &[&skip[..], &fill].concat());
    // Two segments of 1,460 octets: the hole and the payload behind it.
    check(&tokens, &[(vocab::LEN_MULTIPLE.at(0), true), (vocab::LEN_MULTIPLE.at(1), false)]);
}

#[test]
fn what_comes_again_may_have_its_ip_identification() {
    let counted = [data(Client, Ack), vocab::ID.at(3), NOW];
    let sent = then(established(CloseKind::Graceful, WIDE), &[counted, counted].concat());
    let tokens = then(sent, &[data(Client, Ack)]);
    check(&tokens, &[(vocab::ID.at(0), false)]);
    check(&then(tokens, &[vocab::SEQ_OLD.at(0)]), &[(vocab::ID.at(0), true)]);
}

#[test]
fn a_rst_without_ack_has_a_window_of_0() {
    let tokens = then(established(CloseKind::Reset, WIDE), &[acking(Client, Rst)]);
    check(&tokens, &[(vocab::ACK_SEG.at(0), false), (vocab::WIN.at(0), true), (NOW, false)]);
}

#[test]
fn a_side_sends_no_new_payload_after_its_fin() {
    let fin = [packet(Client, FinAck), NOW];
    let tokens = then(established(CloseKind::Graceful, WIDE), &fin);
    check(
        &tokens,
        &[
            (data(Client, Ack), false),
            (data(Client, FinAck), false),
            (packet(Client, FinAck), true),
            (data(Server, Ack), true),
            (END, false),
        ],
    );
}

#[test]
fn the_close_comes_at_most_64_packets_before_the_least_number_of_packets() {
    let fin = [packet(Client, FinAck), NOW];
    let with_length = |class: usize| {
        let mut tokens = then(established(CloseKind::Graceful, WIDE), &fin);
        tokens[3] = vocab::LENGTH.at(class);
        tokens
    };
    check(&with_length(6), &[(acking(Server, FinAck), true)]);
    check(&with_length(7), &[(acking(Server, FinAck), false)]);
}

#[test]
fn a_closed_session_ends_or_repeats_an_acknowledgment() {
    let close =
        [[packet(Client, FinAck), NOW], [acking(Server, FinAck), NOW], [acking(Client, Ack), NOW]];
    let grammar = Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    check_with(
        grammar,
        &then(established(CloseKind::Graceful, WIDE), &close.concat()),
        &[
            (END, true),
            (packet(Client, Ack), true),
            (packet(Client, FinAck), true),
            (data(Server, Ack), false),
            (packet(Server, Rst), true),
        ],
    );
}

#[test]
fn a_rst_needs_its_class_and_an_acknowledgment_without_payload() {
    let grammar = || Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    let rst = |is_allowed| [(packet(Client, Rst), is_allowed), (packet(Server, Rst), is_allowed)];
    check_with(grammar(), &established(CloseKind::Graceful, WIDE), &rst(false));
    check_with(grammar(), &established(CloseKind::Reset, WIDE), &rst(true));
    let opening = [&header(CloseKind::Reset)[..], &SYN, &[acking(Server, SynAck), WIDE, NOW]];
    let tokens = then(opening.concat(), &[data(Client, Ack) + 1, NOW]);
    check_with(grammar(), &tokens, &rst(false));
}

#[test]
fn a_rst_closes_a_session_of_its_class() {
    let grammar = Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    check_with(
        grammar,
        &then(established(CloseKind::Reset, WIDE), &RST),
        &[
            (END, true),
            (packet(Client, Rst), true),
            (data(Client, Ack), false),
            // What is on its way to a side that has no connection.
            (packet(Server, Ack), true),
            (data(Server, Ack), true),
        ],
    );
}

#[test]
fn a_rst_behind_both_fins_is_no_reset() {
    let grammar = || Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    let fins = [[packet(Client, FinAck), NOW], [packet(Server, FinAck), NOW]].concat();
    let fin = &fins[..2];
    let rst = |is_allowed| [(packet(Client, Rst), is_allowed), (packet(Server, Rst), is_allowed)];
    check_with(grammar(), &then(established(CloseKind::Reset, WIDE), fin), &rst(true));
    check_with(grammar(), &then(established(CloseKind::Graceful, WIDE), fin), &rst(false));
    check_with(grammar(), &then(established(CloseKind::Graceful, WIDE), &fins), &rst(true));
    // A session of the class `reset` has no second FIN before its RST.
    check_with(
        grammar(),
        &then(established(CloseKind::Reset, WIDE), fin),
        &[(packet(Server, FinAck), false), (acking(Server, FinAck), false)],
    );
}

#[test]
fn the_end_waits_for_the_rst_that_counts() {
    // Who watches expects the client's FIN at its own number, and the server's counted.
    let grammar = || Grammar::new(Constraint::Session, Limits::default()).with_advisory_length();
    let after = |sender, at: &[TokenId]| {
        let fin = [packet(sender, FinAck), NOW];
        let rst = [&[packet(sender, Rst)], at, &[vocab::WIN.at(0), NOW]].concat();
        then(then(established(CloseKind::Reset, WIDE), &fin), &rst)
    };
    let own_number = [vocab::SEQ_UNA.first];
    check_with(grammar(), &after(Client, &own_number), &[(END, true)]);
    check_with(grammar(), &after(Client, &[]), &[(END, false), (packet(Client, Rst), true)]);
    check_with(
        grammar(),
        &after(Server, &own_number),
        &[(END, false), (packet(Server, Rst), true)],
    );
    check_with(grammar(), &after(Server, &[]), &[(END, true)]);
}

#[test]
fn the_last_packets_under_the_limit_close_the_session() {
    let grammar = Grammar::new(Constraint::Session, Limits { max_packets: 6 });
    let grammar = grammar.with_advisory_length();
    let wait = [packet(Server, Ack), NOW];
    let mut tokens = established(CloseKind::Graceful, WIDE);
    tokens[3] = vocab::LENGTH.at(2);
    check_with(
        grammar,
        &then(tokens, &wait),
        &[
            (packet(Client, FinAck), true),
            (packet(Server, FinAck), true),
            (data(Client, Ack), false),
            (packet(Client, Ack), false),
        ],
    );
}
