//! Writes packet deltas as tokens.
//!
//! A packet is a packet token, the fields that differ from their expected values in the order of
//! [`FieldOrder`](super::field_order::FieldOrder), and the time.

use super::bucket::{self, TimeTokens, digits_for};
use super::delta::{
    AckDelta, FlowLabelDelta, IpIdDelta, LenDelta, OptionsDelta, PacketDelta, Said, SeqDelta,
    TimeDelta, TsecrDelta, TsvalDelta, WindowDelta,
};
use super::digits::{write_bucketed, write_digits, write_raw};
use super::options::{Element, SackDelta};
use super::time_unit::TimeUnit;
use super::vocab;
use crate::TokenId;

/// Appends the tokens of one packet. `unit` is the unit of its time.
pub(super) fn packet(delta: &PacketDelta, unit: TimeUnit, out: &mut Vec<TokenId>) {
    out.push(vocab::PACKET.at(delta.kind.index()));
    if delta.flag_toggle != 0 {
        match vocab::FLAG_TOGGLES.iter().position(|&t| t == delta.flag_toggle) {
            Some(i) => out.push(vocab::FLAGS.at(i)),
            None => write_raw(vocab::FLAGS_RAW, delta.flag_toggle.into(), 2, out),
        }
    }
    let said = delta.kind.said;
    if said != Said::KeepAlive {
        seq(delta.seq, out);
    }
    if !said.has_ack() {
        ack(delta.ack, out);
    }
    if !said.has_len() {
        len(delta.len, out);
    }
    window(delta.window, out);
    if delta.urgent != 0 {
        write_raw(vocab::URGENT, delta.urgent.into(), 2, out);
    }
    options(delta, out);
    match delta.ts_val {
        TsvalDelta::Expected => {}
        TsvalDelta::Offset(by) => out.push(vocab::TSVAL.at(TsvalDelta::offset_index(by))),
        TsvalDelta::Forward(by) => write_raw(vocab::TSVAL_FORWARD, by.into(), 2, out),
        TsvalDelta::Raw(by) => write_raw(vocab::TSVAL_RAW, by.into(), 4, out),
    }
    match delta.ts_ecr {
        TsecrDelta::Expected => {}
        TsecrDelta::Later(k) => out.push(vocab::TSECR.at(k.into())),
        TsecrDelta::Zero => out.push(vocab::TSECR_ZERO.at(0)),
        TsecrDelta::Base => out.push(vocab::TSECR_BASE.at(0)),
        TsecrDelta::Raw(by) => write_raw(vocab::TSECR_RAW, by.into(), 4, out),
    }
    ip(delta, out);
    time(delta.time, unit, out);
}

/// Appends the token of a sequence number, and its digits.
fn seq(delta: SeqDelta, out: &mut Vec<TokenId>) {
    match delta {
        SeqDelta::Expected => {}
        SeqDelta::SndUna => out.push(vocab::SEQ_UNA.at(0)),
        SeqDelta::KeepAlive => out.push(vocab::SEQ_KEEPALIVE.at(0)),
        SeqDelta::RetransmitOldest(k) => out.push(vocab::SEQ_OLD.at(k.into())),
        SeqDelta::RetransmitNewest(k) => out.push(vocab::SEQ_NEW.at(k.into())),
        SeqDelta::FillHole(k) => out.push(vocab::SEQ_HOLE.at(k.into())),
        SeqDelta::SkipAhead(k) => out.push(vocab::SEQ_SKIP.at(k.into())),
        SeqDelta::Forward(by) => write_raw(vocab::SEQ_FORWARD, by.into(), 2, out),
        SeqDelta::Back(by) => write_raw(vocab::SEQ_BACK, by.into(), 2, out),
        SeqDelta::Raw(by) => write_raw(vocab::SEQ_RAW, by.into(), 4, out),
    }
}

