//! Filters of the tokens of hosts and of their flows.

use std::sync::Arc;

use linformer::TokenFilter;
use tokenizer::field::{self, vocab as flow};
use tokenizer::skeleton::{FlowHead, Parser, Step, vocab};

use crate::commands::filter::FlowFilter;

/// Number of servers that a generated host may share with hosts before it, whatever their number
/// turns out to be.
pub(super) const SHARED: u32 = 1 << 24;

/// Removes tokens from a mask.
fn clear(words: &mut [u64], tokens: impl Iterator<Item = u16>) {
    for token in tokens {
        words[usize::from(token) / 64] &= !(1 << (token % 64));
    }
}

fn contains(words: &[u64], token: u16) -> bool {
    words[usize::from(token) / 64] >> (token % 64) & 1 == 1
}

/// Keeps one token of a mask, if the mask has it; returns whether it has.
fn keep_only(words: &mut [u64], token: u16) -> bool {
    let has = contains(words, token);
    if has {
        words.fill(0);
        words[usize::from(token) / 64] |= 1 << (token % 64);
    }
    has
}

/// Filter of a host under generation.
#[derive(Debug)]
pub(super) struct HostFilter {
    parser: Parser,
    /// Whether hosts are before it: then it starts behind them.
    is_later: bool,
    /// Whether its flows are whole sessions.
    is_session: bool,
    /// Largest number of flows.
    max_flows: u64,
    mask: Vec<u64>,
    tokens: usize,
    pub(super) heads: Vec<FlowHead>,
}

impl HostFilter {
    pub(super) fn new(is_later: bool, is_session: bool, max_flows: u64) -> HostFilter {
        let parser = Parser::new(SHARED);
        HostFilter {
            parser,
            is_later,
            is_session,
            max_flows,
            mask: Vec::new(),
            tokens: 0,
            heads: Vec::new(),
        }
    }

    /// Returns the parser of the tokens so far.
    pub(super) fn parser(&self) -> &Parser {
        &self.parser
    }
}

impl TokenFilter for HostFilter {
    fn allowed(&mut self) -> &[u64] {
        self.mask.clear();
        self.mask.extend_from_slice(self.parser.allowed_next().words());
        // The first host of a capture starts with it, and no other one does.
        if self.is_later && self.tokens == 2 {
            clear(&mut self.mask, std::iter::once(vocab::WHILE.at(0)));
        }
        if self.is_session {
            let closed = [field::CloseKind::Graceful, field::CloseKind::Reset];
            let others = (0..flow::CLASS.count()).filter(|class| {
                field::SessionClass::from_id(*class)
                    .is_none_or(|class| !class.has_handshake || !closed.contains(&class.close))
            });
            let others = others.filter_map(|class| vocab::from_field(flow::CLASS.at(class)));
            clear(&mut self.mask, others);
        }
        &self.mask
    }

    fn push(&mut self, token: u16) {
        self.tokens += 1;
        if let Ok(Step::Flow(head)) = self.parser.push(token) {
            self.heads.push(*head);
        }
    }

    fn is_done(&self) -> bool {
        let is_full = self.heads.len() as u64 >= self.max_flows;
        self.parser.is_done() || is_full && self.parser.is_between_flows()
    }
}

/// Tokens that the flow of a head has.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Tokens of the header behind `begin`.
    pub(super) header: Vec<u16>,
    pub(super) syn: Vec<u16>,
    /// SYN-ACK of the server's last flow up to the bucket of its time; empty if it has had none.
    pub(super) syn_ack: Arc<[u16]>,
}

/// Place of a flow in its script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Header(usize),
    Clocks,
    Syn(usize),
    /// Tokens of the SYN that the script does not have: identification, time.
    RestOfSyn,
    SynAck(usize),
    /// Tokens of the SYN-ACK that the script does not have.
    RestOfSynAck,
    Free,
}

/// Filter of a flow whose first tokens are those of a script, as far as the grammar has them.
#[derive(Debug)]
pub(super) struct ScriptedFilter<'s> {
    inner: FlowFilter,
    script: &'s Script,
    place: Place,
    mask: Vec<u64>,
}

