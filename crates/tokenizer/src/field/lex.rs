//! Ids: what was said, as tokens, and tokens as what was said.
//!
//! A flow is `begin`, its header, packets, `end`. A packet is a packet token, the fields that do not go as expected
//! in the order of [`Rank`], and the time. The lexer knows how tokens follow one another and nothing of TCP.

use super::bucket::{self, Bucket, Scale, digits_for};
use super::options::{self, Element};
use super::say::{
    Say, SayAck, SayId, SayLabel, SayLen, SayOptions, SaySack, SaySeq, SayTsEcr, SayTsVal, SayWindow, Shape,
};
use super::vocab::{self, Range};
use crate::TokenId;

/// What the head of a flow says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    pub(crate) v6: bool,
    /// Index into [`vocab::UNITS_NS`].
    pub(crate) unit: u8,
    pub(crate) class: u8,
    pub(crate) length: u8,
    pub(crate) port: u16,
    /// Indices into [`vocab::TICKS_NS`].
    pub(crate) ticks: [u8; 2],
}

impl Head {
    pub(crate) fn unit_ns(&self) -> i64 {
        vocab::UNITS_NS[usize::from(self.unit)]
    }

    pub(crate) fn ticks_ns(&self) -> [i64; 2] {
        self.ticks.map(|t| vocab::TICKS_NS[usize::from(t)])
    }
}

// --- writing ---------------------------------------------------------------------------------------------------

fn digits(value: u64, count: u8, out: &mut Vec<TokenId>) {
    for i in (0..count).rev() {
        out.push(vocab::DIGIT.at((value >> (8 * i) & 0xff) as usize));
    }
}

fn raw(range: Range, value: u64, count: u8, out: &mut Vec<TokenId>) {
    out.push(range.at(0));
    digits(value, count, out);
}

fn bucketed(range: Range, scale: Scale, value: u64, out: &mut Vec<TokenId>) -> bool {
    let Some(i) = scale.index(value) else { return false };
    let b = scale.bucket(i);
    out.push(range.at(i));
    digits(value - b.first, digits_for(b.max_offset()), out);
    true
}

pub(crate) fn write_head(head: &Head, out: &mut Vec<TokenId>) {
    out.push(vocab::BOS);
    out.push(vocab::FLOW.at(usize::from(head.v6) * 4 + usize::from(head.unit)));
    out.push(vocab::CLASS.at(head.class.into()));
    out.push(vocab::LENGTH.at(head.length.into()));
    match vocab::PORTS.iter().position(|&p| p == head.port) {
        Some(i) => out.push(vocab::PORT.at(i)),
        None => raw(vocab::PORT_RAW, head.port.into(), 2, out),
    }
    for (side, &tick) in head.ticks.iter().enumerate() {
        if tick != 0 {
            out.push(vocab::HZ.at(side * 8 + usize::from(tick)));
        }
    }
}

/// Writes one packet. `unit_ns` is the flow's unit of time.
pub(crate) fn write_packet(say: &Say, unit_ns: i64, out: &mut Vec<TokenId>) {
    out.push(vocab::PACKET.at(say.shape.index()));
    if say.toggle != 0 {
        match vocab::FLAG_TOGGLES.iter().position(|&t| t == say.toggle) {
            Some(i) => out.push(vocab::FLAGS.at(i)),
            None => raw(vocab::FLAGS_RAW, say.toggle.into(), 2, out),
        }
    }
    write_seq(say.seq, out);
    write_ack(say.ack, out);
    write_len(say.len, out);
    write_window(say.window, out);
    if say.urgent != 0 {
        raw(vocab::URGENT, say.urgent.into(), 2, out);
    }
    write_options(say, out);
    match say.ts_val {
        SayTsVal::Expected => {}
        SayTsVal::Off(by) => out.push(vocab::TSVAL.at(ts_off_index(by))),
        SayTsVal::Forward(by) => raw(vocab::TSVAL_FORWARD, by.into(), 2, out),
        SayTsVal::Raw(by) => raw(vocab::TSVAL_RAW, by.into(), 4, out),
    }
    match say.ts_ecr {
        SayTsEcr::Expected => {}
        SayTsEcr::Later(k) => out.push(vocab::TSECR.at(k.into())),
        SayTsEcr::Zero => out.push(vocab::TSECR_ZERO.at(0)),
        SayTsEcr::Base => out.push(vocab::TSECR_BASE.at(0)),
        SayTsEcr::Raw(by) => raw(vocab::TSECR_RAW, by.into(), 4, out),
    }
    write_ip(say, out);
    write_gap(say.gap, unit_ns, out);
}

/// -6..=-1 and 1..=6 as 0..=11.
fn ts_off_index(by: i8) -> usize {
    (if by < 0 { by + 6 } else { by + 5 }) as usize
}

