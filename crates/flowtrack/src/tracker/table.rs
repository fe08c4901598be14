//! The entry that stays of a conversation for as long as a packet of the conversation may come.

use tcpwire::PacketQuirks;

use super::completeness::WiresharkState;
use super::lru::PER_LINK;
use super::opener::ClientEvidence;
use super::slab::{PER_FREE_PLACE, Slab};
use super::tuples::{TupleMap, TupleRef};
use crate::{Completeness, Endpoint};

/// Endpoints and counters of a conversation, whether its packets were buffered or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConversationSummary {
    /// Number of the conversation, from 0, in order of first packets.
    pub id: u64,
    /// Both endpoints, the opener first.
    pub endpoints: [Endpoint; 2],
    /// Number of the first packet's frame, like [`Flow::first_frame`](crate::Flow::first_frame).
    pub first_frame: u64,
    /// Number of packets, as Wireshark counts them.
    pub packets: u64,
    /// Number of packets that came after the conversation was exported.
    pub packets_after_export: u64,
    /// `tcp.completeness` as `tshark` prints it at the last packet: without that packet, since
    /// `tshark` prints the field before it processes the packet.
    pub completeness_before_last: Completeness,
    /// `tcp.completeness` with the last packet, as Wireshark's window shows it.
    pub completeness: Completeness,
}

/// Value of [`ConversationEntry::open`] once the conversation is exported.
pub(crate) const NONE: u32 = u32::MAX;

/// Entry of a conversation, open or exported.
#[derive(Debug)]
pub(crate) struct ConversationEntry {
    /// Number of the conversation, from 0.
    pub(crate) id: u64,
    /// Key of both endpoints in the [`TupleMap`].
    pub(crate) tuple: TupleRef,
    /// Key among the open conversations, or [`NONE`].
    pub(crate) open: u32,
    /// Number of the first packet's frame, or its [`FrameId`](crate::FrameId).
    pub(crate) first_frame: u64,
    /// Number of packets; 0 marks an entry that was removed.
    pub(crate) packets: u64,
    /// Number of packets since the conversation was exported, at most `u32::MAX`.
    pub(crate) packets_after_export: u32,
    /// Capture time of the last packet, in nanoseconds.
    pub(crate) last_ns: i64,
    /// Wireshark's view of the conversation.
    pub(crate) wireshark: WiresharkState,
    /// Quirks of all packets together.
    pub(crate) quirks: PacketQuirks,
    /// Whether the first packet's sender is the lower endpoint of the 4-tuple.
    pub(crate) initiator_is_low: bool,
    /// Whether the receiver of the first packet opened the conversation.
    pub(crate) responder_opened: bool,
    /// Evidence of who opened it; set with `responder_opened`, at the export.
    pub(crate) client_evidence: ClientEvidence,
}

impl ConversationEntry {
    /// Returns both endpoints, the opener first.
    pub(crate) fn opener_first(&self, tuples: &TupleMap) -> [Endpoint; 2] {
        let [low, high] = tuples.endpoints(self.tuple);
        if self.initiator_is_low == self.responder_opened { [high, low] } else { [low, high] }
    }

    /// Reports whether the client of an exported conversation is the lower endpoint; `None` if that
    /// is not known.
    pub(crate) fn known_client_is_low(&self) -> Option<bool> {
        let is_known = self.client_evidence != ClientEvidence::Unknown;
        is_known.then_some(self.initiator_is_low != self.responder_opened)
    }

    /// Returns endpoints and counters of the conversation.
    pub(crate) fn summary(&self, tuples: &TupleMap) -> ConversationSummary {
        ConversationSummary {
            id: self.id,
            endpoints: self.opener_first(tuples),
            first_frame: self.first_frame,
            packets: self.packets,
            packets_after_export: self.packets_after_export.into(),
            completeness_before_last: self.wireshark.before_last,
            completeness: self.wireshark.bits,
        }
    }

    /// Returns the heap octets of the entry, with its endpoints and its link in the LRU lists.
    pub(crate) fn heap_octets(&self) -> usize {
        size_of::<ConversationEntry>() + PER_FREE_PLACE + PER_LINK + self.tuple.heap_octets()
    }
}

/// Entries of all conversations that are not forgotten, by key.
#[derive(Debug, Default)]
pub(crate) struct ConversationTable {
    entries: Slab<ConversationEntry>,
}

impl ConversationTable {
    /// Adds an entry and returns its key.
    pub(crate) fn insert(&mut self, entry: ConversationEntry) -> u32 {
        self.entries.insert(entry)
    }

    /// Removes the entry of a key.
    pub(crate) fn remove(&mut self, key: u32) {
        self[key].packets = 0;
        self.entries.release(key);
    }

    /// Returns the keys of all entries, in order of first packets.
    pub(crate) fn keys_in_order(&self) -> Vec<u32> {
        let mut keys: Vec<u32> = self.entries.keys().filter(|key| self[*key].packets > 0).collect();
        // Places are used again, so that keys alone have another order.
        keys.sort_unstable_by_key(|key| self[*key].id);
        keys
    }
}

impl std::ops::Index<u32> for ConversationTable {
    type Output = ConversationEntry;

    #[inline]
    fn index(&self, key: u32) -> &ConversationEntry {
        &self.entries[key]
    }
}

impl std::ops::IndexMut<u32> for ConversationTable {
    #[inline]
    fn index_mut(&mut self, key: u32) -> &mut ConversationEntry {
        &mut self.entries[key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_64_octets() {
        assert_eq!(size_of::<ConversationEntry>(), 64);
    }
}
