//! What stays of a conversation for as long as a packet of it may come, and where.

use tcpwire::PacketQuirks;

use crate::completeness::WiresharkState;
use crate::lru::PER_LINK;
use crate::tuples::{TupleMap, TupleRef};
use crate::{Completeness, Endpoint};

/// What stays of every conversation: who, and how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConversationSummary {
    /// Number of the conversation, from 0, in order of first packets.
    pub id: u64,
    /// The two ends, opener first.
    pub endpoints: [Endpoint; 2],
    /// Number of the first packet's frame.
    pub first_frame: u64,
    /// Packets, as Wireshark counts them.
    pub packets: u64,
    /// Packets that came after it was given out.
    pub packets_after_export: u64,
    /// `tcp.completeness` as `tshark` prints it with the last packet, which it does before that
    /// packet is taken in.
    pub completeness_before_last: Completeness,
    /// `tcp.completeness` with the last packet: what Wireshark's window shows.
    pub completeness: Completeness,
}

/// No index among the open ones.
pub(crate) const NONE: u32 = u32::MAX;

/// What stays of a conversation in here.
#[derive(Debug)]
pub(crate) struct ConversationEntry {
    pub(crate) id: u64,
    pub(crate) ends: TupleRef,
    /// Index among the open ones, or [`NONE`].
    pub(crate) open: u32,
    pub(crate) first_frame: u64,
    /// None where nothing is kept here.
    pub(crate) packets: u64,
    pub(crate) packets_after_export: u64,
    pub(crate) last_ns: i64,
    pub(crate) wireshark: WiresharkState,
    pub(crate) quirks: PacketQuirks,
    /// The first packet's sender is the lower end of the key.
    pub(crate) initiator_is_low: bool,
    /// The second end opened.
    pub(crate) responder_opened: bool,
}

impl ConversationEntry {
    /// The ends of the conversation, opener first.
    pub(crate) fn opener_first(&self, keys: &TupleMap) -> [Endpoint; 2] {
        let [low, high] = keys.ends(self.ends);
        if self.initiator_is_low == self.responder_opened { [high, low] } else { [low, high] }
    }

    /// What is known of the conversation.
    pub(crate) fn record(&self, keys: &TupleMap) -> ConversationSummary {
        ConversationSummary {
            id: self.id,
            endpoints: self.opener_first(keys),
            first_frame: self.first_frame,
            packets: self.packets,
            packets_after_export: self.packets_after_export,
            completeness_before_last: self.wireshark.shown,
            completeness: self.wireshark.bits,
        }
    }

    /// What it takes, its ends and its place in order of last packets included.
    pub(crate) fn octets(&self) -> usize {
        size_of::<ConversationEntry>() + size_of::<u32>() + PER_LINK + self.ends.octets()
    }
}

/// PacketQuirks at places that do not change. Places are used again.
#[derive(Debug, Default)]
pub(crate) struct ConversationTable {
    marks: Vec<ConversationEntry>,
    free: Vec<u32>,
}

impl ConversationTable {
    /// Keeps a mark; says where.
    pub(crate) fn keep(&mut self, mark: ConversationEntry) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.marks[at as usize] = mark;
                at
            }
            None => {
                self.marks.push(mark);
                self.marks.len() as u32 - 1
            }
        }
    }

    /// Lets go the mark at `at`.
    pub(crate) fn let_go(&mut self, at: u32) {
        self[at].packets = 0;
        self.free.push(at);
    }

    /// Where the quirks are, in order of first packets.
    pub(crate) fn in_order(&self) -> Vec<u32> {
        let mut places: Vec<u32> =
            (0..self.marks.len() as u32).filter(|at| self[*at].packets > 0).collect();
        places.sort_unstable_by_key(|at| self[*at].id);
        places
    }
}

impl std::ops::Index<u32> for ConversationTable {
    type Output = ConversationEntry;

    #[inline]
    fn index(&self, at: u32) -> &ConversationEntry {
        &self.marks[at as usize]
    }
}

impl std::ops::IndexMut<u32> for ConversationTable {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut ConversationEntry {
        &mut self.marks[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_takes_64_octets() {
        assert_eq!(size_of::<ConversationEntry>(), 64);
    }
}