fn ts_off(index: usize) -> i8 {
    let by = index as i8 - 6;
    if by < 0 { by } else { by + 1 }
}

fn write_seq(say: SaySeq, out: &mut Vec<TokenId>) {
    match say {
        SaySeq::Expected => {}
        SaySeq::Una => out.push(vocab::SEQ_UNA.at(0)),
        SaySeq::KeepAlive => out.push(vocab::SEQ_KEEPALIVE.at(0)),
        SaySeq::Old(k) => out.push(vocab::SEQ_OLD.at(k.into())),
        SaySeq::New(k) => out.push(vocab::SEQ_NEW.at(k.into())),
        SaySeq::Hole(k) => out.push(vocab::SEQ_HOLE.at(k.into())),
        SaySeq::Skip(k) => out.push(vocab::SEQ_SKIP.at(k.into())),
        SaySeq::Forward(by) => raw(vocab::SEQ_FORWARD, by.into(), 2, out),
        SaySeq::Back(by) => raw(vocab::SEQ_BACK, by.into(), 2, out),
        SaySeq::Raw(by) => raw(vocab::SEQ_RAW, by.into(), 4, out),
    }
}

fn write_ack(say: SayAck, out: &mut Vec<TokenId>) {
    match say {
        SayAck::Expected => {}
        SayAck::Segment(k) => out.push(vocab::ACK_SEG.at(k.into())),
        SayAck::Newest(k) => out.push(vocab::ACK_NEW.at(k.into())),
        SayAck::Zero => out.push(vocab::ACK_ZERO.at(0)),
        SayAck::Forward(by) => raw(vocab::ACK_FORWARD, by.into(), 2, out),
        SayAck::Back(by) => raw(vocab::ACK_BACK, by.into(), 2, out),
        SayAck::Raw(by) => raw(vocab::ACK_RAW, by.into(), 4, out),
    }
}

fn write_len(say: SayLen, out: &mut Vec<TokenId>) {
    match say {
        SayLen::Expected => {}
        SayLen::Same => out.push(vocab::LEN_SAME.at(0)),
        SayLen::Multiple(k) => out.push(vocab::LEN_MULTIPLE.at(k.into())),
        SayLen::Octets(n) => {
            bucketed(vocab::LEN, bucket::LENGTHS, n.into(), out);
        }
        SayLen::Raw(n) => raw(vocab::LEN_RAW, n.into(), 4, out),
    }
}

fn write_window(say: SayWindow, out: &mut Vec<TokenId>) {
    match say {
        SayWindow::Same => {}
        SayWindow::Edge => out.push(vocab::WIN_EDGE.at(0)),
        SayWindow::Max => out.push(vocab::WIN_MAX.at(0)),
        SayWindow::Listed(i) => out.push(vocab::WIN.at(i.into())),
        SayWindow::Up(by) => {
            bucketed(vocab::WIN_UP, bucket::WINDOW_STEPS, by.into(), out);
        }
        SayWindow::Down(by) => {
            bucketed(vocab::WIN_DOWN, bucket::WINDOW_STEPS, by.into(), out);
        }
    }
}

fn write_options(say: &Say, out: &mut Vec<TokenId>) {
    let mut sacks = say.elements.sacks.iter();
    match say.options {
        SayOptions::Expected => {}
        SayOptions::Layout(i) => {
            out.push(vocab::LAYOUT.at(i.into()));
            for &element in &say.elements.list {
                write_values(element, &mut sacks, out);
            }
        }
        SayOptions::List => {
            out.push(vocab::OPT_LIST.at(0));
            let mut octets = say.elements.raw.iter();
            for &element in &say.elements.list {
                write_element(element, &mut octets, out);
                write_values(element, &mut sacks, out);
            }
            out.push(vocab::OPT_DONE.at(0));
        }
    }
}

fn write_element(element: Element, octets: &mut std::slice::Iter<'_, u8>, out: &mut Vec<TokenId>) {
    let count = match element {
        Element::Nop => return out.push(vocab::OPT_NOP.at(0)),
        Element::Eol => return out.push(vocab::OPT_EOL.at(0)),
        Element::Mss(_) => return out.push(vocab::OPT_MSS.at(0)),
        Element::Ws(_) => return out.push(vocab::OPT_WS.at(0)),
        Element::SackPermitted => return out.push(vocab::OPT_SACK_PERMITTED.at(0)),
        Element::Ts => return out.push(vocab::OPT_TS.at(0)),
        Element::Sack(n) => return out.push(vocab::OPT_SACK.at(usize::from(n) - 1)),
        Element::Raw { kind, len } => {
            out.push(vocab::OPT_RAW.at(0));
            digits(kind.into(), 1, out);
            digits(len.into(), 1, out);
            len - 2
        }
        Element::Octets(n) => {
            out.push(vocab::OPT_OCTETS.at(0));
            digits(n.into(), 1, out);
            n
        }
    };
    for &octet in octets.by_ref().take(count.into()) {
        digits(octet.into(), 1, out);
    }
}

