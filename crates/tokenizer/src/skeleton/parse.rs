//! The grammar of a host: which tokens may come next, and what those so far say.

use super::error::SkeletonError;
use super::host::{Anchor, FlowHead, Syn, is_syn};
use super::state::{Destination, HostState};
use super::{time, vocab};
use crate::TokenId;
use crate::field::bucket::digits_for;
use crate::field::digits::Digits;
use crate::field::vocab::TokenRange;
use crate::field::{
    CloseKind, Constraint, Grammar, Limits, Mask, SessionClass, TimeUnit, VOCAB_SIZE,
    vocab as field,
};

// The mask has room for the ids of both codes.
const _: () = assert!(vocab::VOCAB_SIZE <= VOCAB_SIZE);

/// Adds every token of a range of the flow code.
fn set_field(range: TokenRange, mask: &mut Mask) {
    (0..range.count()).filter_map(|i| vocab::from_field(range.at(i))).for_each(|id| mask.set(id));
}

/// Result of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The token is within a flow, or before the first one.
    More,
    /// The token was the last one of a flow.
    Flow(Box<FlowHead>),
    /// The token was the last one of the host.
    End,
}

/// Place in a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    /// IP version and unit, of the host or of another SYN.
    Version,
    Gap,
    Digits(Number),
    /// First token of a SYN.
    SynStart,
    /// Token of a SYN that may be over.
    Syn,
    /// Gap of the next flow, or end of the host.
    Anchor,
    Destination,
    Port,
    /// Another SYN, or the class.
    SynOrClass,
    Class,
    Length,
    Done,
}

/// Number that digits spell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Gap,
    Pair,
    Server,
    Shared,
    Port,
}

/// Parser of a host's tokens, which is their grammar too: it refuses every token that is not in
/// [`allowed_next`](Parser::allowed_next).
///
/// ```
/// use tokenizer::skeleton::{Parser, Step};
///
/// let mut parser = Parser::new(0);
/// let mut flows = 0;
/// while !parser.is_done() {
///     // A model would choose by probability here.
///     let token = parser.allowed_next().iter().next().unwrap();
///     flows += usize::from(matches!(parser.push(token)?, Step::Flow(_)));
/// }
/// assert_eq!(flows, 1);
/// # Ok::<(), tokenizer::skeleton::SkeletonError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parser {
    state: State,
    tokens: usize,
    host: HostState,
    unit: TimeUnit,
    since_ns: Option<i64>,
    digits: Digits,
    /// Grammar of the SYN that is spelled, and its tokens so far.
    spelled: Option<(Box<Grammar>, Syn)>,
    /// Class of the flow before.
    last_class: Option<SessionClass>,
    // Parts of the flow so far.
    anchor: Anchor,
    gap_ns: i64,
    destination: Option<Destination>,
    port: u16,
    syn: Option<Syn>,
    class: SessionClass,
}

impl Parser {
    /// Creates the parser of a host behind hosts that have used `shared` servers of the trace.
    #[must_use]
    pub fn new(shared: u32) -> Parser {
        Parser {
            state: State::Start,
            tokens: 0,
            host: HostState::new(shared),
            unit: TimeUnit::default(),
            since_ns: None,
            digits: Digits::default(),
            spelled: None,
            last_class: None,
            anchor: Anchor::First,
            gap_ns: 0,
            destination: None,
            port: 0,
            syn: None,
            class: SessionClass::default(),
        }
    }

    /// Returns whether the host has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether a flow is whole and none has begun: the host may end here.
    #[must_use]
    pub fn is_between_flows(&self) -> bool {
        self.state == State::Anchor
    }

    /// Returns the unit of the host's times.
    #[must_use]
    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    /// Returns the time from the first start of the host before, in nanoseconds; 0 until it is
    /// said.
    #[must_use]
    pub fn since_ns(&self) -> i64 {
        self.since_ns.unwrap_or(0)
    }

    /// Returns the number of servers that this host is the first one to use.
    #[must_use]
    pub fn new_servers(&self) -> u32 {
        self.host.new_servers()
    }

