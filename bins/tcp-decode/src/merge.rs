//! Packets of many flows in the order of their times, as a wire would carry them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flowtrack::{Flow, Packet};

/// A flow some of whose packets are still to come.
struct Open<T> {
    flow: Flow,
    label: T,
    next: usize,
}

/// The open flows. Packets of one flow keep their order even where a capture's clock went back
/// between them.
pub(crate) struct Merge<T> {
    open: Vec<Option<Open<T>>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(i64, u64, usize)>>,
    opened: u64,
}

/// What to do with packets.
pub(crate) trait Sink<T> {
    /// Takes a packet; `is_first` says whether it is its flow's first.
    fn packet(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        label: &mut T,
        is_first: bool,
    ) -> anyhow::Result<()>;

    /// Takes a flow of which there are no packets more.
    fn done(&mut self, _flow: Flow) {}
}

impl<T> Merge<T> {
    pub(crate) fn new() -> Merge<T> {
        Merge { open: Vec::new(), free: Vec::new(), due: BinaryHeap::new(), opened: 0 }
    }

    /// Adds a flow.
    pub(crate) fn open(&mut self, flow: Flow, label: T) {
        let Some(first) = flow.packets.first() else { return };
        let time = first.time_ns;
        let open = Some(Open { flow, label, next: 0 });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.open[slot] = open;
                slot
            }
            None => {
                self.open.push(open);
                self.open.len() - 1
            }
        };
        self.due.push(Reverse((time, self.opened, slot)));
        self.opened += 1;
    }

    /// Gives out all packets before `time_ns`; with `None`, all there are.
    pub(crate) fn run_until(
        &mut self,
        time_ns: Option<i64>,
        sink: &mut impl Sink<T>,
    ) -> anyhow::Result<()> {
        while let Some(&Reverse((due, order, slot))) = self.due.peek() {
            if time_ns.is_some_and(|limit| due >= limit) {
                break;
            }
            self.due.pop();
            let rival = self.due.peek().map(|Reverse((due, order, _))| (*due, *order));
            let Some(open) = &mut self.open[slot] else { continue };
            // The same flow goes on while it is its turn.
            let goes_on_at = loop {
                let last = open.flow.packets.len() - 1;
                let packet = open.flow.packets[open.next];
                sink.packet(&open.flow, &packet, &mut open.label, open.next == 0)?;
                if open.next == last {
                    break None;
                }
                open.next += 1;
                let now = open.flow.packets[open.next].time_ns;
                if time_ns.is_some_and(|limit| now >= limit)
                    || rival.is_some_and(|rival| (now, order) > rival)
                {
                    break Some(now);
                }
            };
            if let Some(now) = goes_on_at {
                self.due.push(Reverse((now, order, slot)));
            } else {
                if let Some(open) = self.open[slot].take() {
                    sink.done(open.flow);
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

    impl Sink<usize> for Seen {
        fn packet(
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

    /// All packets, flows being opened as they start.
    fn merged(flows: &[Vec<i64>]) -> Vec<(i64, usize, u32)> {
        let mut order: Vec<usize> = (0..flows.len()).filter(|f| !flows[*f].is_empty()).collect();
        order.sort_by_key(|f| flows[*f][0]);
        let (mut merge, mut seen) = (Merge::new(), Seen::default());
        for f in order {
            merge.run_until(Some(flows[f][0]), &mut seen).unwrap();
            merge.open(flow(&flows[f]), f);
        }
        merge.run_until(None, &mut seen).unwrap();
        seen.0
    }

    /// Whether each flow's packets came, and in their own order.
    fn check_order(flows: &[Vec<i64>], seen: &[(i64, usize, u32)]) {
        for (f, flow) in flows.iter().enumerate() {
            let own: Vec<u32> = seen.iter().filter(|s| s.1 == f).map(|s| s.2).collect();
            assert_eq!(own, (0..flow.len() as u32).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_by_time(flows in prop::collection::vec(prop::collection::vec(0..1000_i64, 0..20), 0..20)) {
            let flows: Vec<Vec<i64>> = flows.into_iter().map(|mut times| { times.sort(); times }).collect();
            let seen = merged(&flows);
            prop_assert_eq!(seen.len(), flows.iter().map(Vec::len).sum::<usize>());
            prop_assert!(seen.is_sorted_by_key(|s| s.0));
            check_order(&flows, &seen);
        }

        #[test]
        fn packets_of_a_flow_keep_their_order(flows in prop::collection::vec(prop::collection::vec(0..1000_i64, 0..20), 0..20)) {
            let seen = merged(&flows);
            check_order(&flows, &seen);
        }
    }
}
