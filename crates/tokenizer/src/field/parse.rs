//! Parses tokens into packet deltas: a state machine that knows the order of tokens and nothing of
//! TCP.
//!
//! A flow is `begin`, its header, packets, `end`. A packet is a packet token, the fields that
//! differ from their expected values in the order of [`FieldOrder`], and the time.

use tcpwire::MAX_OPTION_OCTETS;

use super::bucket::{self, Bucket, TimeTokens, digits_for};
use super::delta::{
    AckDelta, FlowLabelDelta, IpIdDelta, LenDelta, OptionsDelta, PacketDelta, PacketKind, SeqDelta,
    TimeDelta, TsecrDelta, TsvalDelta, WindowDelta,
};
use super::digits::{DigitTarget, Digits, OutOfRange};
use super::field_order::{FieldOrder, field_of};
use super::header::{FlowHeader, SessionClass};
use super::options::{self, Element, SackDelta};
use super::time_unit::TimeUnit;
use super::ts_clock::ClockId;
use super::vocab::{self, VERSION};
use crate::TokenId;

/// Place of the parser in a flow, which decides the tokens that may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ParserState {
    #[default]
    Start,
    Flow,
    Class,
    Length,
    Port,
    /// Before the timestamp clock of this side (0: client, 1: server) or a later one, or the first
    /// packet.
    TsClock(u8),
    /// Before a packet or the end of the flow.
    BetweenPackets,
    /// Before this field of a packet or a later one.
    Fields(FieldOrder),
    /// Before a digit of [`Parser::digits`].
    Digits,
    MssValue,
    WsValue,
    /// Before a SACK block, with `more` blocks to follow it.
    SackBlock {
        more: u8,
    },
    /// Before the number of segments in a SACK block that begins with segment `at`.
    SackCount {
        at: u8,
        more: u8,
    },
    /// Before an element of a list of options, or the end of the list.
    Element,
    /// Before the time by which the clock was set back.
    TimeBack,
    Done,
}

impl ParserState {
    /// Returns the names of the tokens that may follow, for errors.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            ParserState::Start => "begin",
            ParserState::Flow => "flow",
            ParserState::Class => "class",
            ParserState::Length => "length",
            ParserState::Port => "port",
            ParserState::TsClock(_) => "hz or packet",
            ParserState::BetweenPackets => "packet or end",
            ParserState::Fields(FieldOrder::Flags) => {
                "flags, seq, ack, len, window, urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Seq) => {
                "seq, ack, len, window, urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Ack) => {
                "ack, len, window, urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Len) => {
                "len, window, urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Window) => {
                "window, urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Urgent) => {
                "urgent, options, timestamps, ip, time or due"
            }
            ParserState::Fields(FieldOrder::Options) => "options, timestamps, ip, time or due",
            ParserState::Fields(FieldOrder::TsVal) => "timestamps, ip, time or due",
            ParserState::Fields(FieldOrder::TsEcr) => "tsecr, ip, time or due",
            ParserState::Fields(FieldOrder::TrafficClass) => {
                "dsfield, ttl, df, id, label, time or due"
            }
            ParserState::Fields(FieldOrder::Ttl) => "ttl, df, id, label, time or due",
            ParserState::Fields(FieldOrder::Df) => "df, id, label, time or due",
            ParserState::Fields(FieldOrder::Id) => "id, label, time or due",
            ParserState::Fields(FieldOrder::Time) => "time or due",
            ParserState::Digits => "digit in range",
            ParserState::MssValue => "mss",
            ParserState::WsValue => "ws",
            ParserState::SackBlock { .. } => "sack.at, sack.dup or sack.raw",
            ParserState::SackCount { .. } => "sack.count",
            ParserState::Element => "an option that fits, or opt.done at a multiple of 4 octets",
            ParserState::TimeBack => "time",
            ParserState::Done => "nothing",
        }
    }
}

/// Part of a flow that a token completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The token completes none of the parts below.
    Incomplete,
    /// A packet token: the first one of a flow completes the header.
    PacketStart,
    /// The last token of a packet: [`Parser::delta`] is complete.
    Packet,
    /// The last token of the flow.
    End,
}

