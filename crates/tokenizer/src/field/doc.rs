//! The reference document of the code, written from the table of [`vocab`](super::vocab).

use std::fmt::Write;
use std::net::Ipv4Addr;

use flowtrack::{Completeness, Direction, Endpoint, Flow, OptionsRef, Packet};
use tcpwire::{Flags, SeqNum};

use super::codec::encode;
use super::parse::{Parser, Step};
use super::stats::TokenStats;
use super::vocab::{self, TABLE, VERSION, VOCAB_SIZE};
use crate::TokenId;

/// Returns the text of `docs/tokens.md`. `stats` are the statistics that it shows.
#[must_use]
pub fn reference(stats: &TokenStats) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "{}",
        INTRODUCTION
            .replace("{version}", &VERSION.to_string())
            .replace("{size}", &VOCAB_SIZE.to_string())
    );
    for row in TABLE {
        let (first, last) = (row.range.first, row.range.first + row.range.len - 1);
        let ids = if first == last { first.to_string() } else { format!("{first}..{last}") };
        let _ = writeln!(
            out,
            "| {ids} | `{}` | {} | {} | {} |",
            row.name, row.field, row.digits, row.meaning
        );
    }
    out.push_str(LISTS);
    list(&mut out, "port", vocab::PORTS.iter());
    list(
        &mut out,
        "flags, toggled (hexadecimal)",
        vocab::FLAG_TOGGLES.map(|f| format!("{f:03x}")).iter(),
    );
    list(&mut out, "win", vocab::WINDOWS.iter());
    list(&mut out, "mss", vocab::MSSES.iter());
    list(&mut out, "ttl", vocab::TTLS.iter());
    list(&mut out, "hz, tick in ns (client's, then server's)", vocab::TICKS_NS.iter());
    list(&mut out, "flow, unit in ns (IPv4, then IPv6)", vocab::UNITS_NS[..2].iter());
    let layouts = super::options::LAYOUTS.map(super::options::layout_name);
    list(&mut out, "opt.layout", layouts[..vocab::LAYOUT.count()].iter());
    let set = |set: vocab::SynSet| {
        let (window, mss, shift) = (set.window, set.mss, set.shift);
        format!("{window} / {} / {mss} / {shift}", layouts[usize::from(set.layout)])
    };
    list(&mut out, "syn.set (window / layout / MSS / shift)", vocab::SYN_SETS.map(set).iter());
    let _ = writeln!(out, "{COSTS}{stats}.");
    write_worked_flow(&mut out);
    out.push_str(WORD16);
    out
}

/// Appends a list of values with a name.
fn list<T: std::fmt::Display>(out: &mut String, name: &str, values: impl Iterator<Item = T>) {
    let values: Vec<String> = values.map(|v| v.to_string()).collect();
    let _ = writeln!(out, "- **{name}**: {}", values.join(", "));
}

const INTRODUCTION: &str = include_str!("doc/introduction.md");

const LISTS: &str = include_str!("doc/lists.md");

const COSTS: &str = include_str!("doc/costs.md");

const WORD16: &str = include_str!("doc/word16.md");

/// Returns a short HTTP conversation, made by hand.
#[must_use]
pub fn worked_flow() -> Flow {
    let mut flow = Flow {
        client: Endpoint { addr: Ipv4Addr::new(192, 0, 2, 1).into(), port: 49_200 },
        server: Endpoint { addr: Ipv4Addr::new(198, 51, 100, 2).into(), port: 80 },
        first_frame: 1,
        packets: Vec::new(),
        options: Vec::new(),
        completeness: Completeness::from_bits_retain(31),
    };
    let syn_options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 3, 232, 0, 0, 0, 0, 1, 3, 3, 7];
    let syn_ack_options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 7, 208, 0, 0, 3, 232, 1, 3, 3, 7];
    let (c, s) = (Direction::Forward, Direction::Reverse);
    let (syn, ack) = (Flags::SYN, Flags::ACK);
    let (syn_ack, psh_ack, fin_ack) = (syn | ack, Flags::PSH | ack, Flags::FIN | ack);
    add(&mut flow, 0, c, syn, (100, 0), 0, 64_240, &syn_options);
    add(&mut flow, 30_000, s, syn_ack, (900, 101), 0, 65_160, &syn_ack_options);
    add(&mut flow, 30_050, c, ack, (101, 901), 0, 502, &timestamps(1030, 2000));
    add(&mut flow, 30_400, c, psh_ack, (101, 901), 120, 502, &timestamps(1030, 2000));
    add(&mut flow, 60_400, s, ack, (901, 221), 0, 508, &timestamps(2030, 1030));
    add(&mut flow, 61_000, s, ack, (901, 221), 1448, 508, &timestamps(2031, 1030));
    add(&mut flow, 61_010, s, psh_ack, (2349, 221), 600, 508, &timestamps(2031, 1030));
    add(&mut flow, 61_100, c, ack, (221, 2949), 0, 501, &timestamps(1061, 2031));
    add(&mut flow, 62_000, c, fin_ack, (221, 2949), 0, 501, &timestamps(1062, 2031));
    add(&mut flow, 92_100, s, fin_ack, (2949, 222), 0, 508, &timestamps(2062, 1062));
    add(&mut flow, 92_150, c, ack, (222, 2950), 0, 501, &timestamps(1092, 2062));
    flow
}