fn write_values(element: Element, sacks: &mut std::slice::Iter<'_, SaySack>, out: &mut Vec<TokenId>) {
    match element {
        Element::Mss(mss) => match vocab::MSSES.iter().position(|&m| m == mss) {
            Some(i) => out.push(vocab::MSS.at(i)),
            None => raw(vocab::MSS_RAW, mss.into(), 2, out),
        },
        Element::Ws(shift) if usize::from(shift) < vocab::WS.count() => out.push(vocab::WS.at(shift.into())),
        Element::Ws(shift) => raw(vocab::WS_RAW, shift.into(), 1, out),
        Element::Sack(n) => sacks.by_ref().take(n.into()).for_each(|&s| write_sack(s, out)),
        _ => {}
    }
}

fn write_sack(say: SaySack, out: &mut Vec<TokenId>) {
    match say {
        SaySack::Segments { at, count } => {
            out.push(vocab::SACK_AT.at(at.into()));
            out.push(vocab::SACK_COUNT.at(count.into()));
        }
        SaySack::Raw { left, len } => raw(vocab::SACK_RAW, u64::from(left) << 32 | u64::from(len), 8, out),
    }
}

fn write_ip(say: &Say, out: &mut Vec<TokenId>) {
    if let Some(class) = say.traffic_class {
        raw(vocab::TRAFFIC_CLASS, class.into(), 1, out);
    }
    if let Some(ttl) = say.ttl {
        match vocab::TTLS.iter().position(|&t| t == ttl) {
            Some(i) => out.push(vocab::TTL.at(i)),
            None => raw(vocab::TTL_RAW, ttl.into(), 1, out),
        }
    }
    if say.toggle_df {
        out.push(vocab::DF.at(0));
    }
    match say.id {
        SayId::Expected => {}
        SayId::More(by) => out.push(vocab::ID.at(by.into())),
        SayId::Zero => out.push(vocab::ID_ZERO.at(0)),
        SayId::Base => out.push(vocab::ID_BASE.at(0)),
        SayId::Raw(by) => raw(vocab::ID_RAW, by.into(), 2, out),
    }
    match say.label {
        SayLabel::Expected => {}
        SayLabel::Zero => out.push(vocab::LABEL_ZERO.at(0)),
        SayLabel::Base => out.push(vocab::LABEL_BASE.at(0)),
        SayLabel::Raw(by) => raw(vocab::LABEL_RAW, by.into(), 3, out),
    }
}

fn write_gap(gap: i64, unit_ns: i64, out: &mut Vec<TokenId>) {
    if gap < 0 {
        out.push(vocab::TIME_BACK.at(0));
    }
    let units = gap.unsigned_abs();
    let i = bucket::GAPS.index(units.saturating_mul(unit_ns as u64)).unwrap_or(vocab::TIME.count() - 1);
    let b = in_units(bucket::GAPS.bucket(i), unit_ns);
    out.push(vocab::TIME.at(i));
    digits(units - b.first, digits_for(b.max_offset()), out);
}

/// The whole units that lie in a bucket of nanoseconds; empty where `first == end`.
pub(crate) fn in_units(b: Bucket, unit_ns: i64) -> Bucket {
    let unit = unit_ns as u64;
    Bucket { first: b.first.div_ceil(unit), end: b.end.div_ceil(unit) }
}

// --- reading ---------------------------------------------------------------------------------------------------

/// The order of fields inside a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rank {
    Flags,
    Seq,
    Ack,
    Len,
    Window,
    Urgent,
    Options,
    TsVal,
    TsEcr,
    TrafficClass,
    Ttl,
    Df,
    Id,
    Time,
}

/// What a run of digits is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Port,
    Flags,
    SeqForward,
    SeqBack,
    SeqRaw,
    AckForward,
    AckBack,
    AckRaw,
    Len { first: u64 },
    LenRaw,
    WindowUp { first: u64 },
    WindowDown { first: u64 },
    Urgent,
    OptionKind,
    OptionLen { kind: u8 },
    OctetsLen,
    OptionOctet { left: u8 },
    Mss,
    Ws,
    Sack { more: u8 },
    TsValForward,
    TsValRaw,
    TsEcrRaw,
    TrafficClass,
    Ttl,
    Id,
    Label,
    Gap { first: u64, back: bool },
}

