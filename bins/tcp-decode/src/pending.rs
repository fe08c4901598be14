//! Flows between the dataset and the capture: each row is decoded once.
//!
//! A field header is at the head of its tokens, but a `word16` row has none: only its packets say
//! which server port and which close it has. Such a row is decoded where its header is wanted, and
//! the packets stay with it until they are written. The addresses and the start that are drawn
//! later do not change the packets otherwise, so [`PendingFlow::set_identity`] writes them into the
//! decoded flow. A row that [`Sorter`](crate::order::Sorter) moves to disk loses its packets and is
//! decoded a second time.

use arrowio::{FlowRow, Tokens};
use dataset::RowDecoder;
use flowtrack::{Direction, Flow, Packet};
use tcpwire::{Flags, option_kind, options};
use tokenizer::field::{self, FlowHeader};
use tokenizer::host::HostSystem;
use tokenizer::{DecodeError, FlowIdentity, Synthesized};

use crate::identity::{FlowHints, SideHints};
use crate::ports::EphemeralPorts;
use crate::stack::Stack;

/// Row of a dataset, with everything that was decoded of it so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PendingFlow {
    /// Row as it was read, with an identity that may be completed since.
    pub(crate) row: FlowRow,
    header: Option<FlowHeader>,
    decoded: Option<Box<(Flow, Synthesized)>>,
    /// Whether the row had no start, as those of generated flows: the start is drawn.
    start_is_drawn: bool,
}

impl From<FlowRow> for PendingFlow {
    fn from(row: FlowRow) -> PendingFlow {
        let start_is_drawn = row.identity.start_ns.is_none();
        PendingFlow { row, header: None, decoded: None, start_is_drawn }
    }
}

impl PendingFlow {
    /// Returns the start in nanoseconds since 1970, 0 as long as it is not drawn.
    pub(crate) fn start_ns(&self) -> i64 {
        self.row.identity.start_ns.unwrap_or(0)
    }

    /// Returns the heap octets of the packets, 0 if the flow is not decoded.
    pub(crate) fn packet_octets(&self) -> usize {
        self.decoded.as_ref().map_or(0, |decoded| decoded.0.heap_octets())
    }

    /// Returns whether the capture of the flow may have had times finer than microseconds.
    /// Generated flows have no capture.
    pub(crate) fn needs_ns(&self) -> bool {
        let unit_ns = self.header.as_ref().map_or(1, |header| header.unit_ns());
        let is_finer = unit_ns % 1_000 != 0 || self.start_ns() % 1_000 != 0;
        is_finer && !self.start_is_drawn
    }

    /// Completes the identity: addresses, the client's port and the start may be set where they
    /// were unknown, other values must be the ones that the row had when it was decoded.
    pub(crate) fn set_identity(&mut self, identity: FlowIdentity) {
        let before = std::mem::replace(&mut self.row.identity, identity);
        let identity = &self.row.identity;
        let Some((flow, _)) = self.decoded.as_deref_mut() else { return };
        flow.client.addr = identity.client.addr.unwrap_or(flow.client.addr);
        flow.server.addr = identity.server.addr.unwrap_or(flow.server.addr);
        // `word16` encodes both ports; in the field code the client's port is part of the identity.
        if matches!(self.row.tokens, Tokens::U16(_)) {
            flow.client.port = identity.client_port.unwrap_or(0);
        }
        // A flow without a start is decoded as if it started at 0.
        let shift_ns = identity.start_ns.unwrap_or(0) - before.start_ns.unwrap_or(0);
        for packet in &mut flow.packets {
            packet.time_ns = packet.time_ns.saturating_add(shift_ns);
        }
    }
}

/// Decoder of pending flows.
#[derive(Default)]
pub(crate) struct PendingDecoder {
    rows: RowDecoder,
    /// Number of rows decoded to their end, for the test that none is decoded twice.
    #[cfg(test)]
    pub(crate) decodes: u32,
}

impl PendingDecoder {
    /// Returns the header of a flow. A `word16` row is decoded for it.
    pub(crate) fn header(&mut self, pending: &mut PendingFlow) -> Result<FlowHeader, DecodeError> {
        if let Some(header) = pending.header {
            return Ok(header);
        }
        let header = match &pending.row.tokens {
            Tokens::U16(tokens) => field::header(tokens)?,
            Tokens::I32(_) => dataset::header_of(&self.decoded(pending)?.0),
        };
        Ok(*pending.header.insert(header))
    }