    /// Fails unless the host has ended.
    ///
    /// # Errors
    /// If tokens are missing.
    pub fn finish(&self) -> Result<(), SkeletonError> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(SkeletonError::Truncated { index: self.tokens, expected: self.expected() }),
        }
    }

    /// Returns whether tokens are those of a client's SYN, up to its TTL.
    pub(super) fn is_whole_syn(syn: &Syn, unit: TimeUnit) -> bool {
        let mut grammar = syn_grammar(syn.is_v6, unit);
        let mut tokens = syn.tokens.iter();
        tokens.next().is_some_and(|first| is_syn(*first) && grammar.push(*first).is_ok())
            && tokens.all(|token| {
                vocab::from_field(*token).is_some()
                    && field::PACKET.arg(*token).is_none()
                    && grammar.push(*token).is_ok()
            })
            && may_end(&grammar)
    }

    /// Returns the tokens that may come next: none once the host has ended, and at least one before
    /// that.
    #[must_use]
    pub fn allowed_next(&self) -> Mask {
        let mut mask = Mask::default();
        match self.state {
            State::Start => mask.set(vocab::BOS),
            State::Version => {
                let units = TimeUnit::ALL.len() / 2;
                let versions = (0..field::FLOW.count()).filter(|version| {
                    self.since_ns.is_none() || version % units == self.unit as usize
                });
                versions
                    .filter_map(|version| vocab::from_field(field::FLOW.at(version)))
                    .for_each(|id| mask.set(id));
            }
            State::Gap => self.allowed_gaps(vocab::WHILE, &mut mask),
            State::Digits(_) => {
                let (low, high) = self.digits.range(0, u64::MAX);
                (low..=high).for_each(|digit| mask.set(vocab::DIGIT.at(digit.into())));
            }
            State::SynStart => {
                let packets = (0..field::PACKET.count()).map(|i| field::PACKET.at(i));
                let syns = packets.filter(|token| is_syn(*token));
                syns.filter_map(vocab::from_field).for_each(|id| mask.set(id));
            }
            State::Syn => self.allowed_in_syn(&mut mask),
            State::Anchor => {
                mask.set(vocab::END);
                self.allowed_gaps(vocab::WHILE, &mut mask);
                if self.last_class.is_some_and(|class| class.close != CloseKind::Open) {
                    self.allowed_gaps(vocab::AFTER, &mut mask);
                }
            }
            State::Destination => self.allowed_destinations(&mut mask),
            State::Port => {
                set_field(field::PORT, &mut mask);
                set_field(field::PORT_RAW, &mut mask);
            }
            State::SynOrClass => {
                set_field(field::CLASS, &mut mask);
                // The first flow of a host has the SYN that the host begins with.
                if self.anchor != Anchor::First {
                    mask.set_first(vocab::SYN, self.host.syns());
                    mask.set(vocab::SYN_NEW.first);
                }
            }
            State::Class => set_field(field::CLASS, &mut mask),
            State::Length => set_field(field::LENGTH, &mut mask),
            State::Done => {}
        }
        mask
    }

    /// Adds the gaps whose bucket holds at least one whole unit.
    fn allowed_gaps(&self, range: TokenRange, mask: &mut Mask) {
        let buckets = (0..range.count()).filter(|i| {
            let bucket = time::bucket(*i, self.unit);
            bucket.first < bucket.end
        });
        buckets.for_each(|i| mask.set(range.at(i)));
    }

    fn allowed_in_syn(&self, mask: &mut Mask) {
        let Some((grammar, _)) = &self.spelled else { return };
        let said = grammar.allowed_next();
        let said = said.iter().filter(|token| field::PACKET.arg(*token).is_none());
        said.filter_map(vocab::from_field).for_each(|id| mask.set(id));
        if may_end(grammar) {
            // What follows the SYN depends on the flows so far alone.
            let next = Parser { state: self.after_syn(), ..Parser::at(&self.host) };
            for token in next.allowed_next().iter() {
                mask.set(token);
            }
        }
    }

    fn allowed_destinations(&self, mask: &mut Mask) {
        mask.set_first(vocab::PAIR, self.host.pairs());
        mask.set_first(vocab::SERVER, self.host.servers());
        mask.set(vocab::SERVER_NEW.first);
        if self.host.pairs() > 0 {
            mask.set(vocab::PAIR_RAW.first);
            mask.set(vocab::SERVER_RAW.first);
        }
        if self.host.shared() > 0 {
            mask.set(vocab::SERVER_SHARED.first);
        }
    }

    /// Creates a parser that has read nothing but the flows of a state.
    fn at(host: &HostState) -> Parser {
        Parser { host: host.clone(), ..Parser::new(0) }
    }

    /// Returns the place behind a SYN: the first flow's destination, or a later flow's class.
    fn after_syn(&self) -> State {
        if self.anchor == Anchor::First { State::Destination } else { State::Class }
    }

    /// Returns what may stand here, for errors.
    fn expected(&self) -> &'static str {
        match self.state {
            State::Start => "host",
            State::Version => "flow, with the host's unit",
            State::Gap => "while",
            State::Digits(_) => "digit, up to the greatest number",
            State::SynStart => "packet, a SYN of the client",
            State::Syn => "tokens of a SYN",
            State::Anchor => "after (a closed flow), while or host.end",
            State::Destination => "pair or server that is known",
            State::Port => "port",
            State::SynOrClass => "syn that is known, syn.new or class",
            State::Class => "class",
            State::Length => "length",
            State::Done => "nothing",
        }
    }

    /// Reads the next token.
    ///
    /// # Errors
    /// If the token may not come next; the parser is then as before.
    pub fn push(&mut self, token: TokenId) -> Result<Step, SkeletonError> {
        if !self.allowed_next().contains(token) {
            return Err(SkeletonError::Misplaced {
                index: self.tokens,
                expected: self.expected(),
                found: token,
                meaning: vocab::describe(token),
            });
        }
        self.tokens += 1;
        Ok(self.read(token))
    }

    /// Reads a token that may come next.
    fn read(&mut self, token: TokenId) -> Step {
        let said = vocab::to_field(token);
        match self.state {
            State::Start => self.state = State::Version,
            State::Version => self.read_version(said),
            State::Gap => self.read_gap(token),
            State::Digits(number) => {
                let digit = said.unwrap_or(field::DIGIT.first);
                if self.digits.push(digit).is_ok() && self.digits.left == 0 {
                    self.end_number(number, self.digits.first + self.digits.value);
                }
            }
            State::SynStart | State::Syn => return self.read_syn(token, said),
            State::Anchor => match token {
                vocab::END => {
                    self.state = State::Done;
                    return Step::End;
                }
                token => {
                    let is_after = vocab::AFTER.arg(token).is_some();
                    self.anchor = if is_after { Anchor::After } else { Anchor::While };
                    self.read_gap(token);
                }
            },
            State::Destination => self.read_destination(token),
            State::Port => match said.and_then(|said| field::PORT.arg(said)) {
                Some(i) => self.end_number(Number::Port, field::PORTS[i].into()),
                None => self.spell(Number::Port, 0, u16::MAX.into()),
            },
            State::SynOrClass if vocab::SYN.arg(token).is_some() => {
                let k = vocab::SYN.arg(token).unwrap_or(0);
                self.syn = self.host.recent_syn(k).cloned();
                self.state = State::Class;
            }
            State::SynOrClass if token == vocab::SYN_NEW.first => self.state = State::Version,
            State::SynOrClass | State::Class => {
                let class = said.and_then(|said| field::CLASS.arg(said));
                self.class = class.and_then(SessionClass::from_id).unwrap_or_default();
                self.state = State::Length;
            }
            State::Length => {
                let length = said.and_then(|said| field::LENGTH.arg(said)).unwrap_or(0);
                return Step::Flow(Box::new(self.end_flow(length as u8)));
            }
            State::Done => {}
        }
        Step::More
    }

    fn read_version(&mut self, said: Option<TokenId>) {
        let version = said.and_then(|said| field::FLOW.arg(said)).unwrap_or(0);
        // A host says its unit once; another SYN may have the other IP version.
        let is_first = self.since_ns.is_none();
        if is_first {
            self.unit = TimeUnit::ALL[version % 2];
        }
        let is_v6 = version >= 2;
        let syn = Syn { is_v6, tokens: Vec::new() };
        self.spelled = Some((Box::new(syn_grammar(is_v6, self.unit)), syn));
        self.state = if is_first { State::Gap } else { State::SynStart };
    }

    fn read_gap(&mut self, token: TokenId) {
        let bucket = time::bucket(vocab::gap(token).unwrap_or(0), self.unit);
        self.spell(Number::Gap, bucket.first, bucket.max_offset());
    }

    fn read_syn(&mut self, token: TokenId, said: Option<TokenId>) -> Step {
        if let (Some(said), Some((grammar, syn))) = (said, &mut self.spelled)
            && grammar.push(said).is_ok()
        {
            syn.tokens.push(said);
            self.state = State::Syn;
            return Step::More;
        }
        // The token is the first one behind the SYN: the mask has no other here.
        if let Some((_, syn)) = self.spelled.take() {
            if self.anchor == Anchor::First {
                self.host.begin(&syn);
            }
            self.syn = Some(syn);
        }
        self.state = self.after_syn();
        self.read(token)
    }

    fn read_destination(&mut self, token: TokenId) {
        if let Some(pair) = vocab::PAIR.arg(token).and_then(|k| self.host.recent_pair(k)) {
            return self.end_number(Number::Pair, pair as u64);
        }
        if let Some(server) = vocab::SERVER.arg(token).and_then(|k| self.host.recent_server(k)) {
            return self.end_number(Number::Server, server as u64);
        }
        let (number, count) = if token == vocab::PAIR_RAW.first {
            (Number::Pair, self.host.pairs() as u64)
        } else if token == vocab::SERVER_RAW.first {
            (Number::Server, self.host.servers() as u64)
        } else if token == vocab::SERVER_SHARED.first {
            (Number::Shared, self.host.shared().into())
        } else {
            self.destination = Some(Destination::New);
            self.state = State::Port;
            return;
        };
        // The mask offers no raw destination where nothing is known: then the bound is unused.
        let max = count.saturating_sub(1);
        self.digits = Digits { left: 3, max, ..Digits::default() };
        self.state = State::Digits(number);
    }

    /// Begins the digits of a number from `first` to `first + max`.
    fn spell(&mut self, number: Number, first: u64, max: u64) {
        let left = digits_for(max);
        self.digits = Digits { left, first, max, ..Digits::default() };
        self.state = State::Digits(number);
        if left == 0 {
            self.end_number(number, first);
        }
    }

    fn end_number(&mut self, number: Number, value: u64) {
        match number {
            Number::Gap => {
                let ns = i64::try_from(value).unwrap_or(i64::MAX).saturating_mul(self.unit.ns());
                if self.since_ns.is_none() {
                    self.since_ns = Some(ns);
                    self.state = State::SynStart;
                } else {
                    self.gap_ns = ns;
                    self.state = State::Destination;
                }
            }
            Number::Pair => {
                self.destination = Some(Destination::Pair(value as usize));
                self.state = State::SynOrClass;
            }
            Number::Server => {
                self.destination = Some(Destination::Server(value as usize));
                self.state = State::Port;
            }
            Number::Shared => {
                self.destination = Some(Destination::Shared(value as u32));
                self.state = State::Port;
            }
            Number::Port => {
                self.port = value as u16;
                self.state = State::SynOrClass;
            }
        }
    }

    fn end_flow(&mut self, length_class: u8) -> FlowHead {
        let destination = self.destination.take().unwrap_or(Destination::New);
        let (server, port) = self.host.resolve(destination);
        let port = port.unwrap_or(self.port);
        let expected = || self.host.expected_syn(destination).cloned();
        let none = Syn { is_v6: false, tokens: Vec::new() };
        // A SYN that is not said is the expected one.
        let syn = self.syn.take().or_else(expected).unwrap_or(none);
        let (anchor, class) = (self.anchor, self.class);
        let head = FlowHead { anchor, gap_ns: self.gap_ns, server, port, syn, class, length_class };
        self.host.update(&head);
        self.last_class = Some(class);
        self.state = State::Anchor;
        head
    }
}

/// Creates a grammar of the flow code that expects the first packet of a flow.
fn syn_grammar(is_v6: bool, unit: TimeUnit) -> Grammar {
    let mut grammar = Grammar::new(Constraint::Syntax, Limits::default());
    let version = usize::from(is_v6) * 2 + unit as usize;
    let (class, length) = (field::CLASS.at(0), field::LENGTH.at(0));
    for token in [field::BOS, field::FLOW.at(version), class, length, field::PORT.at(0)] {
        let pushed = grammar.push(token);
        debug_assert!(pushed.is_ok());
    }
    grammar
}

/// Returns whether the packet's tokens may go on with its time: then no option is unfinished.
fn may_end(grammar: &Grammar) -> bool {
    // Where a time may come next, no field is unfinished; digits of one may be.
    let said = grammar.allowed_next();
    said.contains(field::TIME.at(0)) && !said.contains(field::DIGIT.at(0))
}
