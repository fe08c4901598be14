//! Machines behind generated addresses: flows that share an address have one TCP stack.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use rand::{Rng, RngExt};

use crate::machine::{Machine, MachineId};
use crate::networks::Network;
use crate::stack::Stack;

/// Greatest number of machines that are remembered, but for those of a hosts table.
const REMEMBERED_HOSTS: usize = 1 << 16;
/// Number of addresses drawn in search of one whose machine has the stack.
const TRIES: usize = 64;

/// Machines of one role, by address.
#[derive(Default)]
pub(crate) struct Hosts {
    machines: HashMap<MachineId, Machine>,
    /// Addresses by stack: of IPv4, and of IPv6.
    addresses: [BTreeMap<Stack, Vec<IpAddr>>; 2],
    /// Last machine beyond those that are remembered.
    spare: Option<Machine>,
}

impl Hosts {
    /// Draws the address of a machine in `network` that has this stack: one that flows have already
    /// with a probability of n² in n² + 1 if n are known and `is_shared`, else a new one. Once all
    /// addresses drawn belong to machines of other stacks, a known one is taken, or that of the
    /// nearest stack.
    pub(crate) fn draw(
        &self,
        stack: &Stack,
        network: Network,
        is_shared: bool,
        random: &mut impl Rng,
    ) -> IpAddr {
        let known = self.known(stack, network);
        let squared = (known.len() * known.len()) as f64;
        if is_shared && random.random_bool(squared / (squared + 1.0)) {
            return known[random.random_range(0..known.len())];
        }
        let mut drawn = network.host(random_host(random));
        for _ in 0..TRIES {
            let machine = self.machines.get(&MachineId::Addr(drawn));
            if machine.is_none_or(|machine| machine.stack == *stack) {
                return drawn;
            }
            drawn = network.host(random_host(random));
        }
        let of_version = &self.addresses[usize::from(network.addr.is_ipv6())];
        let nearest = of_version.iter().min_by_key(|(other, _)| stack.distance(other));
        match (known, nearest) {
            ([], None) => drawn,
            ([], Some((_, near))) => near[random.random_range(0..near.len())],
            (known, _) => known[random.random_range(0..known.len())],
        }
    }

    /// Returns the addresses of machines that have this stack, of the IP version of `network`.
    pub(crate) fn known(&self, stack: &Stack, network: Network) -> &[IpAddr] {
        let of_version = &self.addresses[usize::from(network.addr.is_ipv6())];
        of_version.get(stack).map_or(&[], Vec::as_slice)
    }

    /// Returns a machine that flows have already.
    pub(crate) fn get(&self, id: MachineId) -> Option<&Machine> {
        self.machines.get(&id)
    }

    /// Returns a machine, made by `create` where it is not remembered.
    pub(crate) fn machine(
        &mut self,
        id: MachineId,
        create: impl FnOnce() -> Machine,
    ) -> &mut Machine {
        let is_many = matches!(id, MachineId::Addr(_)) && self.machines.len() >= REMEMBERED_HOSTS;
        if is_many && !self.machines.contains_key(&id) {
            return self.spare.insert(create());
        }
        let addresses = &mut self.addresses;
        self.machines.entry(id).or_insert_with(|| {
            let machine = create();
            if let MachineId::Addr(addr) = id {
                let of_version = &mut addresses[usize::from(addr.is_ipv6())];
                of_version.entry(machine.stack.clone()).or_default().push(addr);
            }
            machine
        })
    }
}

/// Draws 128 bits for the host part of an address.
fn random_host(random: &mut impl Rng) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::habits::Policies;
    use crate::machine::HostClock;

    fn add(hosts: &mut Hosts, addr: IpAddr, stack: &Stack) {
        let id = MachineId::Addr(addr);
        let policies = Policies::of_server(&mut ChaCha8Rng::seed_from_u64(1));
        let clock = HostClock { base: None, origin_ns: 0, tick_ns: 1 };
        hosts.machine(id, || Machine::new(id, stack.clone(), policies, false, clock));
    }

    #[test]
    fn an_address_has_one_stack_while_the_network_has_room() {
        let network: Network = "198.18.0.0/24".parse().unwrap();
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        let stack = |ttl| Stack { ttl, ..Stack::default() };
        let mut seen = HashMap::new();
        for i in 0..2_000_u32 {
            let stack = stack(40 + (i % 20) as u8);
            let addr = hosts.draw(&stack, network, true, &mut random);
            add(&mut hosts, addr, &stack);
            assert_eq!(seen.entry(addr).or_insert_with(|| stack.clone()), &stack);
        }
        // Machines are shared, and there are several of a kind.
        assert!((60..=254).contains(&seen.len()), "{}", seen.len());
    }

    #[test]
    fn a_full_network_gives_the_nearest_stack() {
        let network: Network = "192.0.2.0/30".parse().unwrap();
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        let stack = |ttl, mss| Stack { ttl, mss, ..Stack::default() };
        let first = hosts.draw(&stack(64, 1_460), network, true, &mut random);
        add(&mut hosts, first, &stack(64, 1_460));
        let second = hosts.draw(&stack(52, 1_460), network, true, &mut random);
        add(&mut hosts, second, &stack(52, 1_460));
        assert_ne!(first, second);
        assert_eq!(hosts.draw(&stack(54, 1_460), network, true, &mut random), second);
        assert_eq!(hosts.draw(&stack(63, 1_400), network, true, &mut random), first);
    }

    #[test]
    fn each_ip_version_has_its_machines() {
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        let networks = ["198.18.0.0/24", "2001:db8:5::/120"].map(|n| n.parse::<Network>().unwrap());
        for i in 0..100 {
            let network = networks[i % 2];
            let addr = hosts.draw(&Stack::default(), network, true, &mut random);
            add(&mut hosts, addr, &Stack::default());
            assert_eq!(addr.is_ipv6(), network.addr.is_ipv6());
        }
    }

    #[test]
    fn a_full_network_gives_addresses_all_the_same() {
        let network: Network = "192.0.2.1/32".parse().unwrap();
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        for ttl in 1..9 {
            let stack = Stack { ttl, ..Stack::default() };
            let addr = hosts.draw(&stack, network, false, &mut random);
            assert_eq!(addr, network.addr);
            add(&mut hosts, addr, &stack);
        }
    }
}