    /// Returns the properties of a generated flow that decide between identities, as the first
    /// packets and the dataset's columns tell them. A row that does not decode has none: its fault
    /// is found, and named, when it is to be written.
    pub(crate) fn hints(&mut self, pending: &mut PendingFlow, header: &FlowHeader) -> FlowHints {
        // The length class says how many packets there are on both sides, by a factor of two.
        let about = (3_u64 << header.length_class.min(32)) / 4;
        let packets = pending.row.summary.as_ref().map_or([about; 2], |summary| summary.packets);
        let hints = |opening: &Flow| {
            let side = |d: Direction| SideHints {
                stack: Stack::from_opening(opening, d, header.ts_clocks[d.index()].tick_ns()),
                first_ts_ns: first_ts_ns(opening, d),
                packets: packets[d.index()],
            };
            let first = opening.packets.first();
            let syn = first.filter(|p| p.flags & (Flags::SYN | Flags::ACK) == Flags::SYN);
            FlowHints {
                client_ports: EphemeralPorts::from_opening(opening),
                system: syn.and_then(|syn| HostSystem::of_syn(syn, opening.options_of(syn))),
                client: side(Direction::Forward),
                server: side(Direction::Reverse),
            }
        };
        match &pending.decoded {
            Some(decoded) => hints(&decoded.0),
            None => self.rows.decode_opening(&pending.row, hints),
        }
    }

    /// Returns the time from the first packet to the last one: the dataset's column, or else that
    /// of the packets. A row that does not decode has a duration of 0.
    pub(crate) fn duration_ns(&mut self, pending: &mut PendingFlow) -> i64 {
        match &pending.row.summary {
            Some(summary) => summary.duration_ns.max(0),
            None => self.decoded(pending).map_or(0, |(flow, _)| duration_ns(flow)),
        }
    }

    /// Returns the packets of a flow, and counts of the values that had to be made up.
    pub(crate) fn decode(
        &mut self,
        pending: &mut PendingFlow,
    ) -> Result<(Flow, Synthesized), DecodeError> {
        match pending.decoded.take() {
            Some(decoded) => Ok(*decoded),
            None => self.decode_row(&pending.row),
        }
    }

    /// Takes back a flow that is written, for its buffers.
    pub(crate) fn recycle(&mut self, flow: Flow) {
        self.rows.recycle(flow);
    }

    /// Decodes a row unless that was done already, and keeps the flow with it.
    fn decoded<'p>(
        &mut self,
        pending: &'p mut PendingFlow,
    ) -> Result<&'p (Flow, Synthesized), DecodeError> {
        let decoded = match pending.decoded.take() {
            Some(decoded) => decoded,
            None => Box::new(self.decode_row(&pending.row)?),
        };
        Ok(pending.decoded.insert(decoded))
    }

    fn decode_row(&mut self, row: &FlowRow) -> Result<(Flow, Synthesized), DecodeError> {
        #[cfg(test)]
        {
            self.decodes += 1;
        }
        self.rows.decode(row)
    }
}

/// Returns the time from the earliest packet to the first one of a side that has a TSval; 0 if none
/// has.
fn first_ts_ns(opening: &Flow, d: Direction) -> i64 {
    let has_tsval = |packet: &&Packet| {
        let mut kinds = options(opening.options_of(packet)).map(|option| option.kind());
        packet.direction == d && kinds.any(|kind| kind == Some(option_kind::TIMESTAMPS))
    };
    let first = opening.packets.iter().find(has_tsval);
    let start = opening.times_ns().map_or(0, |(first, _)| first);
    first.map_or(0, |packet| packet.time_ns.saturating_sub(start))
}

