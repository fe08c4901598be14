//! Ids: what was said, as tokens, and tokens as what was said.
//!
//! A flow is `begin`, its header, packets, `end`. A packet is a packet token, the fields that do
//! not go as expected in the order of [`Rank`], and the time. The lexer knows how tokens follow one
//! another and nothing of TCP.

use super::bucket::{self, Bucket, Scale, digits_for};
use super::options::{self, Element};
use super::say::{
    Say, SayAck, SayId, SayLabel, SayLen, SayOptions, SaySack, SaySeq, SayTsEcr, SayTsVal,
    SayWindow, Shape,
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

/// Writes one packet. `unit` is the flow's unit of time, as in [`Head`].
pub(crate) fn write_packet(say: &Say, unit: u8, out: &mut Vec<TokenId>) {
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
    write_gap(say.gap, unit, out);
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

fn write_values(
    element: Element,
    sacks: &mut std::slice::Iter<'_, SaySack>,
    out: &mut Vec<TokenId>,
) {
    match element {
        Element::Mss(mss) => match vocab::MSSES.iter().position(|&m| m == mss) {
            Some(i) => out.push(vocab::MSS.at(i)),
            None => raw(vocab::MSS_RAW, mss.into(), 2, out),
        },
        Element::Ws(shift) if usize::from(shift) < vocab::WS.count() => {
            out.push(vocab::WS.at(shift.into()))
        }
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
        SaySack::Raw { left, len } => {
            raw(vocab::SACK_RAW, u64::from(left) << 32 | u64::from(len), 8, out)
        }
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

/// Writes a gap in units of the flow.
fn write_gap(gap: i64, unit: u8, out: &mut Vec<TokenId>) {
    if gap < 0 {
        out.push(vocab::TIME_BACK.at(0));
    }
    let units = gap.unsigned_abs();
    let i = bucket::GAPS.index(units.saturating_mul(vocab::UNITS_NS[usize::from(unit)] as u64));
    let i = i.unwrap_or(vocab::TIME.count() - 1);
    let b = GAP_BUCKETS[usize::from(unit)][i];
    out.push(vocab::TIME.at(i));
    digits(units - b.first, digits_for(b.max_offset()), out);
}

/// The buckets of gaps in whole units: row by row of [`vocab::UNITS_NS`]. Empty (`first >= end`)
/// where no whole unit lies in a bucket of nanoseconds.
static GAP_BUCKETS: [[Bucket; vocab::TIME.count()]; vocab::UNITS_NS.len()] = {
    let mut table = [[Bucket { first: 0, end: 0 }; vocab::TIME.count()]; vocab::UNITS_NS.len()];
    let mut unit = 0;
    while unit < table.len() {
        let ns = vocab::UNITS_NS[unit] as u64;
        let mut i = 0;
        while i < table[unit].len() {
            let b = bucket::GAPS.bucket(i);
            table[unit][i] = Bucket { first: b.first.div_ceil(ns), end: b.end.div_ceil(ns) };
            i += 1;
        }
        unit += 1;
    }
    table
};

/// The whole units of row `unit` that lie in bucket `i` of gaps; none where `first >= end`.
pub(crate) fn gap_bucket(unit: u8, i: usize) -> Bucket {
    GAP_BUCKETS[usize::from(unit)][i]
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

/// Ranks by token: first IPv4's, then IPv6's. `None` where a token says no field of such a flow.
static RANKS: [[Option<Rank>; vocab::VOCAB_SIZE]; 2] = {
    let mut table = [[None; vocab::VOCAB_SIZE]; 2];
    let fields = [
        (vocab::FLAGS, vocab::FLAGS_RAW, Rank::Flags),
        (vocab::SEQ_UNA, vocab::SEQ_RAW, Rank::Seq),
        (vocab::ACK_SEG, vocab::ACK_RAW, Rank::Ack),
        (vocab::LEN_SAME, vocab::LEN_RAW, Rank::Len),
        (vocab::WIN_EDGE, vocab::WIN_DOWN, Rank::Window),
        (vocab::URGENT, vocab::URGENT, Rank::Urgent),
        (vocab::LAYOUT, vocab::OPT_LIST, Rank::Options),
        (vocab::TSVAL, vocab::TSVAL_RAW, Rank::TsVal),
        (vocab::TSECR, vocab::TSECR_RAW, Rank::TsEcr),
        (vocab::TRAFFIC_CLASS, vocab::TRAFFIC_CLASS, Rank::TrafficClass),
        (vocab::TTL, vocab::TTL_RAW, Rank::Ttl),
        (vocab::DF, vocab::DF, Rank::Df),
        (vocab::ID, vocab::ID_RAW, Rank::Id),
        (vocab::LABEL_ZERO, vocab::LABEL_RAW, Rank::Id),
        (vocab::TIME_BACK, vocab::TIME, Rank::Time),
    ];
    let mut i = 0;
    while i < fields.len() {
        let (first, last, rank) = fields[i];
        let mut token = first.first as usize;
        while token < (last.first + last.len) as usize {
            let label = token >= vocab::LABEL_ZERO.first as usize
                && token <= vocab::LABEL_RAW.first as usize;
            let v4_only =
                token >= vocab::DF.first as usize && token <= vocab::ID_RAW.first as usize;
            table[0][token] = if label { None } else { Some(rank) };
            table[1][token] = if v4_only { None } else { Some(rank) };
            token += 1;
        }
        i += 1;
    }
    table
};

/// The field that `token` speaks of, where flows of this IP version have it.
fn rank_of(v6: bool, token: TokenId) -> Option<Rank> {
    RANKS[usize::from(v6)].get(usize::from(token)).copied().flatten()
}

/// What a run of digits is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Target {
    #[default]
    Port,
    Flags,
    SeqForward,
    SeqBack,
    SeqRaw,
    AckForward,
    AckBack,
    AckRaw,
    Len,
    LenRaw,
    WindowUp,
    WindowDown,
    Urgent,
    OptionKind,
    OptionLen {
        kind: u8,
    },
    OctetsLen,
    OptionOctet {
        left: u8,
    },
    Mss,
    Ws,
    Sack {
        more: u8,
    },
    TsValForward,
    TsValRaw,
    TsEcrRaw,
    TrafficClass,
    Ttl,
    Id,
    Label,
    Gap {
        back: bool,
    },
}

/// Where in a flow the lexer stands: what may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum At {
    #[default]
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
    /// A digit of [`Lexer::digits`].
    Digits,
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

/// A run of digits, of which some are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digits {
    pub(crate) target: Target,
    /// Digits to come.
    left: u8,
    /// What is added to the value: where its bucket begins.
    pub(crate) first: u64,
    /// The value so far.
    value: u64,
    /// The least and the greatest value that all of them may make.
    min: u64,
    max: u64,
}

impl Digits {
    /// The digits that may follow, for a value from `least` to `most`.
    pub(crate) fn range(&self, least: u64, most: u64) -> (u8, u8) {
        let shift = 8 * u32::from(self.left.max(1) - 1);
        let digit =
            |bound: u64| ((bound >> shift) - (self.value << 8).min(bound >> shift)).min(255) as u8;
        let least = self.min.max(least);
        let low = if self.value << 8 <= least >> shift { digit(least) } else { 0 };
        (low, digit(self.max.min(most)))
    }

    /// Takes in a digit.
    #[inline]
    fn push(&mut self, token: TokenId) -> Result<(), Misplaced> {
        let digit = vocab::DIGIT.arg(token).ok_or(Misplaced)? as u64;
        let shift = 8 * u32::from(self.left.max(1) - 1);
        let next = self.value << 8 | digit;
        if next < self.min >> shift || next > self.max >> shift {
            return Err(Misplaced);
        }
        self.value = next;
        self.left -= 1;
        Ok(())
    }
}

impl At {
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
            At::Fields(Rank::Flags) => {
                "flags, seq, ack, len, window, urgent, options, timestamps, ip or time"
            }
            At::Fields(Rank::Seq) => {
                "seq, ack, len, window, urgent, options, timestamps, ip or time"
            }
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
            At::Digits => "digit in range",
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Lexer {
    pub(crate) at: At,
    pub(crate) head: Head,
    pub(crate) say: Say,
    /// What is being read at [`At::Digits`].
    pub(crate) digits: Digits,
    /// What is left of the layout being filled in; `None` in a list of elements.
    layout: Option<&'static [Element]>,
}

/// A token that may not stand here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Misplaced;

type Next = Result<At, Misplaced>;

impl Lexer {
    /// Goes back to before the first token; keeps its buffers.
    pub(crate) fn restart(&mut self) {
        self.at = At::Start;
        self.head = Head::default();
        self.layout = None;
    }

    /// Takes in one token.
    #[inline]
    pub(crate) fn push(&mut self, token: TokenId) -> Result<Step, Misplaced> {
        // What most tokens are, first: a digit, a gap, a packet.
        match self.at {
            At::Digits => {
                self.digits.push(token)?;
                if self.digits.left > 0 {
                    return Ok(Step::More);
                }
                self.at = self.done();
                return Ok(if self.at == At::Between { Step::Said } else { Step::More });
            }
            At::Fields(_) if vocab::TIME.arg(token).is_some() => {
                self.at = self.gap(token, false)?;
                return Ok(if self.at == At::Between { Step::Said } else { Step::More });
            }
            At::Between if vocab::PACKET.arg(token).is_some() => {
                self.at = self.packet(token)?;
                return Ok(Step::Packet);
            }
            _ => {}
        }
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
                    return Ok(self.run(Target::Port, 2));
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
            At::Digits => Err(Misplaced),
            At::MssValue => {
                if token == vocab::MSS_RAW.first {
                    return Ok(self.run(Target::Mss, 2));
                }
                let mss = vocab::MSSES[vocab::MSS.arg(token).ok_or(Misplaced)?];
                Ok(self.element(Element::Mss(mss)))
            }
            At::WsValue => {
                if token == vocab::WS_RAW.first {
                    return Ok(self.run(Target::Ws, 1));
                }
                let shift = vocab::WS.arg(token).ok_or(Misplaced)?;
                Ok(self.element(Element::Ws(shift as u8)))
            }
            At::SackBlock { more } => {
                if token == vocab::SACK_RAW.first {
                    return Ok(self.run(Target::Sack { more }, 8));
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
        self.say.restart(shape);
        Ok(At::Fields(Rank::Flags))
    }

    fn field(&mut self, least: Rank, token: TokenId) -> Next {
        let rank = rank_of(self.head.v6, token).filter(|&r| r >= least).ok_or(Misplaced)?;
        let after = |r: Rank| Ok(At::Fields(r));
        match rank {
            Rank::Flags => match vocab::FLAGS.arg(token) {
                Some(i) => {
                    self.say.toggle = vocab::FLAG_TOGGLES[i];
                    after(Rank::Seq)
                }
                None => Ok(self.bounded(Target::Flags, 2, 0, 0xfff)),
            },
            Rank::Seq => self.seq(token),
            Rank::Ack => self.ack(token),
            Rank::Len => self.len(token),
            Rank::Window => self.window(token),
            Rank::Urgent => Ok(self.run(Target::Urgent, 2)),
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
                None if token == vocab::TSVAL_FORWARD.first => {
                    Ok(self.run(Target::TsValForward, 2))
                }
                None => Ok(self.run(Target::TsValRaw, 4)),
            },
            Rank::TsEcr => {
                self.say.ts_ecr = match vocab::TSECR.arg(token) {
                    Some(k) => SayTsEcr::Later(k as u8),
                    None if token == vocab::TSECR_ZERO.first => SayTsEcr::Zero,
                    None if token == vocab::TSECR_BASE.first => SayTsEcr::Base,
                    None => return Ok(self.run(Target::TsEcrRaw, 4)),
                };
                after(Rank::TrafficClass)
            }
            Rank::TrafficClass => Ok(self.run(Target::TrafficClass, 1)),
            Rank::Ttl => match vocab::TTL.arg(token) {
                Some(i) => {
                    self.say.ttl = Some(vocab::TTLS[i]);
                    after(Rank::Df)
                }
                None => Ok(self.run(Target::Ttl, 1)),
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
            return Ok(self.run(Target::SeqForward, 2));
        } else if token == vocab::SEQ_BACK.first {
            return Ok(self.run(Target::SeqBack, 2));
        } else {
            return Ok(self.run(Target::SeqRaw, 4));
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
            return Ok(self.run(Target::AckForward, 2));
        } else if token == vocab::ACK_BACK.first {
            return Ok(self.run(Target::AckBack, 2));
        } else {
            return Ok(self.run(Target::AckRaw, 4));
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
            return Ok(self.in_bucket(Target::Len, b));
        } else {
            return Ok(self.run(Target::LenRaw, 4));
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
            return Ok(self.in_bucket(Target::WindowUp, b));
        } else {
            let b = bucket::WINDOW_STEPS.bucket(vocab::WIN_DOWN.arg(token).ok_or(Misplaced)?);
            return Ok(self.in_bucket(Target::WindowDown, b));
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
            return Ok(self.run(Target::Id, 2));
        } else if token == vocab::LABEL_ZERO.first {
            self.say.label = SayLabel::Zero;
        } else if token == vocab::LABEL_BASE.first {
            self.say.label = SayLabel::Base;
        } else {
            return Ok(self.bounded(Target::Label, 3, 0, 0xf_ffff));
        }
        Ok(At::Fields(Rank::Time))
    }

    #[inline]
    fn gap(&mut self, token: TokenId, back: bool) -> Next {
        let i = vocab::TIME.arg(token).ok_or(Misplaced)?;
        let b = gap_bucket(self.head.unit, i);
        if b.first >= b.end || (back && b.end <= 1) {
            return Err(Misplaced);
        }
        Ok(self.in_bucket(Target::Gap { back }, b))
    }

    #[inline]
    fn in_bucket(&mut self, target: Target, b: Bucket) -> At {
        let left = digits_for(b.max_offset());
        self.digits =
            Digits { target, left, first: b.first, value: 0, min: 0, max: b.max_offset() };
        if left > 0 { At::Digits } else { self.done() }
    }

    /// Digits that may make any value.
    fn run(&mut self, target: Target, count: u8) -> At {
        let max = if count == 8 { u64::MAX } else { (1 << (8 * u32::from(count))) - 1 };
        self.bounded(target, count, 0, max)
    }

    fn bounded(&mut self, target: Target, left: u8, min: u64, max: u64) -> At {
        self.digits = Digits { target, left, first: 0, value: 0, min, max };
        At::Digits
    }

    /// Takes in a value that is whole, and says what follows.
    #[inline]
    fn done(&mut self) -> At {
        let value = self.digits.first + self.digits.value;
        let say = &mut self.say;
        match self.digits.target {
            Target::Gap { back } => {
                say.gap = if back { -(value as i64) } else { value as i64 };
                At::Between
            }
            target => self.other_done(target, value),
        }
    }

    fn other_done(&mut self, target: Target, value: u64) -> At {
        let say = &mut self.say;
        match target {
            Target::Gap { .. } => {}
            Target::Port => self.head.port = value as u16,
            Target::Flags => say.toggle = value as u16,
            Target::SeqForward => say.seq = SaySeq::Forward(value as u16),
            Target::SeqBack => say.seq = SaySeq::Back(value as u16),
            Target::SeqRaw => say.seq = SaySeq::Raw(value as u32),
            Target::AckForward => say.ack = SayAck::Forward(value as u16),
            Target::AckBack => say.ack = SayAck::Back(value as u16),
            Target::AckRaw => say.ack = SayAck::Raw(value as u32),
            Target::Len => say.len = SayLen::Octets(value as u16),
            Target::LenRaw => say.len = SayLen::Raw(value as u32),
            Target::WindowUp => say.window = SayWindow::Up(value as u16),
            Target::WindowDown => say.window = SayWindow::Down(value as u16),
            Target::Urgent => say.urgent = value as u16,
            Target::OptionKind => {}
            Target::OptionLen { kind } => {
                say.elements.list.push(Element::Raw { kind, len: value as u8 })
            }
            Target::OctetsLen => say.elements.list.push(Element::Octets(value as u8)),
            Target::OptionOctet { .. } => say.elements.raw.push(value as u8),
            Target::Mss => return self.element(Element::Mss(value as u16)),
            Target::Ws => return self.element(Element::Ws(value as u8)),
            Target::Sack { more } => {
                return self
                    .sack(SaySack::Raw { left: (value >> 32) as u32, len: value as u32 }, more);
            }
            Target::TsValForward => say.ts_val = SayTsVal::Forward(value as u16),
            Target::TsValRaw => say.ts_val = SayTsVal::Raw(value as u32),
            Target::TsEcrRaw => say.ts_ecr = SayTsEcr::Raw(value as u32),
            Target::TrafficClass => say.traffic_class = Some(value as u8),
            Target::Ttl => say.ttl = Some(value as u8),
            Target::Id => say.id = SayId::Raw(value as u16),
            Target::Label => say.label = SayLabel::Raw(value as u32),
        }
        self.after(target, value)
    }

    /// What follows a value. Elements of options see to themselves.
    fn after(&mut self, target: Target, value: u64) -> At {
        At::Fields(match target {
            Target::Port => return At::Hz(0),
            Target::Gap { .. } => return At::Between,
            Target::OptionKind => {
                let room = self.room() as u64;
                return self.bounded(Target::OptionLen { kind: value as u8 }, 1, 2, room);
            }
            Target::OptionLen { .. } => return self.octets_left(value as u8 - 2),
            Target::OctetsLen => return self.octets_left(value as u8),
            Target::OptionOctet { left } => return self.octets_left(left),
            Target::Mss | Target::Ws | Target::Sack { .. } => return At::Element,
            Target::Flags => Rank::Seq,
            Target::SeqForward | Target::SeqBack | Target::SeqRaw => Rank::Ack,
            Target::AckForward | Target::AckBack | Target::AckRaw => Rank::Len,
            Target::Len | Target::LenRaw => Rank::Window,
            Target::WindowUp | Target::WindowDown => Rank::Urgent,
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

    /// Goes on in a layout up to the next element that needs a value; in a list, to the next
    /// element.
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
            return if room.is_multiple_of(4) {
                Ok(At::Fields(Rank::TsVal))
            } else {
                Err(Misplaced)
            };
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
            return fits(2).map(|()| self.run(Target::OptionKind, 1));
        } else if token == vocab::OPT_OCTETS.first {
            return fits(1).map(|()| self.bounded(Target::OctetsLen, 1, 1, room as u64));
        } else {
            return Err(Misplaced);
        };
        fits(plain.octets())?;
        Ok(self.element(plain))
    }

    fn octets_left(&mut self, left: u8) -> At {
        if left == 0 { At::Element } else { self.run(Target::OptionOctet { left: left - 1 }, 1) }
    }
}