/// Parser of the tokens of a flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parser {
    pub(crate) state: ParserState,
    /// Header of the flow, as far as it has been read.
    pub(crate) header: FlowHeader,
    /// The current packet, as far as it has been read.
    pub(crate) delta: PacketDelta,
    /// The number that is read in [`ParserState::Digits`].
    pub(crate) digits: Digits,
    /// Elements of the layout that have not been filled in; `None` in a list of elements.
    layout: Option<&'static [Element]>,
}

/// Error of a token that may not follow in the state of the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Misplaced;

impl From<OutOfRange> for Misplaced {
    fn from(_: OutOfRange) -> Misplaced {
        Misplaced
    }
}

/// State after a token, or the refusal of the token.
type NextState = Result<ParserState, Misplaced>;

impl Parser {
    /// Resets the parser to the beginning of a flow; keeps its buffers.
    pub(crate) fn restart(&mut self) {
        self.state = ParserState::Start;
        self.header = FlowHeader::default();
        self.layout = None;
    }

    /// Reads one token, and returns the part of the flow that it completes.
    #[inline]
    pub(crate) fn push(&mut self, token: TokenId) -> Result<Step, Misplaced> {
        if usize::from(token) >= vocab::VOCAB_SIZE && !self.takes_version_1(token) {
            return Err(Misplaced);
        }
        // Most tokens are digits, times and packets: these three need no further dispatch.
        match self.state {
            ParserState::Digits => {
                self.digits.push(token)?;
                if self.digits.left > 0 {
                    return Ok(Step::Incomplete);
                }
                self.state = self.finish_digits();
                return Ok(if self.state == ParserState::BetweenPackets {
                    Step::Packet
                } else {
                    Step::Incomplete
                });
            }
            ParserState::Fields(_) if vocab::TIME.arg(token).is_some() => {
                self.state = self.time(TimeTokens::Gap, DigitTarget::Gap { back: false }, token)?;
                return Ok(if self.state == ParserState::BetweenPackets {
                    Step::Packet
                } else {
                    Step::Incomplete
                });
            }
            ParserState::BetweenPackets if vocab::PACKET.arg(token).is_some() => {
                self.state = self.packet(token)?;
                return Ok(Step::PacketStart);
            }
            _ => {}
        }
        let from = self.state;
        self.state = self.next(token)?;
        Ok(match (from, self.state) {
            (_, ParserState::BetweenPackets) if from != ParserState::Port => Step::Packet,
            (_, ParserState::Fields(FieldOrder::Flags)) => Step::PacketStart,
            (_, ParserState::Done) => Step::End,
            _ => Step::Incomplete,
        })
    }