/// Appends the token of an acknowledgment number, and its digits.
fn ack(delta: AckDelta, out: &mut Vec<TokenId>) {
    match delta {
        AckDelta::Expected => {}
        AckDelta::Segment(k) => out.push(vocab::ACK_SEG.at(k.into())),
        AckDelta::Newest(k) => out.push(vocab::ACK_NEW.at(k.into())),
        AckDelta::Full(k) => out.push(vocab::ACK_FULL.at(k.into())),
        AckDelta::Zero => out.push(vocab::ACK_ZERO.at(0)),
        AckDelta::Forward(by) => write_raw(vocab::ACK_FORWARD, by.into(), 2, out),
        AckDelta::Back(by) => write_raw(vocab::ACK_BACK, by.into(), 2, out),
        AckDelta::Raw(by) => write_raw(vocab::ACK_RAW, by.into(), 4, out),
    }
}

/// Appends the token of a payload length, and its digits.
fn len(delta: LenDelta, out: &mut Vec<TokenId>) {
    match delta {
        LenDelta::Expected => {}
        LenDelta::Same => out.push(vocab::LEN_SAME.at(0)),
        LenDelta::Multiple(k) => out.push(vocab::LEN_MULTIPLE.at(k.into())),
        LenDelta::Octets(n) => {
            write_bucketed(vocab::LEN, &bucket::LENGTHS, n.into(), out);
        }
        LenDelta::Raw(n) => write_raw(vocab::LEN_RAW, n.into(), 4, out),
    }
}

/// Appends the token of a window, and its digits.
fn window(delta: WindowDelta, out: &mut Vec<TokenId>) {
    match delta {
        WindowDelta::Same => {}
        WindowDelta::SameEdge => out.push(vocab::WIN_EDGE.at(0)),
        WindowDelta::Max => out.push(vocab::WIN_MAX.at(0)),
        WindowDelta::Acked(i) => out.push(vocab::WIN_ACKED.at(i.into())),
        WindowDelta::Listed(window) => {
            let i = vocab::WINDOWS.iter().position(|&w| w == window);
            out.extend(i.map(|i| vocab::WIN.at(i)));
        }
        WindowDelta::SynSet(i) => out.push(vocab::SYN_SET.at(i.into())),
        WindowDelta::Up(by) => {
            write_bucketed(vocab::WIN_UP, &bucket::WINDOW_STEPS, by.into(), out);
        }
        WindowDelta::Down(by) => {
            write_bucketed(vocab::WIN_DOWN, &bucket::WINDOW_STEPS, by.into(), out);
        }
    }
}

/// Appends the tokens of TCP options, timestamps apart.
fn options(delta: &PacketDelta, out: &mut Vec<TokenId>) {
    let mut sacks = delta.elements.sacks.iter();
    match delta.options {
        OptionsDelta::Expected => {}
        // The set says the options too.
        _ if matches!(delta.window, WindowDelta::SynSet(_)) => {}
        OptionsDelta::Layout(i) => {
            out.push(vocab::LAYOUT.at(i.into()));
            for &element in &delta.elements.list {
                option_values(element, &mut sacks, out);
            }
        }
        OptionsDelta::List => {
            out.push(vocab::OPT_LIST.at(0));
            let mut octets = delta.elements.raw.iter();
            for &element in &delta.elements.list {
                option_element(element, &mut octets, out);
                option_values(element, &mut sacks, out);
            }
            out.push(vocab::OPT_DONE.at(0));
        }
        OptionsDelta::Recent(k) => out.push(vocab::OPT_RECENT.at(k.into())),
    }
}

/// Appends the token of an element in a list, with the octets of those that have no tokens of
/// their own.
fn option_element(element: Element, octets: &mut std::slice::Iter<'_, u8>, out: &mut Vec<TokenId>) {
    let count = match element {
        Element::Nop => return out.push(vocab::OPT_NOP.at(0)),
        Element::Eol => return out.push(vocab::OPT_EOL.at(0)),
        Element::Mss(_) => return out.push(vocab::OPT_MSS.at(0)),
        Element::Ws(_) => return out.push(vocab::OPT_WS.at(0)),
        Element::SackPermitted => return out.push(vocab::OPT_SACK_PERMITTED.at(0)),
        Element::Ts => return out.push(vocab::OPT_TS.at(0)),
        Element::Sack(n) => return out.push(vocab::OPT_SACK.at(usize::from(n) - 1)),
        Element::Raw { kind, len, said } => {
            out.push(vocab::OPT_RAW.at(0));
            write_digits(kind.into(), 1, out);
            write_digits(len.into(), 1, out);
            said
        }
        Element::Octets(n) => {
            out.push(vocab::OPT_OCTETS.at(0));
            write_digits(n.into(), 1, out);
            n
        }
    };
    for &octet in octets.by_ref().take(count.into()) {
        write_digits(octet.into(), 1, out);
    }
}

