//! Phenomena of TCP, each with a capture of its own.

use crate::capture::*;

#[test]
fn plain() {
    let t = Talk::new()
        .handshake()
        .say(Client, A, 101, 501, 50)
        .say(Server, A, 501, 151, 1000)
        .close(151, 1501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert!(!t.ended[0].verdict.strict, "the last four packets are data, FA, FA, A");
    assert_eq!(t.ended[0].flow.as_ref().unwrap().packets.len(), 8);
}

#[test]
fn close_in_four_is_the_originals_pattern() {
    let t = Talk::new()
        .handshake()
        .say(Client, FA, 101, 501, 0)
        .say(Server, A, 501, 102, 0)
        .say(Server, FA, 501, 102, 0)
        .say(Client, A, 102, 502, 0)
        .tracked();
    assert!(t.ended[0].verdict.strict);
}

#[test]
fn ports_used_again_after_a_close() {
    let t = Talk::new()
        .handshake()
        .close(101, 501)
        .say(Client, S, 9000, 0, 0)
        .say(Server, SA, 7000, 9001, 0)
        .say(Client, RA, 9001, 7001, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful", "started: handshake not acknowledged"]);
    assert_eq!(t.packets(), [6, 3]);
}

#[test]
fn ports_used_again_with_the_same_sequence_number_are_one_conversation() {
    let t = Talk::new().handshake().close(101, 501).handshake().tracked();
    assert_eq!(t.packets(), [9]);
}

#[test]
fn ports_used_again_in_the_other_direction() {
    let t = Talk::new()
        .handshake()
        .close(101, 501)
        .say(Server, S, 40, 0, 0)
        .say(Client, SA, 60, 41, 0)
        .tracked();
    assert_eq!(t.packets(), [6, 2]);
    assert_eq!(t.records[1].endpoints[0].port, 80);
}

#[test]
fn opened_by_both_at_once() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Server, S, 500, 0, 0)
        .say(Client, SA, 100, 501, 0)
        .say(Server, SA, 500, 101, 0)
        .close(101, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.packets(), [7]);
    assert_eq!(t.records[0].endpoints[0].port, 1000);
}

#[test]
fn syn_again_with_a_new_sequence_number_is_another_conversation() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Client, S, 200, 0, 0)
        .say(Server, SA, 500, 201, 0)
        .tracked();
    assert_eq!(t.packets(), [1, 2]);
    assert_eq!(
        t.verdicts()[1],
        "started: handshake not acknowledged; no FIN from the client; no FIN from the server"
    );
}

#[test]
fn syn_and_syn_ack_sent_again() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Client, A, 101, 501, 0)
        .close(101, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn syn_ack_with_another_sequence_number_begins_the_server_anew() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Server, SA, 800, 101, 0)
        .say(Client, A, 101, 801, 0)
        .say(Server, A, 801, 101, 10)
        .close(101, 811)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.packets(), [8]);
}

#[test]
fn data_in_the_syn() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 300)
        .say(Server, SA, 500, 401, 200)
        .say(Client, A, 401, 701, 0)
        .close(401, 701)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn data_in_the_syn_refused_and_sent_again() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 300)
        .say(Server, SA, 500, 101, 0)
        .say(Client, A, 101, 501, 300)
        .close(401, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.ended[0].verdict.repeated_octets, [300, 0]);
}

#[test]
fn refused() {
    let t = Talk::new().say(Client, S, 100, 0, 0).say(Server, RA, 0, 101, 0).tracked();
    assert_eq!(t.verdicts(), ["started: no SYN-ACK; handshake not acknowledged"]);
    assert_eq!(t.ended[0].verdict.close.name(), "rst");
}

#[test]
fn half_open_answered_with_a_reset() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Server, A, 7777, 5, 0)
        .say(Client, R, 5, 0, 0)
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Client, A, 101, 501, 0)
        .tracked();
    assert_eq!(t.packets(), [6]);
}