    /// Returns the state after `token`.
    fn next(&mut self, token: TokenId) -> NextState {
        match self.state {
            ParserState::Start => {
                self.header.version = match token {
                    vocab::BOS => VERSION,
                    _ if token == vocab::BOS_1.first => 1,
                    _ => return Err(Misplaced),
                };
                Ok(ParserState::Flow)
            }
            ParserState::Flow => {
                // Milliseconds and seconds are units of version 1.
                let (i, coarser) = match vocab::FLOW.arg(token) {
                    Some(i) => (i, 0),
                    None => (vocab::FLOW_1.arg(token).ok_or(Misplaced)?, 2),
                };
                self.header.ip_version = if i < 2 { 4 } else { 6 };
                self.header.unit = TimeUnit::ALL[i % 2 + coarser];
                Ok(ParserState::Class)
            }
            ParserState::Class => {
                let id = vocab::CLASS.arg(token).ok_or(Misplaced)?;
                self.header.class = SessionClass::from_id(id).ok_or(Misplaced)?;
                Ok(ParserState::Length)
            }
            ParserState::Length => {
                self.header.length_class = vocab::LENGTH.arg(token).ok_or(Misplaced)? as u8;
                Ok(ParserState::Port)
            }
            ParserState::Port => {
                if token == vocab::PORT_RAW.first {
                    return Ok(self.any_digits(DigitTarget::Port, 2));
                }
                self.header.server_port = match vocab::PORT.arg(token) {
                    Some(i) => vocab::PORTS[i],
                    None => vocab::PORTS_1[vocab::PORT_1.arg(token).ok_or(Misplaced)?],
                };
                Ok(ParserState::TsClock(0))
            }
            ParserState::TsClock(least) => match ClockId::from_token(token) {
                Some((side, clock)) if side >= least.into() && !clock.is_default() => {
                    self.header.ts_clocks[side] = clock;
                    Ok(ParserState::TsClock(side as u8 + 1))
                }
                Some(_) => Err(Misplaced),
                None => self.packet(token),
            },
            ParserState::BetweenPackets if token == vocab::END => Ok(ParserState::Done),
            ParserState::BetweenPackets => self.packet(token),
            ParserState::Fields(order) => self.field(order, token),
            ParserState::Digits => Err(Misplaced),
            ParserState::MssValue => {
                if token == vocab::MSS_RAW.first {
                    return Ok(self.any_digits(DigitTarget::Mss, 2));
                }
                let mss = match vocab::MSS.arg(token) {
                    Some(i) => vocab::MSSES[i],
                    None => vocab::MSSES_1[vocab::MSS_1.arg(token).ok_or(Misplaced)?],
                };
                Ok(self.element(Element::Mss(mss)))
            }
            ParserState::WsValue => {
                if token == vocab::WS_RAW.first {
                    return Ok(self.any_digits(DigitTarget::Ws, 1));
                }
                let shift = vocab::WS.arg(token).ok_or(Misplaced)?;
                Ok(self.element(Element::Ws(shift as u8)))
            }
            ParserState::SackBlock { more } => {
                if token == vocab::SACK_RAW.first {
                    return Ok(self.any_digits(DigitTarget::Sack { more }, 8));
                }
                if let Some(k) = vocab::SACK_DUP.arg(token) {
                    return Ok(self.sack(SackDelta::Repeated(k as u8), more));
                }
                let at = vocab::SACK_AT.arg_with(vocab::SACK_AT_1, token).ok_or(Misplaced)?;
                Ok(ParserState::SackCount { at: at as u8, more })
            }
            ParserState::SackCount { at, more } => {
                let count =
                    vocab::SACK_COUNT.arg_with(vocab::SACK_COUNT_1, token).ok_or(Misplaced)? as u8;
                Ok(self.sack(SackDelta::Segments { at, count }, more))
            }
            ParserState::Element => self.list_element(token),
            ParserState::TimeBack => {
                let target = DigitTarget::Gap { back: true };
                match vocab::TIME_1.arg(token) {
                    Some(_) => self.time(TimeTokens::Gap1, target, token),
                    None => self.time(TimeTokens::Gap, target, token),
                }
            }
            ParserState::Done => Err(Misplaced),
        }
    }

    /// Returns whether `token` may be one of version 1: it begins a flow, or is in such a flow.
    #[cold]
    fn takes_version_1(&self, token: TokenId) -> bool {
        vocab::row(token).is_some()
            && (self.state == ParserState::Start || self.header.version == 1)
    }

    /// Begins a packet with its packet token.
    fn packet(&mut self, token: TokenId) -> NextState {
        let kind = PacketKind::from_index(vocab::PACKET.arg(token).ok_or(Misplaced)?);
        self.delta.restart(kind);
        Ok(ParserState::Fields(FieldOrder::Flags))
    }

