//! Packets of many flows in the order of their times, as a wire would carry them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flowtrack::{Flow, Packet};

/// Flow of which some packets are still to be written.
struct OpenFlow<T> {
    flow: Flow,
    label: T,
    /// Index of the next packet.
    next: usize,
}

/// Merge of the packets of all open flows by time. Packets of one flow keep their order, even if
/// the clock of a capture went back between them.
pub(crate) struct PacketMerge<T> {
    /// Open flows; `None` is a slot that `free` lists.
    slots: Vec<Option<OpenFlow<T>>>,
    free: Vec<usize>,
    /// Time of each flow's next packet, number of the flow, and its slot.
    due: BinaryHeap<Reverse<(i64, u64, usize)>>,
    /// Number of flows pushed so far.
    pushed: u64,
}

/// Receiver of merged packets.
pub(crate) trait PacketSink<T> {
    /// Writes a packet; `is_first` is set for the first packet of its flow.
    fn write_packet(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        label: &mut T,
        is_first: bool,
    ) -> anyhow::Result<()>;

    /// Takes back a flow whose packets are all written, for its buffers.
    fn recycle(&mut self, _flow: Flow) {}
}

impl<T> PacketMerge<T> {
    /// Creates a merge without flows.
    pub(crate) fn new() -> PacketMerge<T> {
        PacketMerge { slots: Vec::new(), free: Vec::new(), due: BinaryHeap::new(), pushed: 0 }
    }

    /// Adds a flow. A flow without packets is dropped.
    pub(crate) fn push(&mut self, flow: Flow, label: T) {
        let Some(first) = flow.packets.first() else { return };
        let time_ns = first.time_ns;
        let open = Some(OpenFlow { flow, label, next: 0 });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = open;
                slot
            }
            None => {
                self.slots.push(open);
                self.slots.len() - 1
            }
        };
        self.due.push(Reverse((time_ns, self.pushed, slot)));
        self.pushed += 1;
    }

    /// Writes all packets before `end_ns`, or all packets if `end_ns` is `None`. Packets of one
    /// time come out in the order in which their flows were pushed.
    pub(crate) fn write_until(
        &mut self,
        end_ns: Option<i64>,
        sink: &mut impl PacketSink<T>,
    ) -> anyhow::Result<()> {
        while let Some(&Reverse((due_ns, number, slot))) = self.due.peek() {
            if end_ns.is_some_and(|end_ns| due_ns >= end_ns) {
                break;
            }
            self.due.pop();
            let rival = self.due.peek().map(|Reverse((due_ns, number, _))| (*due_ns, *number));
            let Some(open) = &mut self.slots[slot] else { continue };
            // Most packets are followed by one of the same flow: the heap is left alone until
            // another flow is due.
            let resumes_at = loop {
                let last = open.flow.packets.len() - 1;
                let packet = open.flow.packets[open.next];
                sink.write_packet(&open.flow, &packet, &mut open.label, open.next == 0)?;
                if open.next == last {
                    break None;
                }
                open.next += 1;
                let next_ns = open.flow.packets[open.next].time_ns;
                if end_ns.is_some_and(|end_ns| next_ns >= end_ns)
                    || rival.is_some_and(|rival| (next_ns, number) > rival)
                {
                    break Some(next_ns);
                }
            };
            if let Some(next_ns) = resumes_at {
                self.due.push(Reverse((next_ns, number, slot)));
            } else {
                if let Some(open) = self.slots[slot].take() {
                    sink.recycle(open.flow);
                }
                self.free.push(slot);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flowtrack::{Completeness, Direction, Endpoint, OptionsRef};
    use proptest::prelude::*;
    use tcpwire::{Flags, SeqNum};

    use super::*;

    fn flow(times: &[i64]) -> Flow {
        let end = Endpoint { addr: [192, 0, 2, 1].into(), port: 1 };
        let packet = |(i, time_ns): (usize, &i64)| Packet {
            time_ns: *time_ns,
            seq: SeqNum(i as u32),
            ack: SeqNum(0),
            payload_len: 0,
            flow_label: 0,
            options: OptionsRef::default(),
            flags: Flags::ACK,
            window: 0,
            urgent: 0,
            ip_id: 0,
            ttl: 64,
            traffic_class: 0,
            dont_fragment: false,
            direction: Direction::Forward,
        };
        Flow {
            client: end,
            server: end,
            first_frame: 0,
            packets: times.iter().enumerate().map(packet).collect(),
            options: Vec::new(),
            completeness: Completeness::default(),
        }
    }

    #[derive(Default)]
    struct Seen(Vec<(i64, usize, u32)>);

    impl PacketSink<usize> for Seen {
        fn write_packet(
            &mut self,
            _: &Flow,
            packet: &Packet,
            label: &mut usize,
            is_first: bool,
        ) -> anyhow::Result<()> {
            assert_eq!(is_first, packet.seq.0 == 0);
            self.0.push((packet.time_ns, *label, packet.seq.0));
            Ok(())
        }
    }

    /// Merges flows, each pushed when it starts, and returns time, flow and index of each packet.
    fn merged(flows: &[Vec<i64>]) -> Vec<(i64, usize, u32)> {
        let mut order: Vec<usize> = (0..flows.len()).filter(|f| !flows[*f].is_empty()).collect();
        order.sort_by_key(|f| flows[*f][0]);
        let (mut merge, mut seen) = (PacketMerge::new(), Seen::default());
        for f in order {
            merge.write_until(Some(flows[f][0]), &mut seen).unwrap();
            merge.push(flow(&flows[f]), f);
        }
        merge.write_until(None, &mut seen).unwrap();
        seen.0
    }

    /// Checks that all packets of each flow came out, in the order of the flow.
    fn check_order(flows: &[Vec<i64>], seen: &[(i64, usize, u32)]) {
        for (f, flow) in flows.iter().enumerate() {
            let own: Vec<u32> = seen.iter().filter(|s| s.1 == f).map(|s| s.2).collect();
            assert_eq!(own, (0..flow.len() as u32).collect::<Vec<_>>());
        }
    }

    /// Generates the packet times of some flows.
    fn times() -> impl Strategy<Value = Vec<Vec<i64>>> {
        prop::collection::vec(prop::collection::vec(0..1000_i64, 0..20), 0..20)
    }

    proptest! {
        #[test]
        fn packets_come_out_by_time(mut flows in times()) {
            flows.iter_mut().for_each(|times| times.sort());
            let seen = merged(&flows);
            prop_assert_eq!(seen.len(), flows.iter().map(Vec::len).sum::<usize>());
            prop_assert!(seen.is_sorted_by_key(|s| s.0));
            check_order(&flows, &seen);
        }

        #[test]
        fn packets_of_a_flow_keep_their_order(flows in times()) {
            let seen = merged(&flows);
            check_order(&flows, &seen);
        }
    }
}