/// Where in a flow the lexer stands: what may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    Start,
    Flow,
    Class,
    Length,
    Port,
    /// Timestamp clocks of this side and later, or the first packet.
    Hz(u8),
    /// A packet, or the end.
    Between,
    /// A field of this rank or a later one.
    Fields(Rank),
    /// So many more digits; the value so far; the least and the greatest value they may make.
    Digits {
        target: Target,
        left: u8,
        value: u64,
        min: u64,
        max: u64,
    },
    MssValue,
    WsValue,
    /// A SACK block, and so many after it.
    SackBlock {
        more: u8,
    },
    SackCount {
        at: u8,
        more: u8,
    },
    Element,
    TimeBack,
    Done,
}

impl At {
    /// The digits that may follow here, where digits must.
    pub(crate) fn digit_range(self) -> Option<(u8, u8)> {
        let At::Digits { left, value, min, max, .. } = self else { return None };
        let shift = 8 * u32::from(left - 1);
        let digit = |bound: u64| ((bound >> shift) - (value << 8).min(bound >> shift)).min(255) as u8;
        let low = if value << 8 <= min >> shift { digit(min) } else { 0 };
        Some((low, digit(max)))
    }

    /// What may follow, in words.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            At::Start => "begin",
            At::Flow => "flow",
            At::Class => "class",
            At::Length => "length",
            At::Port => "port",
            At::Hz(_) => "hz or packet",
            At::Between => "packet or end",
            At::Fields(Rank::Flags) => "flags, seq, ack, len, window, urgent, options, timestamps, ip or time",
            At::Fields(Rank::Seq) => "seq, ack, len, window, urgent, options, timestamps, ip or time",
            At::Fields(Rank::Ack) => "ack, len, window, urgent, options, timestamps, ip or time",
            At::Fields(Rank::Len) => "len, window, urgent, options, timestamps, ip or time",
            At::Fields(Rank::Window) => "window, urgent, options, timestamps, ip or time",
            At::Fields(Rank::Urgent) => "urgent, options, timestamps, ip or time",
            At::Fields(Rank::Options) => "options, timestamps, ip or time",
            At::Fields(Rank::TsVal) => "timestamps, ip or time",
            At::Fields(Rank::TsEcr) => "tsecr, ip or time",
            At::Fields(Rank::TrafficClass) => "dsfield, ttl, df, id, label or time",
            At::Fields(Rank::Ttl) => "ttl, df, id, label or time",
            At::Fields(Rank::Df) => "df, id, label or time",
            At::Fields(Rank::Id) => "id, label or time",
            At::Fields(Rank::Time) => "time",
            At::Digits { .. } => "digit in range",
            At::MssValue => "mss",
            At::WsValue => "ws",
            At::SackBlock { .. } => "sack.at or sack.raw",
            At::SackCount { .. } => "sack.count",
            At::Element => "an option that fits, or opt.done at a multiple of 4 octets",
            At::TimeBack => "time",
            At::Done => "nothing",
        }
    }
}

/// What a token completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    More,
    /// The first packet begins: the head is whole.
    Packet,
    /// [`Lexer::say`] holds a whole packet.
    Said,
    End,
}

/// Tokens in, packets as they were said out.
#[derive(Clone, Debug)]
pub(crate) struct Lexer {
    pub(crate) at: At,
    pub(crate) head: Head,
    pub(crate) say: Say,
    /// What is left of the layout being filled in; `None` in a list of elements.
    layout: Option<&'static [Element]>,
}

/// A token that may not stand here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Misplaced;

type Next = Result<At, Misplaced>;

impl Lexer {
    pub(crate) fn new() -> Lexer {
        Lexer { at: At::Start, head: Head::default(), say: Say::default(), layout: None }
    }

    /// Takes in one token.
    pub(crate) fn push(&mut self, token: TokenId) -> Result<Step, Misplaced> {
        let from = self.at;
        self.at = self.next(token)?;
        Ok(match (from, self.at) {
            (_, At::Between) if from != At::Port => Step::Said,
            (_, At::Fields(Rank::Flags)) => Step::Packet,
            (_, At::Done) => Step::End,
            _ => Step::More,
        })
    }