    /// Reads the first token of the field `least` or of a later one.
    fn field(&mut self, least: FieldOrder, token: TokenId) -> NextState {
        let order =
            field_of(self.header.is_v6(), token).filter(|&r| r >= least).ok_or(Misplaced)?;
        let after = |r: FieldOrder| Ok(ParserState::Fields(r));
        if self.delta.kind.has_said(order) {
            return Err(Misplaced);
        }
        match order {
            FieldOrder::Flags => match vocab::FLAGS.arg(token) {
                Some(i) => {
                    self.delta.flag_toggle = vocab::FLAG_TOGGLES[i];
                    after(FieldOrder::Seq)
                }
                None => Ok(self.bounded_digits(DigitTarget::Flags, 2, 0, 0xfff)),
            },
            FieldOrder::Seq => self.seq(token),
            FieldOrder::Ack => self.ack(token),
            FieldOrder::Len => self.len(token),
            FieldOrder::Window => self.window(token),
            FieldOrder::Urgent => Ok(self.any_digits(DigitTarget::Urgent, 2)),
            // A set has said the options of a SYN.
            FieldOrder::Options if self.delta.options != OptionsDelta::Expected => Err(Misplaced),
            FieldOrder::Options => match vocab::LAYOUT.arg_with(vocab::LAYOUT_1, token) {
                Some(i) => {
                    self.delta.options = OptionsDelta::Layout(i as u8);
                    self.layout = Some(options::LAYOUTS[i]);
                    Ok(self.fill_layout())
                }
                None if token == vocab::OPT_LIST.first => {
                    self.delta.options = OptionsDelta::List;
                    self.layout = None;
                    Ok(ParserState::Element)
                }
                None => {
                    let k = vocab::OPT_RECENT.arg(token).ok_or(Misplaced)?;
                    self.delta.options = OptionsDelta::Recent(k as u8);
                    after(FieldOrder::TsVal)
                }
            },
            FieldOrder::TsVal => match vocab::TSVAL.arg(token) {
                Some(i) => {
                    self.delta.ts_val = TsvalDelta::from_offset_index(i);
                    after(FieldOrder::TsEcr)
                }
                None if token == vocab::TSVAL_FORWARD.first => {
                    Ok(self.any_digits(DigitTarget::TsValForward, 2))
                }
                None => Ok(self.any_digits(DigitTarget::TsValRaw, 4)),
            },
            FieldOrder::TsEcr => {
                self.delta.ts_ecr = match vocab::TSECR.arg_with(vocab::TSECR_1, token) {
                    Some(k) => TsecrDelta::Later(k as u8),
                    None if token == vocab::TSECR_ZERO.first => TsecrDelta::Zero,
                    None if token == vocab::TSECR_BASE.first => TsecrDelta::Base,
                    None => return Ok(self.any_digits(DigitTarget::TsEcrRaw, 4)),
                };
                after(FieldOrder::TrafficClass)
            }
            FieldOrder::TrafficClass => Ok(self.any_digits(DigitTarget::TrafficClass, 1)),
            FieldOrder::Ttl => {
                let listed = vocab::TTL.arg(token).map(|i| vocab::TTLS[i]);
                match listed.or_else(|| vocab::TTL_1.arg(token).map(|i| vocab::TTLS_1[i])) {
                    Some(ttl) => {
                        self.delta.ttl = Some(ttl);
                        after(FieldOrder::Df)
                    }
                    None => Ok(self.any_digits(DigitTarget::Ttl, 1)),
                }
            }
            FieldOrder::Df => {
                self.delta.toggles_df = true;
                after(FieldOrder::Id)
            }
            FieldOrder::Id => self.id(token),
            FieldOrder::Time if token == vocab::TIME_BACK.first => Ok(ParserState::TimeBack),
            FieldOrder::Time => {
                let due = |early| DigitTarget::Due { early };
                let (tokens, target) = if vocab::DUE.arg(token).is_some() {
                    (TimeTokens::Late, due(false))
                } else if vocab::DUE_EARLY.arg(token).is_some() {
                    (TimeTokens::Early, due(true))
                } else if vocab::TIME.arg(token).is_some() {
                    (TimeTokens::Gap, DigitTarget::Gap { back: false })
                } else {
                    (TimeTokens::Gap1, DigitTarget::Gap { back: false })
                };
                self.time(tokens, target, token)
            }
        }
    }