/// Returns the time from the earliest packet to the latest one.
fn duration_ns(flow: &Flow) -> i64 {
    flow.times_ns().map_or(0, |(first, last)| last.saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use arrowio::{CodecId, FlowSummary};
    use clap::Parser;
    use dataset::CODEC_IDS;
    use testkit::datasets::{FIELD, meta};
    use tokenizer::word16;

    use super::*;
    use crate::args::Args;
    use crate::identity::IdentitySampler;
    use crate::order::Sorter;

    /// Rows of the worked flow as a model generates them: tokens without an identity.
    fn generated(code: CodecId, count: usize) -> Vec<FlowRow> {
        let flow = field::doc::worked_flow();
        let tokens = if code == FIELD {
            let mut tokens = Vec::new();
            field::encode(&flow, &mut tokens).unwrap();
            Tokens::U16(tokens)
        } else {
            let mut words = Vec::new();
            word16::encode(&flow, &mut words).unwrap();
            Tokens::I32(words)
        };
        vec![FlowRow { tokens, identity: FlowIdentity::default(), summary: None }; count]
    }

    /// Takes rows through the program's steps: header, identity, sorting in `memory` octets,
    /// packets. Returns each row with its packets, and the number of decodes.
    fn decode_all(code: CodecId, rows: Vec<FlowRow>, memory: u64) -> (Vec<(FlowRow, Flow)>, u32) {
        let args = Args::parse_from(["tcp-decode", "in", "out"]);
        let mut sampler = IdentitySampler::new(&args.identity, None, None).unwrap();
        let (mut sorter, mut decoder) =
            (Sorter::new(memory, &meta(code)), PendingDecoder::default());
        for row in rows {
            let mut pending = PendingFlow::from(row);
            let header = decoder.header(&mut pending).unwrap();
            let mut identity = pending.row.identity.clone();
            let hints = || decoder.hints(&mut pending, &header);
            let drawn = sampler.complete(0, &mut identity, &header, hints).unwrap().unwrap();
            pending.set_identity(identity);
            assert!(drawn.is_some());
            decoder.duration_ns(&mut pending);
            sorter.push(pending).unwrap();
        }
        let mut sorted = sorter.into_sorted().unwrap();
        let mut all = Vec::new();
        while let Some(mut pending) = sorted.next_flow().unwrap() {
            decoder.header(&mut pending).unwrap();
            let (flow, _) = decoder.decode(&mut pending).unwrap();
            all.push((pending.row, flow));
        }
        (all, decoder.decodes)
    }

    #[test]
    fn a_generated_row_is_decoded_once() {
        for code in CODEC_IDS {
            let (all, decodes) = decode_all(code, generated(code, 5), u64::MAX);
            assert_eq!((all.len(), decodes), (5, 5), "{}", code.name);
        }
    }

    #[test]
    fn a_row_that_was_moved_to_disk_is_decoded_once_more() {
        for code in CODEC_IDS {
            let (all, decodes) = decode_all(code, generated(code, 5), 1);
            assert_eq!((all.len(), decodes), (5, 10), "{}", code.name);
        }
    }

    #[test]
    fn a_field_row_with_its_duration_is_decoded_when_it_is_written() {
        let mut rows = generated(FIELD, 5);
        rows.iter_mut().for_each(|row| row.summary = Some(FlowSummary::default()));
        assert_eq!(decode_all(FIELD, rows, u64::MAX).1, 5);
    }

    #[test]
    fn a_clock_is_read_when_its_side_first_shows_it() {
        let mut pending = PendingFlow::from(generated(FIELD, 1).remove(0));
        let mut decoder = PendingDecoder::default();
        let header = decoder.header(&mut pending).unwrap();
        let hints = decoder.hints(&mut pending, &header);
        let flow = field::doc::worked_flow();
        let answer = flow.packets.iter().find(|p| p.direction == Direction::Reverse).unwrap();
        let after_ns = answer.time_ns - flow.packets[0].time_ns;
        assert_eq!((hints.client.first_ts_ns, hints.server.first_ts_ns), (0, after_ns));
        assert!(after_ns > 0 && hints.client.packets > 0);
        assert_eq!(hints.system, Some(HostSystem::Linux5));
        // Without its SYN a flow shows no system.
        let mut later = flow.clone();
        later.packets.remove(0);
        let mut tokens = Vec::new();
        field::encode(&later, &mut tokens).unwrap();
        pending.row.tokens = Tokens::U16(tokens);
        let mut pending = PendingFlow::from(pending.row);
        let header = decoder.header(&mut pending).unwrap();
        assert_eq!(decoder.hints(&mut pending, &header).system, None);
    }

    #[test]
    fn packets_are_those_that_the_complete_identity_gives() {
        let addresses = [None, "192.0.2.9".parse().ok(), "2001:db8::9".parse().ok()];
        for code in CODEC_IDS {
            for (client, start_ns) in [(0, None), (1, Some(7)), (0, Some(-7_000)), (2, None)] {
                // The worked flow is IPv4 in the field code; `word16` has no IP version.
                if client == 2 && code == FIELD {
                    continue;
                }
                let mut rows = generated(code, 1);
                rows[0].identity.client.addr = addresses[client];
                rows[0].identity.start_ns = start_ns;
                for memory in [1, u64::MAX] {
                    let (all, _) = decode_all(code, rows.clone(), memory);
                    let (row, flow) = &all[0];
                    assert!(row.identity.server.addr.is_some());
                    let (expected, _) = RowDecoder::default().decode(row).unwrap();
                    assert_eq!(*flow, expected, "{} {client} {start_ns:?}", code.name);
                }
            }
        }
    }
}