    fn next(&mut self, token: TokenId) -> Next {
        match self.at {
            At::Start => (token == vocab::BOS).then_some(At::Flow).ok_or(Misplaced),
            At::Flow => {
                let i = vocab::FLOW.arg(token).ok_or(Misplaced)?;
                self.head = Head { v6: i >= 4, unit: (i & 3) as u8, ..Head::default() };
                Ok(At::Class)
            }
            At::Class => {
                self.head.class = vocab::CLASS.arg(token).ok_or(Misplaced)? as u8;
                Ok(At::Length)
            }
            At::Length => {
                self.head.length = vocab::LENGTH.arg(token).ok_or(Misplaced)? as u8;
                Ok(At::Port)
            }
            At::Port => {
                if token == vocab::PORT_RAW.first {
                    return Ok(run(Target::Port, 2));
                }
                self.head.port = vocab::PORTS[vocab::PORT.arg(token).ok_or(Misplaced)?];
                Ok(At::Hz(0))
            }
            At::Hz(side) => match vocab::HZ.arg(token) {
                Some(i) if i / 8 >= side.into() && i % 8 != 0 => {
                    self.head.ticks[i / 8] = (i % 8) as u8;
                    Ok(At::Hz((i / 8 + 1) as u8))
                }
                Some(_) => Err(Misplaced),
                None => self.packet(token),
            },
            At::Between if token == vocab::END => Ok(At::Done),
            At::Between => self.packet(token),
            At::Fields(rank) => self.field(rank, token),
            At::Digits { .. } => self.digit(token),
            At::MssValue => {
                if token == vocab::MSS_RAW.first {
                    return Ok(run(Target::Mss, 2));
                }
                let mss = vocab::MSSES[vocab::MSS.arg(token).ok_or(Misplaced)?];
                Ok(self.element(Element::Mss(mss)))
            }
            At::WsValue => {
                if token == vocab::WS_RAW.first {
                    return Ok(run(Target::Ws, 1));
                }
                let shift = vocab::WS.arg(token).ok_or(Misplaced)?;
                Ok(self.element(Element::Ws(shift as u8)))
            }
            At::SackBlock { more } => {
                if token == vocab::SACK_RAW.first {
                    return Ok(run(Target::Sack { more }, 8));
                }
                let at = vocab::SACK_AT.arg(token).ok_or(Misplaced)? as u8;
                Ok(At::SackCount { at, more })
            }
            At::SackCount { at, more } => {
                let count = vocab::SACK_COUNT.arg(token).ok_or(Misplaced)? as u8;
                Ok(self.sack(SaySack::Segments { at, count }, more))
            }
            At::Element => self.list_element(token),
            At::TimeBack => self.gap(token, true),
            At::Done => Err(Misplaced),
        }
    }

    fn packet(&mut self, token: TokenId) -> Next {
        let shape = Shape::from_index(vocab::PACKET.arg(token).ok_or(Misplaced)?);
        let mut elements = std::mem::take(&mut self.say.elements);
        elements.clear();
        self.say = Say { elements, ..Say::new(shape) };
        Ok(At::Fields(Rank::Flags))
    }

    /// The field that `token` speaks of, where it is one of this flow's.
    fn rank(&self, token: TokenId) -> Option<Rank> {
        let ranks: [(Range, Rank); 13] = [
            (vocab::FLAGS_RAW, Rank::Flags),
            (vocab::SEQ_RAW, Rank::Seq),
            (vocab::ACK_RAW, Rank::Ack),
            (vocab::LEN_RAW, Rank::Len),
            (vocab::WIN_DOWN, Rank::Window),
            (vocab::URGENT, Rank::Urgent),
            (vocab::OPT_LIST, Rank::Options),
            (vocab::TSVAL_RAW, Rank::TsVal),
            (vocab::TSECR_RAW, Rank::TsEcr),
            (vocab::TRAFFIC_CLASS, Rank::TrafficClass),
            (vocab::TTL_RAW, Rank::Ttl),
            (vocab::DF, Rank::Df),
            (if self.head.v6 { vocab::LABEL_RAW } else { vocab::ID_RAW }, Rank::Id),
        ];
        if token < vocab::FLAGS.first || token > vocab::TIME.at(vocab::TIME.count() - 1) {
            return None;
        }
        let inside = token > vocab::OPT_LIST.first && token < vocab::TSVAL.first;
        let other_version = match self.head.v6 {
            true => (vocab::DF.first..=vocab::ID_RAW.first).contains(&token),
            false => (vocab::LABEL_ZERO.first..=vocab::LABEL_RAW.first).contains(&token),
        };
        if inside || other_version {
            return None;
        }
        let last = |r: Range| r.first + r.len - 1;
        Some(ranks.iter().find(|(r, _)| token <= last(*r)).map_or(Rank::Time, |&(_, rank)| rank))
    }