    /// Reads the token of a sequence number.
    fn seq(&mut self, token: TokenId) -> NextState {
        self.delta.seq = if token == vocab::SEQ_UNA.first {
            SeqDelta::SndUna
        } else if token == vocab::SEQ_KEEPALIVE.first {
            SeqDelta::KeepAlive
        } else if let Some(k) = vocab::SEQ_OLD.arg_with(vocab::SEQ_OLD_1, token) {
            SeqDelta::RetransmitOldest(k as u8)
        } else if let Some(k) = vocab::SEQ_NEW.arg(token) {
            SeqDelta::RetransmitNewest(k as u8)
        } else if let Some(k) = vocab::SEQ_HOLE.arg(token) {
            SeqDelta::FillHole(k as u8)
        } else if let Some(k) = vocab::SEQ_SKIP.arg_with(vocab::SEQ_SKIP_1, token) {
            SeqDelta::SkipAhead(k as u8)
        } else if token == vocab::SEQ_FORWARD.first {
            return Ok(self.any_digits(DigitTarget::SeqForward, 2));
        } else if token == vocab::SEQ_BACK.first {
            return Ok(self.any_digits(DigitTarget::SeqBack, 2));
        } else {
            return Ok(self.any_digits(DigitTarget::SeqRaw, 4));
        };
        Ok(ParserState::Fields(FieldOrder::Ack))
    }

    /// Reads the token of an acknowledgment number.
    fn ack(&mut self, token: TokenId) -> NextState {
        self.delta.ack = if let Some(k) = vocab::ACK_SEG.arg_with(vocab::ACK_SEG_1, token) {
            AckDelta::Segment(k as u8)
        } else if let Some(k) = vocab::ACK_NEW.arg(token) {
            AckDelta::Newest(k as u8)
        } else if let Some(k) = vocab::ACK_FULL.arg(token) {
            AckDelta::Full(k as u8)
        } else if token == vocab::ACK_ZERO.first {
            AckDelta::Zero
        } else if token == vocab::ACK_FORWARD.first {
            return Ok(self.any_digits(DigitTarget::AckForward, 2));
        } else if token == vocab::ACK_BACK.first {
            return Ok(self.any_digits(DigitTarget::AckBack, 2));
        } else {
            return Ok(self.any_digits(DigitTarget::AckRaw, 4));
        };
        Ok(ParserState::Fields(FieldOrder::Len))
    }

    /// Reads the token of a payload length.
    fn len(&mut self, token: TokenId) -> NextState {
        self.delta.len = if token == vocab::LEN_SAME.first {
            LenDelta::Same
        } else if let Some(k) = vocab::LEN_MULTIPLE.arg(token) {
            LenDelta::Multiple(k as u8)
        } else if let Some(i) = vocab::LEN.arg(token) {
            let b = bucket::LENGTHS.bucket(i);
            return Ok(self.in_bucket(DigitTarget::Len, b));
        } else {
            return Ok(self.any_digits(DigitTarget::LenRaw, 4));
        };
        Ok(ParserState::Fields(FieldOrder::Window))
    }

    /// Reads the token of a window.
    fn window(&mut self, token: TokenId) -> NextState {
        self.delta.window = if token == vocab::WIN_EDGE.first {
            WindowDelta::SameEdge
        } else if token == vocab::WIN_MAX.first {
            WindowDelta::Max
        } else if let Some(i) = vocab::WIN_ACKED.arg(token) {
            WindowDelta::Acked(i as u8)
        } else if let Some(i) = vocab::WIN.arg(token) {
            WindowDelta::Listed(vocab::WINDOWS[i])
        } else if let Some(i) = vocab::WIN_1.arg(token) {
            WindowDelta::Listed(vocab::WINDOWS_1[i])
        } else if let Some(i) = vocab::SYN_SET.arg(token) {
            self.syn_set(i)?
        } else if let Some(i) = vocab::WIN_UP.arg(token) {
            let b = bucket::WINDOW_STEPS.bucket(i);
            return Ok(self.in_bucket(DigitTarget::WindowUp, b));
        } else {
            let b = bucket::WINDOW_STEPS.bucket(vocab::WIN_DOWN.arg(token).ok_or(Misplaced)?);
            return Ok(self.in_bucket(DigitTarget::WindowDown, b));
        };
        Ok(ParserState::Fields(FieldOrder::Urgent))
    }

