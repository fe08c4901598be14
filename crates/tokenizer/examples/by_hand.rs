//! Encodes a flow made by hand, and shows its tokens and those that may follow: `cargo run -p
//! tokenizer --example by_hand`.

use std::io::Write;
use std::net::Ipv4Addr;

use flowtrack::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
use tcpwire::{Flags, SeqNum};
use tokenizer::TokenCode;
use tokenizer::field::{Constraint, Field, Grammar, Limits, vocab};

/// Returns a packet without options. Numbers are those of the header.
fn packet(
    time_us: i64,
    direction: Direction,
    flags: Flags,
    seq: u32,
    ack: u32,
    payload_len: u32,
) -> Packet {
    Packet {
        time_ns: time_us * 1_000,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        payload_len,
        flow_label: 0,
        options: OptionsRef::default(),
        flags,
        window: 64_240,
        urgent: 0,
        ip_id: 0,
        ttl: 64,
        traffic_class: 0,
        dont_fragment: true,
        direction,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use Direction::{Forward, Reverse};
    let (ack, fin_ack) = (Flags::ACK, Flags::FIN | Flags::ACK);
    let flow = Flow {
        client: Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1).into(), port: 50_000 },
        server: Endpoint { addr: Ipv4Addr::new(198, 51, 100, 7).into(), port: 80 },
        first_frame: 1,
        packets: vec![
            packet(0, Forward, Flags::SYN, 1000, 0, 0),
            packet(20_000, Reverse, Flags::SYN | ack, 5000, 1001, 0),
            packet(20_050, Forward, ack, 1001, 5001, 0),
            packet(20_300, Forward, ack | Flags::PSH, 1001, 5001, 90),
            packet(41_000, Reverse, ack | Flags::PSH, 5001, 1091, 512),
            packet(41_100, Forward, fin_ack, 1091, 5513, 0),
            packet(61_000, Reverse, fin_ack, 5513, 1092, 0),
            packet(61_060, Forward, ack, 1092, 5514, 0),
        ],
        options: Vec::new(),
        completeness: Completeness::default(),
    };

    let mut code = Field::default();
    let mut tokens = Vec::new();
    let identity = code.encode(&flow, &mut tokens)?;
    let mut out = std::io::stdout().lock();
    for token in &tokens {
        write!(out, "{} ", vocab::describe(*token))?;
    }
    writeln!(out, "\n{} packets, {} tokens", flow.packets.len(), tokens.len())?;

    // Every header value comes back.
    let mut again = flow.clone();
    code.decode(&tokens, &identity, &mut again)?;
    assert_eq!(again.packets, flow.packets);

    // The tokens that may follow the handshake of a whole session.
    let mut grammar = Grammar::new(Constraint::Session, Limits::default());
    for &token in &tokens {
        if grammar.packets() == 3 {
            break;
        }
        grammar.push(token)?;
    }
    writeln!(
        out,
        "{} of {} tokens may follow the handshake",
        grammar.allowed_next().count(),
        Field::VOCAB_SIZE
    )?;
    Ok(())
}
