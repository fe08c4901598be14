//! Hosts into tokens and back.

use super::error::SkeletonError;
use super::host::{Anchor, FlowHead, HostSkeleton, SkeletonFlow, Syn};
use super::parse::{Parser, Step};
use super::state::{Destination, HostState};
use super::{time, vocab};
use crate::TokenId;
use crate::field::bucket::digits_for;
use crate::field::vocab::TokenRange;
use crate::field::{CloseKind, TimeUnit, header, vocab as field};

/// Encodes a host: appends its tokens to `out`. `shared` is the number of servers that the hosts
/// before it in the trace have used.
///
/// # Errors
/// If the host has no flow, flows are not in order of their starts, a time is no whole number of
/// units, a server's number skips one, or a SYN is none. `out` is then unchanged.
pub fn encode(
    host: &HostSkeleton,
    shared: u32,
    out: &mut Vec<TokenId>,
) -> Result<(), SkeletonError> {
    let start = out.len();
    let encoded = encode_all(host, shared, out);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

fn encode_all(
    host: &HostSkeleton,
    shared: u32,
    out: &mut Vec<TokenId>,
) -> Result<(), SkeletonError> {
    let Some(first) = host.flows.first() else { return Err(SkeletonError::Empty) };
    let mut writer = Writer { unit: host.unit, out };
    let mut state = HostState::new(shared);
    writer.out.push(vocab::HOST.first);
    writer.version(first.syn.is_v6);
    writer.gap(vocab::WHILE, host.since_ns, 0)?;
    writer.syn(&first.syn, 0)?;
    // The first flow finds its SYN there, as if a flow with it had been before.
    state.begin(&first.syn);
    let mut before: Option<&SkeletonFlow> = None;
    for (index, flow) in host.flows.iter().enumerate() {
        let (anchor, from_ns) = match before {
            None => (Anchor::First, 0),
            Some(before) if is_over(before, flow) => (Anchor::After, before.end_ns),
            Some(before) => (Anchor::While, before.start_ns),
        };
        let head = FlowHead {
            anchor,
            gap_ns: flow.start_ns.saturating_sub(from_ns),
            server: flow.server,
            port: flow.port,
            syn: flow.syn.clone(),
            class: flow.class,
            length_class: flow.length_class,
        };
        if anchor == Anchor::First && head.gap_ns != 0 {
            return Err(wrong(index, "a start with the host", flow.start_ns));
        }
        writer.flow(&head, &state, index)?;
        state.update(&head);
        before = Some(flow);
    }
    writer.out.push(vocab::END);
    Ok(())
}

/// Returns whether a flow is closed before another one starts: the end of an open flow is that of
/// its capture.
fn is_over(before: &SkeletonFlow, flow: &SkeletonFlow) -> bool {
    before.class.close != CloseKind::Open && before.end_ns <= flow.start_ns
}

fn wrong(index: usize, expected: &'static str, found: impl ToString) -> SkeletonError {
    SkeletonError::Flow { index, expected, found: found.to_string() }
}

/// Writer of a host's tokens.
struct Writer<'o> {
    unit: TimeUnit,
    out: &'o mut Vec<TokenId>,
}