    /// Reads set `i` of the window and the options of a SYN.
    fn syn_set(&mut self, i: usize) -> Result<WindowDelta, Misplaced> {
        if !self.delta.kind.pattern.is_syn() {
            return Err(Misplaced);
        }
        let set = &vocab::SYN_SETS[i];
        self.delta.options = OptionsDelta::Layout(set.layout);
        self.delta.elements.list.extend(set.elements());
        Ok(WindowDelta::SynSet(i as u8))
    }

    /// Reads the token of an IPv4 identification or an IPv6 flow label.
    fn id(&mut self, token: TokenId) -> NextState {
        if let Some(by) = vocab::ID.arg(token) {
            self.delta.ip_id = IpIdDelta::More(by as u8);
        } else if token == vocab::ID_ZERO.first {
            self.delta.ip_id = IpIdDelta::Zero;
        } else if token == vocab::ID_BASE.first {
            self.delta.ip_id = IpIdDelta::Base;
        } else if token == vocab::ID_RAW.first {
            return Ok(self.any_digits(DigitTarget::Id, 2));
        } else if token == vocab::LABEL_ZERO.first {
            self.delta.flow_label = FlowLabelDelta::Zero;
        } else if token == vocab::LABEL_BASE.first {
            self.delta.flow_label = FlowLabelDelta::Base;
        } else {
            return Ok(self.bounded_digits(DigitTarget::Label, 3, 0, 0xf_ffff));
        }
        Ok(ParserState::Fields(FieldOrder::Time))
    }

    /// Reads the token of a time. A time of zero has one spelling: ahead, not back nor early.
    #[inline]
    fn time(&mut self, tokens: TimeTokens, target: DigitTarget, token: TokenId) -> NextState {
        let i = tokens.range().arg(token).ok_or(Misplaced)?;
        let b = tokens.bucket(self.header.unit, i);
        let back = target == DigitTarget::Gap { back: true };
        if b.first >= b.end || (back && b.end <= 1) {
            return Err(Misplaced);
        }
        Ok(self.in_bucket(target, b))
    }

    /// Begins the digits of a place in bucket `b`.
    #[inline]
    fn in_bucket(&mut self, target: DigitTarget, b: Bucket) -> ParserState {
        let left = digits_for(b.max_offset());
        self.digits =
            Digits { target, left, first: b.first, value: 0, min: 0, max: b.max_offset() };
        if left > 0 { ParserState::Digits } else { self.finish_digits() }
    }

    /// Begins `count` digits that may spell any number.
    fn any_digits(&mut self, target: DigitTarget, count: u8) -> ParserState {
        let max = if count == 8 { u64::MAX } else { (1 << (8 * u32::from(count))) - 1 };
        self.bounded_digits(target, count, 0, max)
    }

    /// Begins `left` digits of a number from `min` to `max`.
    fn bounded_digits(&mut self, target: DigitTarget, left: u8, min: u64, max: u64) -> ParserState {
        self.digits = Digits { target, left, first: 0, value: 0, min, max };
        ParserState::Digits
    }

    /// Stores the number that the digits spell, and returns the state after it.
    #[inline]
    fn finish_digits(&mut self) -> ParserState {
        let value = self.digits.first + self.digits.value;
        let delta = &mut self.delta;
        match self.digits.target {
            DigitTarget::Gap { back } => {
                delta.time = TimeDelta::Gap(if back { -(value as i64) } else { value as i64 });
                ParserState::BetweenPackets
            }
            DigitTarget::Due { early } => {
                delta.time = TimeDelta::Due(if early { -(value as i64) } else { value as i64 });
                ParserState::BetweenPackets
            }
            target => self.store(target, value),
        }
    }