    fn field(&mut self, least: Rank, token: TokenId) -> Next {
        let rank = self.rank(token).filter(|&r| r >= least).ok_or(Misplaced)?;
        let after = |r: Rank| Ok(At::Fields(r));
        match rank {
            Rank::Flags => match vocab::FLAGS.arg(token) {
                Some(i) => {
                    self.say.toggle = vocab::FLAG_TOGGLES[i];
                    after(Rank::Seq)
                }
                None => Ok(bounded(Target::Flags, 2, 0, 0xfff)),
            },
            Rank::Seq => self.seq(token),
            Rank::Ack => self.ack(token),
            Rank::Len => self.len(token),
            Rank::Window => self.window(token),
            Rank::Urgent => Ok(run(Target::Urgent, 2)),
            Rank::Options => match vocab::LAYOUT.arg(token) {
                Some(i) => {
                    self.say.options = SayOptions::Layout(i as u8);
                    self.layout = Some(options::LAYOUTS[i]);
                    Ok(self.fill())
                }
                None => {
                    self.say.options = SayOptions::List;
                    self.layout = None;
                    Ok(At::Element)
                }
            },
            Rank::TsVal => match vocab::TSVAL.arg(token) {
                Some(i) => {
                    self.say.ts_val = SayTsVal::Off(ts_off(i));
                    after(Rank::TsEcr)
                }
                None if token == vocab::TSVAL_FORWARD.first => Ok(run(Target::TsValForward, 2)),
                None => Ok(run(Target::TsValRaw, 4)),
            },
            Rank::TsEcr => {
                self.say.ts_ecr = match vocab::TSECR.arg(token) {
                    Some(k) => SayTsEcr::Later(k as u8),
                    None if token == vocab::TSECR_ZERO.first => SayTsEcr::Zero,
                    None if token == vocab::TSECR_BASE.first => SayTsEcr::Base,
                    None => return Ok(run(Target::TsEcrRaw, 4)),
                };
                after(Rank::TrafficClass)
            }
            Rank::TrafficClass => Ok(run(Target::TrafficClass, 1)),
            Rank::Ttl => match vocab::TTL.arg(token) {
                Some(i) => {
                    self.say.ttl = Some(vocab::TTLS[i]);
                    after(Rank::Df)
                }
                None => Ok(run(Target::Ttl, 1)),
            },
            Rank::Df => {
                self.say.toggle_df = true;
                after(Rank::Id)
            }
            Rank::Id => self.id(token),
            Rank::Time if token == vocab::TIME_BACK.first => Ok(At::TimeBack),
            Rank::Time => self.gap(token, false),
        }
    }

    fn seq(&mut self, token: TokenId) -> Next {
        self.say.seq = if token == vocab::SEQ_UNA.first {
            SaySeq::Una
        } else if token == vocab::SEQ_KEEPALIVE.first {
            SaySeq::KeepAlive
        } else if let Some(k) = vocab::SEQ_OLD.arg(token) {
            SaySeq::Old(k as u8)
        } else if let Some(k) = vocab::SEQ_NEW.arg(token) {
            SaySeq::New(k as u8)
        } else if let Some(k) = vocab::SEQ_HOLE.arg(token) {
            SaySeq::Hole(k as u8)
        } else if let Some(k) = vocab::SEQ_SKIP.arg(token) {
            SaySeq::Skip(k as u8)
        } else if token == vocab::SEQ_FORWARD.first {
            return Ok(run(Target::SeqForward, 2));
        } else if token == vocab::SEQ_BACK.first {
            return Ok(run(Target::SeqBack, 2));
        } else {
            return Ok(run(Target::SeqRaw, 4));
        };
        Ok(At::Fields(Rank::Ack))
    }

    fn ack(&mut self, token: TokenId) -> Next {
        self.say.ack = if let Some(k) = vocab::ACK_SEG.arg(token) {
            SayAck::Segment(k as u8)
        } else if let Some(k) = vocab::ACK_NEW.arg(token) {
            SayAck::Newest(k as u8)
        } else if token == vocab::ACK_ZERO.first {
            SayAck::Zero
        } else if token == vocab::ACK_FORWARD.first {
            return Ok(run(Target::AckForward, 2));
        } else if token == vocab::ACK_BACK.first {
            return Ok(run(Target::AckBack, 2));
        } else {
            return Ok(run(Target::AckRaw, 4));
        };
        Ok(At::Fields(Rank::Len))
    }

    fn len(&mut self, token: TokenId) -> Next {
        self.say.len = if token == vocab::LEN_SAME.first {
            SayLen::Same
        } else if let Some(k) = vocab::LEN_MULTIPLE.arg(token) {
            SayLen::Multiple(k as u8)
        } else if let Some(i) = vocab::LEN.arg(token) {
            let b = bucket::LENGTHS.bucket(i);
            return Ok(self.in_bucket(Target::Len { first: b.first }, b));
        } else {
            return Ok(run(Target::LenRaw, 4));
        };
        Ok(At::Fields(Rank::Window))
    }

    fn window(&mut self, token: TokenId) -> Next {
        self.say.window = if token == vocab::WIN_EDGE.first {
            SayWindow::Edge
        } else if token == vocab::WIN_MAX.first {
            SayWindow::Max
        } else if let Some(i) = vocab::WIN.arg(token) {
            SayWindow::Listed(i as u8)
        } else if let Some(i) = vocab::WIN_UP.arg(token) {
            let b = bucket::WINDOW_STEPS.bucket(i);
            return Ok(self.in_bucket(Target::WindowUp { first: b.first }, b));
        } else {
            let b = bucket::WINDOW_STEPS.bucket(vocab::WIN_DOWN.arg(token).ok_or(Misplaced)?);
            return Ok(self.in_bucket(Target::WindowDown { first: b.first }, b));
        };
        Ok(At::Fields(Rank::Urgent))
    }