impl Writer<'_> {
    /// Appends a token of the flow code.
    fn said(&mut self, token: TokenId, index: usize) -> Result<(), SkeletonError> {
        let id = vocab::from_field(token);
        let id = id.ok_or_else(|| wrong(index, "tokens of a SYN", field::describe(token)))?;
        self.out.push(id);
        Ok(())
    }

    fn version(&mut self, is_v6: bool) {
        let token = field::FLOW.at(usize::from(is_v6) * 2 + self.unit as usize);
        self.out.extend(vocab::from_field(token));
    }

    fn gap(&mut self, range: TokenRange, gap_ns: i64, index: usize) -> Result<(), SkeletonError> {
        let found = u64::try_from(gap_ns).ok().filter(|ns| ns % self.unit.ns() as u64 == 0);
        let units = found.map(|ns| ns / self.unit.ns() as u64);
        let found = units.and_then(|units| Some((units, time::find(units, self.unit)?)));
        let Some((units, (i, bucket))) = found else {
            return Err(wrong(index, "a gap of whole units, not below 0", gap_ns));
        };
        self.out.push(range.at(i));
        self.digits(units - bucket.first, digits_for(bucket.max_offset()));
        Ok(())
    }

    fn digits(&mut self, value: u64, count: u8) {
        let digits = (0..count).rev().map(|i| (value >> (8 * i) & 0xff) as usize);
        self.out.extend(digits.map(|digit| vocab::DIGIT.at(digit)));
    }

    /// Appends the tokens of a SYN, if they are those of one.
    fn syn(&mut self, syn: &Syn, index: usize) -> Result<(), SkeletonError> {
        let is_whole = Parser::is_whole_syn(syn, self.unit);
        if !is_whole {
            let names: Vec<String> = syn.tokens.iter().map(|t| field::describe(*t)).collect();
            return Err(wrong(index, "a SYN of the client", names.join(" ")));
        }
        syn.tokens.iter().try_for_each(|token| self.said(*token, index))
    }

    fn flow(
        &mut self,
        head: &FlowHead,
        state: &HostState,
        index: usize,
    ) -> Result<(), SkeletonError> {
        match head.anchor {
            Anchor::First => {}
            Anchor::After => self.gap(vocab::AFTER, head.gap_ns, index)?,
            Anchor::While => self.gap(vocab::WHILE, head.gap_ns, index)?,
        }
        let destination = state
            .destination(head.server, head.port)
            .ok_or_else(|| wrong(index, "servers numbered by first use", head.server))?;
        self.destination(destination, head.port, state, index)?;
        // Nearly all flows of a pair have one SYN, which takes no token.
        if state.expected_syn(destination) != Some(&head.syn) {
            match state.syn_rank(&head.syn).filter(|rank| *rank < vocab::SYN.count()) {
                Some(rank) => self.out.push(vocab::SYN.at(rank)),
                None => {
                    self.out.push(vocab::SYN_NEW.first);
                    self.version(head.syn.is_v6);
                    self.syn(&head.syn, index)?;
                }
            }
        }
        self.said(field::CLASS.at(head.class.id()), index)?;
        if usize::from(head.length_class) >= field::LENGTH.count() {
            return Err(wrong(index, "a length class up to 15", head.length_class));
        }
        self.said(field::LENGTH.at(head.length_class.into()), index)
    }

    fn destination(
        &mut self,
        destination: Destination,
        port: u16,
        state: &HostState,
        index: usize,
    ) -> Result<(), SkeletonError> {
        match destination {
            Destination::Pair(pair) => {
                match state.pair_rank(pair) {
                    k if k < vocab::PAIR.count() => self.out.push(vocab::PAIR.at(k)),
                    _ => self.raw(vocab::PAIR_RAW.first, pair as u64, index)?,
                }
                return Ok(());
            }
            Destination::Server(server) => match state.server_rank(server) {
                k if k < vocab::SERVER.count() => self.out.push(vocab::SERVER.at(k)),
                _ => self.raw(vocab::SERVER_RAW.first, server as u64, index)?,
            },
            Destination::New => self.out.push(vocab::SERVER_NEW.first),
            Destination::Shared(number) => {
                self.raw(vocab::SERVER_SHARED.first, number.into(), index)?;
            }
        }
        let mut tokens = Vec::new();
        header::write_server_port(port, &mut tokens);
        tokens.into_iter().try_for_each(|token| self.said(token, index))
    }

    /// Appends a token and three digits.
    fn raw(&mut self, token: TokenId, value: u64, index: usize) -> Result<(), SkeletonError> {
        if value >= 1 << 24 {
            return Err(wrong(index, "a number below 2^24", value));
        }
        self.out.push(token);
        self.digits(value, 3);
        Ok(())
    }
}

/// Decodes a host. `shared` is as in [`encode`], `ends_ns` the end of each flow since the host's
/// first start, in nanoseconds.
///
/// # Errors
/// At the first misplaced token, if the tokens end before the host does, or if there are other ends
/// than flows.
pub fn decode(
    tokens: &[TokenId],
    shared: u32,
    ends_ns: &[i64],
) -> Result<HostSkeleton, SkeletonError> {
    let mut parser = Parser::new(shared);
    let mut heads = Vec::new();
    for token in tokens {
        if let Step::Flow(head) = parser.push(*token)? {
            heads.push(*head);
        }
    }
    parser.finish()?;
    if heads.len() != ends_ns.len() {
        return Err(SkeletonError::Ends { expected: heads.len(), found: ends_ns.len() });
    }
    let mut flows: Vec<SkeletonFlow> = Vec::with_capacity(heads.len());
    for (head, end_ns) in heads.into_iter().zip(ends_ns) {
        // A gap counts from a flow that is placed already.
        let before = flows.last().map_or((0, 0), |flow| (flow.start_ns, flow.end_ns));
        flows.push(SkeletonFlow {
            start_ns: head.start_ns(before),
            end_ns: *end_ns,
            server: head.server,
            port: head.port,
            syn: head.syn,
            class: head.class,
            length_class: head.length_class,
        });
    }
    Ok(HostSkeleton { since_ns: parser.since_ns(), unit: parser.unit(), flows })
}