impl<'s> ScriptedFilter<'s> {
    pub(super) fn new(inner: FlowFilter, script: &'s Script) -> ScriptedFilter<'s> {
        ScriptedFilter { inner, script, place: Place::Header(0), mask: Vec::new() }
    }

    /// Returns the filter without its script.
    pub(super) fn into_inner(self) -> FlowFilter {
        self.inner
    }

    fn packets() -> impl Iterator<Item = u16> {
        (0..flow::PACKET.count()).map(|i| flow::PACKET.at(i))
    }

    /// Restricts the mask to the token of the script.
    fn restrict(&mut self) {
        let is_between = Self::packets().any(|packet| contains(&self.mask, packet));
        let said = flow::FLAGS.first..flow::DF.first;
        match self.place {
            Place::Header(at) => drop(keep_only(&mut self.mask, self.script.header[at])),
            Place::Syn(at) => {
                if !keep_only(&mut self.mask, self.script.syn[at]) {
                    self.place = Place::Free;
                }
            }
            Place::Clocks if contains(&self.mask, self.script.syn[0]) => {
                let others = Self::packets().filter(|packet| *packet != self.script.syn[0]);
                clear(&mut self.mask, others);
            }
            Place::SynAck(at) => {
                if !keep_only(&mut self.mask, self.script.syn_ack[at]) {
                    self.place = Place::Free;
                }
            }
            Place::RestOfSyn if is_between => match self.script.syn_ack.first() {
                Some(first) if keep_only(&mut self.mask, *first) => {}
                _ => self.place = Place::Free,
            },
            Place::RestOfSyn => clear(&mut self.mask, said),
            Place::RestOfSynAck if !is_between => clear(&mut self.mask, said),
            Place::Clocks | Place::RestOfSynAck | Place::Free => self.place = Place::Free,
        }
    }
}

impl TokenFilter for ScriptedFilter<'_> {
    fn allowed(&mut self) -> &[u64] {
        self.mask.clear();
        self.mask.extend_from_slice(self.inner.allowed());
        if self.place != Place::Free {
            self.restrict();
            // A whole session may need what the script lacks, such as an option's value.
            if self.mask.iter().all(|word| *word == 0) {
                self.place = Place::Free;
                self.mask.copy_from_slice(self.inner.allowed());
            }
        }
        &self.mask
    }

    fn push(&mut self, token: u16) {
        self.inner.push(token);
        let step = |at: usize, len: usize, this: fn(usize) -> Place, next: Place| {
            if at + 1 < len { this(at + 1) } else { next }
        };
        self.place = match self.place {
            // The prompt.
            Place::Header(0) if token == flow::BOS => Place::Header(0),
            Place::Header(at) => step(at, self.script.header.len(), Place::Header, Place::Clocks),
            Place::Clocks if flow::PACKET.arg(token).is_some() => {
                step(0, self.script.syn.len(), Place::Syn, Place::RestOfSyn)
            }
            Place::Syn(at) => step(at, self.script.syn.len(), Place::Syn, Place::RestOfSyn),
            Place::RestOfSyn if flow::PACKET.arg(token).is_some() => {
                step(0, self.script.syn_ack.len(), Place::SynAck, Place::RestOfSynAck)
            }
            Place::SynAck(at) => {
                step(at, self.script.syn_ack.len(), Place::SynAck, Place::RestOfSynAck)
            }
            place => place,
        };
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}

/// Returns the tokens of a flow's SYN-ACK up to the bucket of its time; none if the flow has no
/// SYN-ACK among its first packets.
pub(super) fn syn_ack_of(tokens: &[u16]) -> Option<&[u16]> {
    /// Number of packets before a SYN-ACK, at most: SYNs that were sent again.
    const BEFORE: usize = 6;
    let packets = field::packet_spans(tokens).take(BEFORE + 1);
    let mut packets = packets.map(|span| &tokens[span.start..span.end]);
    // Packets from the server with SYN and ACK, without payload.
    let is_syn_ack = |packet: &[u16]| matches!(flow::PACKET.arg(packet[0]), Some(36 | 37));
    let syn_ack = packets.find(|packet| is_syn_ack(packet))?;
    let is_time = |token: &u16| (flow::TIME.first..flow::DIGIT.first).contains(token);
    Some(&syn_ack[..=syn_ack.iter().position(is_time)?])
}