    /// Stores a number other than a time, and returns the state after it.
    fn store(&mut self, target: DigitTarget, value: u64) -> ParserState {
        let delta = &mut self.delta;
        match target {
            DigitTarget::Gap { .. } | DigitTarget::Due { .. } => {}
            DigitTarget::Port => self.header.server_port = value as u16,
            DigitTarget::Flags => delta.flag_toggle = value as u16,
            DigitTarget::SeqForward => delta.seq = SeqDelta::Forward(value as u16),
            DigitTarget::SeqBack => delta.seq = SeqDelta::Back(value as u16),
            DigitTarget::SeqRaw => delta.seq = SeqDelta::Raw(value as u32),
            DigitTarget::AckForward => delta.ack = AckDelta::Forward(value as u16),
            DigitTarget::AckBack => delta.ack = AckDelta::Back(value as u16),
            DigitTarget::AckRaw => delta.ack = AckDelta::Raw(value as u32),
            DigitTarget::Len => delta.len = LenDelta::Octets(value as u16),
            DigitTarget::LenRaw => delta.len = LenDelta::Raw(value as u32),
            DigitTarget::WindowUp => delta.window = WindowDelta::Up(value as u16),
            DigitTarget::WindowDown => delta.window = WindowDelta::Down(value as u16),
            DigitTarget::Urgent => delta.urgent = value as u16,
            DigitTarget::OptionKind => {}
            DigitTarget::OptionLen { kind } => {
                let len = value as u8;
                // Version 1 says every octet.
                let said = match self.header.version {
                    1 => len - 2,
                    _ => options::said_octets(kind, len),
                };
                delta.elements.list.push(Element::Raw { kind, len, said });
                return self.octets_left(said);
            }
            DigitTarget::OctetsLen => delta.elements.list.push(Element::Octets(value as u8)),
            DigitTarget::OptionOctet { .. } => delta.elements.raw.push(value as u8),
            DigitTarget::Mss => return self.element(Element::Mss(value as u16)),
            DigitTarget::Ws => return self.element(Element::Ws(value as u8)),
            DigitTarget::Sack { more } => {
                return self
                    .sack(SackDelta::Raw { left: (value >> 32) as u32, len: value as u32 }, more);
            }
            DigitTarget::TsValForward => delta.ts_val = TsvalDelta::Forward(value as u16),
            DigitTarget::TsValRaw => delta.ts_val = TsvalDelta::Raw(value as u32),
            DigitTarget::TsEcrRaw => delta.ts_ecr = TsecrDelta::Raw(value as u32),
            DigitTarget::TrafficClass => delta.traffic_class = Some(value as u8),
            DigitTarget::Ttl => delta.ttl = Some(value as u8),
            DigitTarget::Id => delta.ip_id = IpIdDelta::Raw(value as u16),
            DigitTarget::Label => delta.flow_label = FlowLabelDelta::Raw(value as u32),
        }
        self.state_after(target, value)
    }

    /// Returns the state after a number. The values of option elements that end an element are not
    /// among them: see [`element`](Self::element) and [`sack`](Self::sack).
    fn state_after(&mut self, target: DigitTarget, value: u64) -> ParserState {
        ParserState::Fields(match target {
            DigitTarget::Port => return ParserState::TsClock(0),
            DigitTarget::Gap { .. } | DigitTarget::Due { .. } => {
                return ParserState::BetweenPackets;
            }
            DigitTarget::OptionKind => {
                let room = self.option_room() as u64;
                return self.bounded_digits(
                    DigitTarget::OptionLen { kind: value as u8 },
                    1,
                    2,
                    room,
                );
            }
            DigitTarget::OctetsLen => return self.octets_left(value as u8),
            DigitTarget::OptionOctet { left } => return self.octets_left(left),
            DigitTarget::OptionLen { .. }
            | DigitTarget::Mss
            | DigitTarget::Ws
            | DigitTarget::Sack { .. } => {
                return ParserState::Element;
            }
            DigitTarget::Flags => FieldOrder::Seq,
            DigitTarget::SeqForward | DigitTarget::SeqBack | DigitTarget::SeqRaw => FieldOrder::Ack,
            DigitTarget::AckForward | DigitTarget::AckBack | DigitTarget::AckRaw => FieldOrder::Len,
            DigitTarget::Len | DigitTarget::LenRaw => FieldOrder::Window,
            DigitTarget::WindowUp | DigitTarget::WindowDown => FieldOrder::Urgent,
            DigitTarget::Urgent => FieldOrder::Options,
            DigitTarget::TsValForward | DigitTarget::TsValRaw => FieldOrder::TsEcr,
            DigitTarget::TsEcrRaw => FieldOrder::TrafficClass,
            DigitTarget::TrafficClass => FieldOrder::Ttl,
            DigitTarget::Ttl => FieldOrder::Df,
            DigitTarget::Id | DigitTarget::Label => FieldOrder::Time,
        })
    }