#[test]
fn half_closed_and_data_after_it() {
    let t = Talk::new()
        .handshake()
        .say(Client, FA, 101, 501, 0)
        .say(Server, A, 501, 102, 1000)
        .say(Client, A, 102, 1501, 0)
        .say(Server, FA, 1501, 102, 0)
        .say(Client, A, 102, 1502, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn reset_in_the_middle() {
    let t =
        Talk::new().handshake().say(Client, A, 101, 501, 50).say(Server, RA, 501, 151, 0).tracked();
    assert_eq!(t.verdicts(), ["reset"]);
}

#[test]
fn reset_after_one_fin() {
    let t =
        Talk::new().handshake().say(Client, FA, 101, 501, 0).say(Server, RA, 501, 102, 0).tracked();
    assert_eq!(t.verdicts(), ["reset"]);
}

#[test]
fn reset_after_both_fins_is_a_close_by_fin() {
    let t = Talk::new().handshake().close(101, 501).say(Server, R, 502, 0, 0).tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.ended[0].flow.as_ref().unwrap().packets.len(), 7);
}

#[test]
fn reset_before_the_handshake_is_whole() {
    let t = Talk::new()
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .say(Client, R, 101, 0, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["started: handshake not acknowledged"]);
}

#[test]
fn out_of_order() {
    let t = Talk::new()
        .handshake()
        .say(Client, A, 201, 501, 100)
        .say(Client, A, 301, 501, 100)
        .say(Client, A, 101, 501, 100)
        .close(401, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.ended[0].verdict.repeated_octets, [0, 0]);
}

#[test]
fn duplicated() {
    let t = Talk::new()
        .handshake()
        .say(Client, A, 101, 501, 100)
        .say(Client, A, 101, 501, 100)
        .close(201, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.ended[0].verdict.repeated_octets, [100, 0]);
}

#[test]
fn sent_again_with_other_lengths() {
    let t = Talk::new()
        .handshake()
        .say(Client, A, 101, 501, 100)
        .say(Client, A, 301, 501, 100)
        .say(Client, A, 151, 501, 200)
        .say(Client, A, 101, 501, 300)
        .close(401, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.ended[0].verdict.repeated_octets, [100 + 300, 0]);
}

#[test]
fn octets_never_seen() {
    let t = Talk::new()
        .handshake()
        .say(Server, A, 501, 101, 1200)
        .say(Server, A, 3161, 101, 100)
        .close(101, 3261)
        .tracked();
    assert_eq!(t.verdicts(), ["partial: octets 1200..2660 of the server never seen"]);
    assert_eq!(t.ended[0].verdict.missing_octets, [0, 1460]);
}

#[test]
fn acknowledged_and_never_seen() {
    let t = Talk::new().handshake().say(Server, A, 501, 601, 0).say(Client, R, 601, 0, 0).tracked();
    assert_eq!(t.verdicts(), ["partial: octets 0..500 of the client never seen"]);
}

#[test]
fn keep_alives() {
    let t = Talk::new()
        .handshake()
        .pause(7200)
        .say(Server, A, 500, 101, 0)
        .say(Client, A, 101, 501, 0)
        .say(Server, A, 500, 101, 1)
        .say(Client, A, 101, 501, 0)
        .close(101, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.packets(), [10]);
}

#[test]
fn zero_window_probe() {
    let t = Talk::new()
        .handshake()
        .say(Client, A, 101, 501, 1)
        .say(Server, A, 501, 101, 0)
        .say(Client, A, 101, 501, 1)
        .say(Server, A, 501, 102, 0)
        .close(102, 501)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn sequence_numbers_wrap() {
    let near = u32::MAX - 49;
    let t = Talk::new()
        .say(Client, S, near - 1, 0, 0)
        .say(Server, SA, u32::MAX, near, 0)
        .say(Client, A, near, 0, 0)
        .say(Client, A, near, 0, 100)
        .say(Server, A, 0, 50, 10)
        .close(50, 10)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
}

#[test]
fn packets_after_the_close() {
    let t = Talk::new()
        .handshake()
        .close(101, 501)
        .pause(60)
        .say(Server, FA, 501, 102, 0)
        .say(Client, R, 102, 0, 0)
        .tracked();
    assert_eq!(t.verdicts(), ["graceful"]);
    assert_eq!(t.packets(), [8]);
    assert_eq!(t.ended[0].flow.as_ref().unwrap().packets.len(), 8);
}

#[test]
fn begin_never_seen() {
    let t = Talk::new()
        .say(Client, A, 101, 501, 50)
        .say(Server, A, 501, 151, 10)
        .close(151, 511)
        .tracked();
    assert_eq!(t.verdicts(), ["ended: no SYN; no SYN-ACK; handshake not acknowledged"]);
}

#[test]
fn neither_begin_nor_end() {
    let t = Talk::new().say(Client, A, 101, 501, 50).say(Server, A, 501, 151, 10).tracked();
    let missing = "no SYN; no SYN-ACK; handshake not acknowledged; \
                   no FIN from the client; no FIN from the server";
    assert_eq!(t.verdicts(), [format!("partial: {missing}")]);
}

#[test]
fn syn_ack_first_tells_who_opened() {
    let t = Talk::new()
        .say(Server, SA, 500, 101, 0)
        .say(Client, A, 101, 501, 0)
        .close(101, 501)
        .tracked();
    assert_eq!(t.records[0].endpoints[0].port, 1000);
    let flow = t.ended[0].flow.as_ref().unwrap();
    assert_eq!(
        (flow.client.port, flow.packets[0].direction),
        (1000, flowtrack::Direction::Reverse)
    );
}

#[test]
fn data_captured_before_its_syn() {
    let t = Talk::new()
        .say(Client, A, 101, 501, 50)
        .say(Client, S, 100, 0, 0)
        .say(Server, SA, 500, 101, 0)
        .tracked();
    assert_eq!(t.packets(), [3]);
    assert!(t.verdicts()[0].starts_with("started"));
}

#[test]
fn fin_seen_by_one_side_only() {
    let t =
        Talk::new().handshake().say(Client, FA, 101, 501, 0).say(Server, A, 501, 102, 0).tracked();
    assert_eq!(t.verdicts(), ["started: no FIN from the server"]);
}