    fn id(&mut self, token: TokenId) -> Next {
        if let Some(by) = vocab::ID.arg(token) {
            self.say.id = SayId::More(by as u8);
        } else if token == vocab::ID_ZERO.first {
            self.say.id = SayId::Zero;
        } else if token == vocab::ID_BASE.first {
            self.say.id = SayId::Base;
        } else if token == vocab::ID_RAW.first {
            return Ok(run(Target::Id, 2));
        } else if token == vocab::LABEL_ZERO.first {
            self.say.label = SayLabel::Zero;
        } else if token == vocab::LABEL_BASE.first {
            self.say.label = SayLabel::Base;
        } else {
            return Ok(bounded(Target::Label, 3, 0, 0xf_ffff));
        }
        Ok(At::Fields(Rank::Time))
    }

    fn gap(&mut self, token: TokenId, back: bool) -> Next {
        let i = vocab::TIME.arg(token).ok_or(Misplaced)?;
        let b = in_units(bucket::GAPS.bucket(i), self.head.unit_ns());
        if b.first >= b.end || (back && b.end <= 1) {
            return Err(Misplaced);
        }
        Ok(self.in_bucket(Target::Gap { first: b.first, back }, b))
    }

    fn in_bucket(&mut self, target: Target, b: Bucket) -> At {
        match digits_for(b.max_offset()) {
            0 => self.done(target, 0),
            left => bounded(target, left, 0, b.max_offset()),
        }
    }

    fn digit(&mut self, token: TokenId) -> Next {
        let (low, high) = self.at.digit_range().ok_or(Misplaced)?;
        let digit = vocab::DIGIT.arg(token).ok_or(Misplaced)? as u64;
        let At::Digits { target, left, value, min, max } = self.at else { return Err(Misplaced) };
        if digit < low.into() || digit > high.into() {
            return Err(Misplaced);
        }
        let value = value << 8 | digit;
        Ok(if left > 1 { At::Digits { target, left: left - 1, value, min, max } } else { self.done(target, value) })
    }

    /// Takes in a value that is whole, and says what follows.
    fn done(&mut self, target: Target, value: u64) -> At {
        let say = &mut self.say;
        match target {
            Target::Port => self.head.port = value as u16,
            Target::Flags => say.toggle = value as u16,
            Target::SeqForward => say.seq = SaySeq::Forward(value as u16),
            Target::SeqBack => say.seq = SaySeq::Back(value as u16),
            Target::SeqRaw => say.seq = SaySeq::Raw(value as u32),
            Target::AckForward => say.ack = SayAck::Forward(value as u16),
            Target::AckBack => say.ack = SayAck::Back(value as u16),
            Target::AckRaw => say.ack = SayAck::Raw(value as u32),
            Target::Len { first } => say.len = SayLen::Octets((first + value) as u16),
            Target::LenRaw => say.len = SayLen::Raw(value as u32),
            Target::WindowUp { first } => say.window = SayWindow::Up((first + value) as u16),
            Target::WindowDown { first } => say.window = SayWindow::Down((first + value) as u16),
            Target::Urgent => say.urgent = value as u16,
            Target::OptionKind => {}
            Target::OptionLen { kind } => say.elements.list.push(Element::Raw { kind, len: value as u8 }),
            Target::OctetsLen => say.elements.list.push(Element::Octets(value as u8)),
            Target::OptionOctet { .. } => say.elements.raw.push(value as u8),
            Target::Mss => return self.element(Element::Mss(value as u16)),
            Target::Ws => return self.element(Element::Ws(value as u8)),
            Target::Sack { more } => {
                return self.sack(SaySack::Raw { left: (value >> 32) as u32, len: value as u32 }, more);
            }
            Target::TsValForward => say.ts_val = SayTsVal::Forward(value as u16),
            Target::TsValRaw => say.ts_val = SayTsVal::Raw(value as u32),
            Target::TsEcrRaw => say.ts_ecr = SayTsEcr::Raw(value as u32),
            Target::TrafficClass => say.traffic_class = Some(value as u8),
            Target::Ttl => say.ttl = Some(value as u8),
            Target::Id => say.id = SayId::Raw(value as u16),
            Target::Label => say.label = SayLabel::Raw(value as u32),
            Target::Gap { first, back } => {
                let gap = (first + value) as i64;
                say.gap = if back { -gap } else { gap };
            }
        }
        self.after(target, value)
    }