    /// Stores an option element with its value, and returns the state before the next one.
    fn element(&mut self, element: Element) -> ParserState {
        self.delta.elements.list.push(element);
        self.fill_layout()
    }

    /// Stores a SACK block, with `more` blocks to follow it.
    fn sack(&mut self, block: SackDelta, more: u8) -> ParserState {
        self.delta.elements.sacks.push(block);
        if more > 0 { ParserState::SackBlock { more: more - 1 } } else { self.fill_layout() }
    }

    /// Stores the elements of a layout up to the next one that needs a value. In a list, returns
    /// the state before the next element.
    fn fill_layout(&mut self) -> ParserState {
        let Some(mut rest) = self.layout else { return ParserState::Element };
        while let Some((&element, later)) = rest.split_first() {
            rest = later;
            self.layout = Some(rest);
            match element {
                Element::Mss(_) => return ParserState::MssValue,
                Element::Ws(_) => return ParserState::WsValue,
                Element::Sack(n) => {
                    self.delta.elements.list.push(element);
                    return ParserState::SackBlock { more: n - 1 };
                }
                other => self.delta.elements.list.push(other),
            }
        }
        ParserState::Fields(FieldOrder::TsVal)
    }

    /// Returns the number of octets that are left for options in the current packet.
    pub(crate) fn option_room(&self) -> usize {
        MAX_OPTION_OCTETS - self.delta.elements.octets()
    }

    /// Returns whether the options of the current packet hold timestamps so far.
    pub(crate) fn has_timestamps(&self) -> bool {
        self.delta.elements.list.contains(&Element::Ts)
    }

    /// Reads the token of an element in a list, or the end of the list.
    fn list_element(&mut self, token: TokenId) -> NextState {
        let room = self.option_room();
        let fits = |n: usize| if n <= room { Ok(()) } else { Err(Misplaced) };
        if token == vocab::OPT_DONE.first {
            // RFC 9293, section 3.1: the data offset counts 32-bit words.
            return if room.is_multiple_of(4) {
                Ok(ParserState::Fields(FieldOrder::TsVal))
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
            return fits(4).map(|()| ParserState::MssValue);
        } else if token == vocab::OPT_WS.first {
            return fits(3).map(|()| ParserState::WsValue);
        } else if let Some(more) = vocab::OPT_SACK.arg(token) {
            let n = more as u8 + 1;
            fits(Element::Sack(n).octets())?;
            self.delta.elements.list.push(Element::Sack(n));
            return Ok(ParserState::SackBlock { more: more as u8 });
        } else if token == vocab::OPT_RAW.first {
            return fits(2).map(|()| self.any_digits(DigitTarget::OptionKind, 1));
        } else if token == vocab::OPT_OCTETS.first {
            return fits(1)
                .map(|()| self.bounded_digits(DigitTarget::OctetsLen, 1, 1, room as u64));
        } else {
            return Err(Misplaced);
        };
        fits(plain.octets())?;
        Ok(self.element(plain))
    }

    /// Begins the next octet of an option, with `left` octets to read.
    fn octets_left(&mut self, left: u8) -> ParserState {
        if left == 0 {
            ParserState::Element
        } else {
            self.any_digits(DigitTarget::OptionOctet { left: left - 1 }, 1)
        }
    }
}
