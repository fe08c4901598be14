//! Habits of hosts by their system: how a host picks ports, sets clocks and counts IP
//! identifications.

use rand::{Rng, RngExt};
use tokenizer::host::{HostSystem, IdPolicy, PortPolicy, TsPolicy};

/// Policies of one host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Policies {
    /// Choice of client ports.
    pub(crate) ports: PortPolicy,
    /// Extent of a timestamp clock.
    pub(crate) ts: TsPolicy,
    /// Extent of a counter of IPv4 identifications.
    pub(crate) ids: IdPolicy,
}

/// Weights of the policies of a system's hosts.
struct Habits {
    ports: &'static [(PortPolicy, u32)],
    ts: &'static [(TsPolicy, u32)],
    ids: &'static [(IdPolicy, u32)],
}

impl Policies {
    /// Draws the policies of a client whose SYN shows this system.
    pub(crate) fn of_client(system: Option<HostSystem>, random: &mut impl Rng) -> Policies {
        clients(system).draw(random)
    }

    /// Draws the policies of a server. Its SYN-ACK depends on the SYN, and tells no system.
    pub(crate) fn of_server(random: &mut impl Rng) -> Policies {
        SERVERS.draw(random)
    }
}

impl Habits {
    fn draw(&self, random: &mut impl Rng) -> Policies {
        Policies {
            ports: weighted(self.ports, random),
            ts: weighted(self.ts, random),
            ids: weighted(self.ids, random),
        }
    }
}

/// Draws one of several values in proportion to their weights.
pub(crate) fn weighted<T: Copy>(of: &[(T, u32)], random: &mut impl Rng) -> T {
    let mut left = random.random_range(0..of.iter().map(|(_, weight)| weight).sum());
    let drawn = of.iter().find(|(_, weight)| {
        let is_it = left < *weight;
        left = left.saturating_sub(*weight);
        is_it
    });
    drawn.unwrap_or(&of[0]).0
}

/// Steps between the ports of two flows to one destination, with their weights: Linux since 4.2, of
/// which later kernels draw the step.
pub(crate) const EVEN_STEPS: &[(u16, u32)] =
    &[(2, 34), (4, 13), (6, 11), (8, 7), (10, 9), (12, 6), (14, 6), (16, 5), (24, 4), (40, 5)];
/// Steps between the ports of two flows, with their weights: Windows and Apple's systems.
pub(crate) const STEPS: &[(u16, u32)] = &[(1, 87), (2, 8), (3, 2), (6, 2), (20, 1)];

/// Habits of servers, as shares of their flows: of those with timestamps 61 in 100 lie on the line
/// of the server's flow before.
const SERVERS: Habits = Habits {
    ports: &[(PortPolicy::Random, 1)],
    ts: &[(TsPolicy::Host, 61), (TsPolicy::Connection, 39)],
    ids: &[(IdPolicy::Connection, 75), (IdPolicy::Zero, 25)],
};

/// Returns the habits of clients of a system, as numbers of hosts.
///
/// They are counts of hosts with five flows or more in public captures, at most ten of a system
/// from one source. A host with one peer counts neither as one clock nor as one for each pair. RFC
/// 6056 (ports), RFC 7323 with Linux's `net.ipv4.tcp_timestamps` (clocks) and arXiv 2406.06483 (IP
/// identification) define the policies.
fn clients(system: Option<HostSystem>) -> Habits {
    use {HostSystem as System, IdPolicy as Id, PortPolicy as Port, TsPolicy as Ts};
    match system {
        Some(System::Linux5) => Habits {
            ports: &[(Port::EvenStep, 65), (Port::Random, 64), (Port::PlusOne, 4)],
            ts: &[(Ts::Pair, 94), (Ts::Connection, 5), (Ts::Host, 1)],
            ids: &[(Id::Connection, 104), (Id::Random, 6)],
        },
        Some(System::Linux4) => Habits {
            ports: &[(Port::PlusOne, 23), (Port::Random, 8), (Port::EvenStep, 6)],
            ts: &[(Ts::Host, 20), (Ts::Pair, 6)],
            ids: &[(Id::Connection, 35), (Id::Random, 2)],
        },
        Some(System::Linux3) => Habits {
            ports: &[(Port::Random, 13), (Port::PlusOne, 4)],
            ts: &[(Ts::Host, 13)],
            ids: &[(Id::Connection, 1)],
        },
        Some(System::Linux26) => Habits {
            ports: &[(Port::PlusOne, 17), (Port::Random, 7)],
            ts: &[(Ts::Host, 21)],
            ids: &[(Id::Connection, 1)],
        },
        Some(System::Android) => Habits {
            ports: &[(Port::Random, 33), (Port::EvenStep, 5)],
            ts: &[(Ts::Host, 21), (Ts::Pair, 3)],
            ids: &[(Id::Connection, 40), (Id::Random, 1)],
        },
        Some(System::Windows) => Habits {
            ports: &[(Port::PlusOne, 86), (Port::Random, 5)],
            ts: &[(Ts::None, 90), (Ts::Host, 1)],
            ids: &[(Id::Destination, 33), (Id::Global, 33)],
        },
        Some(System::Apple) => Habits {
            ports: &[(Port::PlusOne, 42), (Port::Random, 5)],
            ts: &[(Ts::Host, 22), (Ts::Connection, 12)],
            ids: &[(Id::Zero, 34), (Id::Random, 13)],
        },
        Some(System::NoTimestamps) => Habits {
            ports: &[(Port::Random, 18), (Port::PlusOne, 12)],
            ts: &[(Ts::None, 32)],
            ids: &[(Id::Connection, 1)],
        },
        Some(System::Bare) => Habits {
            ports: &[(Port::PlusOne, 4), (Port::Random, 4)],
            ts: &[(Ts::None, 8), (Ts::Host, 3)],
            ids: &[(Id::Global, 4), (Id::Connection, 4)],
        },
        // Mostly Linux with another window.
        None => Habits {
            ports: &[(Port::EvenStep, 13), (Port::PlusOne, 2), (Port::Random, 2)],
            ts: &[(Ts::Host, 12), (Ts::Pair, 4)],
            ids: &[(Id::Connection, 16), (Id::Global, 1)],
        },
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn values_are_drawn_by_their_weights() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            counts[weighted(&[(0, 6), (1, 0), (2, 4)], &mut random)] += 1;
        }
        assert!((5_800..6_200).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
    }

    #[test]
    fn systems_have_the_policies_that_are_theirs() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut share = |system, is: fn(Policies) -> bool| {
            let drawn = (0..1_000).filter(|_| is(Policies::of_client(Some(system), &mut random)));
            drawn.count()
        };
        let clock = |of: Policies| of.ts == TsPolicy::Pair;
        assert!((900..980).contains(&share(HostSystem::Linux5, clock)));
        assert_eq!(share(HostSystem::Linux26, clock), 0);
        assert!(share(HostSystem::Windows, |of| of.ports == PortPolicy::PlusOne) > 900);
        assert_eq!(share(HostSystem::Windows, |of| of.ids == IdPolicy::Connection), 0);
    }
}
