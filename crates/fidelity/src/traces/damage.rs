//! Known damage to traces: one property of the flows is drawn anew, all others stay, as in the
//! semi-experiments of Hohn, Veitch and Abry ("Does fractal scaling at the IP level depend on TCP
//! flow arrival processes?", 2002).

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::flow::{TraceFlow, Traces};

/// Property of flows that is drawn anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// Starts of a client lie anywhere between its first and its last one, each as likely.
    PoissonStarts,
    /// Flows are dealt to the starts of all clients.
    DealtFlows,
    /// Client ports are drawn from the dynamic ones.
    RandomPorts,
    /// Identifications and TSvals are drawn for each flow.
    RandomCounters,
}

impl Damage {
    /// Every damage, in the order of reports.
    pub const ALL: [Damage; 4] =
        [Damage::PoissonStarts, Damage::DealtFlows, Damage::RandomPorts, Damage::RandomCounters];

    /// Returns the name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Damage::PoissonStarts => "Poisson starts",
            Damage::DealtFlows => "flows dealt anew",
            Damage::RandomPorts => "random ports",
            Damage::RandomCounters => "random counters",
        }
    }

    /// Returns traces with this damage.
    pub(super) fn apply(self, traces: &Traces, seed: u64) -> Traces {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut damaged = traces.clone();
        match self {
            Damage::PoissonStarts => {
                for client in damaged.captures.iter_mut().flatten() {
                    let (Some(first), Some(last)) = (client.first(), client.last()) else {
                        continue;
                    };
                    let range = first.start_ns..=last.start_ns;
                    let between = client.len().saturating_sub(2);
                    let mut starts: Vec<i64> =
                        (0..between).map(|_| random.random_range(range.clone())).collect();
                    starts.sort_unstable();
                    for (flow, start) in client[1..].iter_mut().zip(starts) {
                        flow.start_ns = start;
                    }
                }
            }
            Damage::DealtFlows => {
                let mut all: Vec<TraceFlow> =
                    damaged.captures.iter().flatten().flatten().copied().collect();
                all.shuffle(&mut random);
                let places = damaged.captures.iter_mut().flatten().flatten();
                for (place, flow) in places.zip(all) {
                    *place = TraceFlow { start_ns: place.start_ns, client: place.client, ..flow };
                }
            }
            Damage::RandomPorts => {
                for flow in damaged.captures.iter_mut().flatten().flatten() {
                    flow.client_port = random.random_range(32_768..=60_999);
                }
            }
            Damage::RandomCounters => {
                for side in
                    damaged.captures.iter_mut().flatten().flatten().flat_map(|f| &mut f.sides)
                {
                    side.tsval = side.tsval.map(|(_, time_ns)| (random.random(), time_ns));
                    side.ids = side.ids.map(|_| (random.random(), random.random()));
                }
            }
        }
        damaged
    }
}