/// Appends the values of an element: those of a layout and of a list are alike.
fn option_values(
    element: Element,
    sacks: &mut std::slice::Iter<'_, SackDelta>,
    out: &mut Vec<TokenId>,
) {
    match element {
        Element::Mss(mss) => match vocab::MSSES.iter().position(|&m| m == mss) {
            Some(i) => out.push(vocab::MSS.at(i)),
            None => write_raw(vocab::MSS_RAW, mss.into(), 2, out),
        },
        Element::Ws(shift) if usize::from(shift) < vocab::WS.count() => {
            out.push(vocab::WS.at(shift.into()))
        }
        Element::Ws(shift) => write_raw(vocab::WS_RAW, shift.into(), 1, out),
        Element::Sack(n) => sacks.by_ref().take(n.into()).for_each(|&s| sack(s, out)),
        _ => {}
    }
}

/// Appends the tokens of one SACK block.
fn sack(delta: SackDelta, out: &mut Vec<TokenId>) {
    match delta {
        SackDelta::Segments { at, count } => {
            out.push(vocab::SACK_AT.at(at.into()));
            out.push(vocab::SACK_COUNT.at(count.into()));
        }
        SackDelta::Repeated(k) => out.push(vocab::SACK_DUP.at(k.into())),
        SackDelta::Raw { left, len } => {
            write_raw(vocab::SACK_RAW, u64::from(left) << 32 | u64::from(len), 8, out)
        }
    }
}

/// Appends the tokens of the IP header.
fn ip(delta: &PacketDelta, out: &mut Vec<TokenId>) {
    if let Some(class) = delta.traffic_class {
        write_raw(vocab::TRAFFIC_CLASS, class.into(), 1, out);
    }
    if let Some(ttl) = delta.ttl {
        match vocab::TTLS.iter().position(|&t| t == ttl) {
            Some(i) => out.push(vocab::TTL.at(i)),
            None => write_raw(vocab::TTL_RAW, ttl.into(), 1, out),
        }
    }
    if delta.toggles_df {
        out.push(vocab::DF.at(0));
    }
    match delta.ip_id {
        IpIdDelta::Expected => {}
        IpIdDelta::More(by) => out.push(vocab::ID.at(by.into())),
        IpIdDelta::Zero => out.push(vocab::ID_ZERO.at(0)),
        IpIdDelta::Base => out.push(vocab::ID_BASE.at(0)),
        IpIdDelta::Raw(by) => write_raw(vocab::ID_RAW, by.into(), 2, out),
    }
    match delta.flow_label {
        FlowLabelDelta::Expected => {}
        FlowLabelDelta::Zero => out.push(vocab::LABEL_ZERO.at(0)),
        FlowLabelDelta::Base => out.push(vocab::LABEL_BASE.at(0)),
        FlowLabelDelta::Raw(by) => write_raw(vocab::LABEL_RAW, by.into(), 3, out),
    }
}

/// Appends the tokens of a time.
fn time(delta: TimeDelta, unit: TimeUnit, out: &mut Vec<TokenId>) {
    let (tokens, units) = match delta {
        TimeDelta::Gap(units @ 0..) => (TimeTokens::Gap, units),
        TimeDelta::Gap(units) => {
            out.push(vocab::TIME_BACK.at(0));
            (TimeTokens::Gap, units)
        }
        TimeDelta::Due(units @ 0..) => (TimeTokens::Late, units),
        TimeDelta::Due(units) => (TimeTokens::Early, units),
    };
    let units = units.unsigned_abs();
    let i = tokens.index(units, unit);
    let b = tokens.bucket(unit, i);
    out.push(tokens.range().at(i));
    write_digits(units - b.first, digits_for(b.max_offset()), out);
}