    /// What follows a value. Elements of options see to themselves.
    fn after(&self, target: Target, value: u64) -> At {
        At::Fields(match target {
            Target::Port => return At::Hz(0),
            Target::Gap { .. } => return At::Between,
            Target::OptionKind => {
                return bounded(Target::OptionLen { kind: value as u8 }, 1, 2, self.room() as u64);
            }
            Target::OptionLen { .. } => return octets_left(value as u8 - 2),
            Target::OctetsLen => return octets_left(value as u8),
            Target::OptionOctet { left } => return octets_left(left),
            Target::Mss | Target::Ws | Target::Sack { .. } => return At::Element,
            Target::Flags => Rank::Seq,
            Target::SeqForward | Target::SeqBack | Target::SeqRaw => Rank::Ack,
            Target::AckForward | Target::AckBack | Target::AckRaw => Rank::Len,
            Target::Len { .. } | Target::LenRaw => Rank::Window,
            Target::WindowUp { .. } | Target::WindowDown { .. } => Rank::Urgent,
            Target::Urgent => Rank::Options,
            Target::TsValForward | Target::TsValRaw => Rank::TsEcr,
            Target::TsEcrRaw => Rank::TrafficClass,
            Target::TrafficClass => Rank::Ttl,
            Target::Ttl => Rank::Df,
            Target::Id | Target::Label => Rank::Time,
        })
    }

    // --- options -----------------------------------------------------------------------------------------------

    /// Takes in an element whose value is known, and goes on to the next.
    fn element(&mut self, element: Element) -> At {
        self.say.elements.list.push(element);
        self.fill()
    }

    fn sack(&mut self, block: SaySack, more: u8) -> At {
        self.say.elements.sacks.push(block);
        if more > 0 { At::SackBlock { more: more - 1 } } else { self.fill() }
    }

    /// Goes on in a layout up to the next element that needs a value; in a list, to the next element.
    fn fill(&mut self) -> At {
        let Some(mut rest) = self.layout else { return At::Element };
        while let Some((&element, later)) = rest.split_first() {
            rest = later;
            self.layout = Some(rest);
            match element {
                Element::Mss(_) => return At::MssValue,
                Element::Ws(_) => return At::WsValue,
                Element::Sack(n) => {
                    self.say.elements.list.push(element);
                    return At::SackBlock { more: n - 1 };
                }
                other => self.say.elements.list.push(other),
            }
        }
        At::Fields(Rank::TsVal)
    }

    /// Octets that are left for options in this packet.
    pub(crate) fn room(&self) -> usize {
        options::MAX_OCTETS - self.say.elements.octets()
    }

    pub(crate) fn has_timestamps(&self) -> bool {
        self.say.elements.list.contains(&Element::Ts)
    }

    fn list_element(&mut self, token: TokenId) -> Next {
        let room = self.room();
        let fits = |n: usize| if n <= room { Ok(()) } else { Err(Misplaced) };
        if token == vocab::OPT_DONE.first {
            return if room.is_multiple_of(4) { Ok(At::Fields(Rank::TsVal)) } else { Err(Misplaced) };
        }
        let plain = if token == vocab::OPT_NOP.first {
            Element::Nop
        } else if token == vocab::OPT_EOL.first {
            Element::Eol
        } else if token == vocab::OPT_SACK_PERMITTED.first {
            Element::SackPermitted
        } else if token == vocab::OPT_TS.first && !self.has_timestamps() {
            Element::Ts
        } else if token == vocab::OPT_MSS.first {
            return fits(4).map(|()| At::MssValue);
        } else if token == vocab::OPT_WS.first {
            return fits(3).map(|()| At::WsValue);
        } else if let Some(more) = vocab::OPT_SACK.arg(token) {
            let n = more as u8 + 1;
            fits(Element::Sack(n).octets())?;
            self.say.elements.list.push(Element::Sack(n));
            return Ok(At::SackBlock { more: more as u8 });
        } else if token == vocab::OPT_RAW.first {
            return fits(2).map(|()| run(Target::OptionKind, 1));
        } else if token == vocab::OPT_OCTETS.first {
            return fits(1).map(|()| bounded(Target::OctetsLen, 1, 1, room as u64));
        } else {
            return Err(Misplaced);
        };
        fits(plain.octets())?;
        Ok(self.element(plain))
    }
}

fn octets_left(left: u8) -> At {
    if left == 0 { At::Element } else { run(Target::OptionOctet { left: left - 1 }, 1) }
}

/// Digits that may make any value.
fn run(target: Target, count: u8) -> At {
    let max = if count == 8 { u64::MAX } else { (1 << (8 * u32::from(count))) - 1 };
    bounded(target, count, 0, max)
}

fn bounded(target: Target, left: u8, min: u64, max: u64) -> At {
    At::Digits { target, left, value: 0, min, max }
}
