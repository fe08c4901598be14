//! Machines behind generated addresses: flows that share an address have one TCP stack.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use flowtrack::{Direction, Flow};
use rand::{Rng, RngExt};
use tcpwire::options;

use crate::networks::Network;

/// Greatest number of addresses whose stack is remembered.
const REMEMBERED_HOSTS: usize = 1 << 16;
/// Number of addresses drawn in search of one whose machine has the stack.
const TRIES: usize = 64;

/// Marks by which a passive observer tells machines apart: the TTL of a side's first packet and the
/// kinds of its options.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stack {
    ttl: u8,
    option_kinds: Vec<u8>,
}

impl Stack {
    /// Returns the stack of a side, as the first packets of a flow show it.
    pub(crate) fn from_opening(opening: &Flow, d: Direction) -> Stack {
        let Some(first) = opening.packets.iter().find(|p| p.direction == d) else {
            return Stack::default();
        };
        let kinds = options(opening.options_of(first)).filter_map(|option| option.kind());
        Stack { ttl: first.ttl, option_kinds: kinds.collect() }
    }
}

/// Stacks of the machines of one role, by address.
#[derive(Default)]
pub(crate) struct Hosts {
    stacks: HashMap<IpAddr, Stack>,
    /// Addresses by stack: of IPv4, and of IPv6.
    addresses: [HashMap<Stack, Vec<IpAddr>>; 2],
}

impl Hosts {
    /// Draws the address of a machine in `network` that has this stack: one that flows have already
    /// with a probability of n² in n² + 1 if n are known and `is_shared`, else a new one. Once all
    /// addresses drawn belong to machines of other stacks, a known one is taken, or any.
    pub(crate) fn draw(
        &self,
        stack: &Stack,
        network: Network,
        is_shared: bool,
        random: &mut impl Rng,
    ) -> IpAddr {
        let of_version = &self.addresses[usize::from(network.addr.is_ipv6())];
        let known = of_version.get(stack).map_or(&[][..], Vec::as_slice);
        let squared = (known.len() * known.len()) as f64;
        if is_shared && random.random_bool(squared / (squared + 1.0)) {
            return known[random.random_range(0..known.len())];
        }
        let mut drawn = network.host(random_host(random));
        for _ in 0..TRIES {
            if self.stacks.get(&drawn).is_none_or(|of| of == stack) {
                return drawn;
            }
            drawn = network.host(random_host(random));
        }
        if known.is_empty() { drawn } else { known[random.random_range(0..known.len())] }
    }

    /// Records that a flow with this stack has this address.
    pub(crate) fn add(&mut self, addr: IpAddr, stack: Stack) {
        if self.stacks.len() < REMEMBERED_HOSTS
            && let Entry::Vacant(entry) = self.stacks.entry(addr)
        {
            entry.insert(stack.clone());
            self.addresses[usize::from(addr.is_ipv6())].entry(stack).or_default().push(addr);
        }
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

    #[test]
    fn an_address_has_one_stack_while_the_network_has_room() {
        let network: Network = "198.18.0.0/24".parse().unwrap();
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        let stack = |ttl| Stack { ttl, option_kinds: vec![2, 4] };
        let mut seen = HashMap::new();
        for i in 0..2_000_u32 {
            let stack = stack(40 + (i % 20) as u8);
            let addr = hosts.draw(&stack, network, true, &mut random);
            hosts.add(addr, stack.clone());
            assert_eq!(seen.entry(addr).or_insert_with(|| stack.clone()), &stack);
        }
        // Machines are shared, and there are several of a kind.
        assert!((60..=254).contains(&seen.len()), "{}", seen.len());
    }

    #[test]
    fn each_ip_version_has_its_machines() {
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        let networks = ["198.18.0.0/24", "2001:db8:5::/120"].map(|n| n.parse::<Network>().unwrap());
        for i in 0..100 {
            let network = networks[i % 2];
            let addr = hosts.draw(&Stack::default(), network, true, &mut random);
            hosts.add(addr, Stack::default());
            assert_eq!(addr.is_ipv6(), network.addr.is_ipv6());
        }
    }

    #[test]
    fn a_full_network_gives_addresses_all_the_same() {
        let network: Network = "192.0.2.1/32".parse().unwrap();
        let (mut hosts, mut random) = (Hosts::default(), ChaCha8Rng::seed_from_u64(1));
        for ttl in 1..9 {
            let stack = Stack { ttl, option_kinds: Vec::new() };
            let addr = hosts.draw(&stack, network, false, &mut random);
            assert_eq!(addr, network.addr);
            hosts.add(addr, stack);
        }
    }
}