/// Returns the octets of `[NOP, NOP, timestamps]`.
fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// Appends a packet to `flow`, `us` microseconds after its start.
#[expect(clippy::too_many_arguments, reason = "a packet has that many fields")]
fn add(
    flow: &mut Flow,
    us: i64,
    d: Direction,
    flags: Flags,
    seq_ack: (u32, u32),
    len: u32,
    window: u16,
    options: &[u8],
) {
    let of_side = flow.packets.iter().filter(|p| p.direction == d).count() as u16;
    flow.packets.push(Packet {
        time_ns: 1_700_000_000_000_000_000 + us * 1000,
        seq: SeqNum(seq_ack.0),
        ack: SeqNum(seq_ack.1),
        payload_len: len,
        flow_label: 0,
        options: OptionsRef { start: flow.options.len() as u32, len: options.len() as u8 },
        flags,
        window,
        urgent: 0,
        ip_id: if d == Direction::Forward {
            500 + of_side
        } else {
            (700 + of_side) * u16::from(of_side > 0)
        },
        ttl: if d == Direction::Forward { 64 } else { 55 },
        traffic_class: 0,
        dont_fragment: true,
        direction: d,
    });
    flow.options.extend_from_slice(options);
}

/// Appends the worked flow as a table: packet by packet, with its tokens.
fn write_worked_flow(out: &mut String) {
    let flow = worked_flow();
    let mut tokens = Vec::new();
    if encode(&flow, &mut tokens).is_err() {
        return;
    }
    let _ = write!(
        out,
        "\n## A flow, packet by packet\n\n{} packets, {} tokens.\n\n",
        flow.packets.len(),
        tokens.len()
    );
    out.push_str(
        "| packet | seq | ack | len | window | time (us) | tokens |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut parser = Parser::default();
    let mut read: Vec<TokenId> = Vec::new();
    let mut packets = flow.packets.iter();
    for &token in &tokens {
        let Ok(step) = parser.push(token) else { return };
        if step == Step::PacketStart && packets.len() == flow.packets.len() {
            let _ = writeln!(out, "| | | | | | | {} |", names(&read));
            read.clear();
        }
        read.push(token);
        if step == Step::Packet
            && let Some(p) = packets.next()
        {
            let arrow = if p.direction == Direction::Forward { "client" } else { "server" };
            let (seq, ack) = (p.seq.0, p.ack.0);
            let us = (p.time_ns - flow.packets[0].time_ns) / 1000;
            let _ = writeln!(
                out,
                "| {arrow} {} | {seq} | {ack} | {} | {} | {us} | {} |",
                flag_names(p.flags),
                p.payload_len,
                p.window,
                names(&read)
            );
            read.clear();
        }
    }
    let _ = writeln!(out, "| | | | | | | {} |", names(&read));
}

/// Returns the names of tokens, each in back quotes.
fn names(tokens: &[TokenId]) -> String {
    tokens.iter().map(|&t| format!("`{}`", vocab::describe(t))).collect::<Vec<_>>().join(" ")
}

/// Returns the names of the flags that are set.
fn flag_names(flags: Flags) -> String {
    let names = [
        (Flags::SYN, "SYN"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
        (Flags::PSH, "PSH"),
        (Flags::ACK, "ACK"),
    ];
    names.iter().filter(|(f, _)| flags.contains(*f)).map(|(_, n)| *n).collect::<Vec<_>>().join(" ")
}
