//! How a host gives numbers to its flows: names of policies, and the system that a SYN shows.

use flowtrack::Packet;
use tcpwire::{TcpOption, option_kind};

/// Defines an enum whose values have names in files.
macro_rules! named {
    (
        $(#[$doc:meta])* $type:ident { $($(#[$of:meta])* $value:ident = $name:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $type {
            $($(#[$of])* $value,)*
        }

        impl $type {
            /// All values, in order.
            pub const ALL: &[$type] = &[$($type::$value,)*];
            /// Names of all values, for messages.
            pub const NAMES: &str = concat!("one of", $(" ", $name,)*);

            /// Returns the name of the value in files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($type::$value => $name,)*
                }
            }

            /// Returns the value of a name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<$type> {
                $type::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

named! {
    /// Side that a host is on in its flows.
    HostRole {
        /// The host opened the flows.
        Client = "client",
        /// The host accepted the flows.
        Server = "server",
    }
}

named! {
    /// Choice of the client port of the next flow (RFC 6056).
    PortPolicy {
        /// Up by an even step for each destination, as Linux 4.2 and later.
        EvenStep = "even_step",
        /// Up by one, or by little where other sockets took numbers.
        PlusOne = "plus_one",
        /// Anywhere in a range.
        Random = "random",
        /// One port for all flows.
        Fixed = "fixed",
    }
}

named! {
    /// Extent of one clock of TSval (RFC 7323, section 5.4).
    TsPolicy {
        /// One clock for the host.
        Host = "host",
        /// An offset for each pair of addresses.
        Pair = "pair",
        /// An offset for each connection.
        Connection = "connection",
        /// No clock: packets have no timestamps.
        None = "none",
    }
}

named! {
    /// Extent of one counter of IPv4 identifications.
    IdPolicy {
        /// A counter for each connection.
        Connection = "connection",
        /// A counter for each destination.
        Destination = "destination",
        /// One counter for the host.
        Global = "global",
        /// A zero in each packet.
        Zero = "zero",
        /// A random number for each packet.
        Random = "random",
    }
}

named! {
    /// Family of systems that a SYN shows, by its options, TTL and window.
    HostSystem {
        /// Linux 5 and later, and late 4: a window of 44 to 46 segments.
        Linux5 = "linux-5",
        /// Linux 4: 20 segments.
        Linux4 = "linux-4",
        /// Linux 3: 10 segments.
        Linux3 = "linux-3",
        /// Linux 2.6: 4 segments.
        Linux26 = "linux-2.6",
        /// Options of Linux with the largest window: Android, set-top boxes.
        Android = "android",
        /// Windows: no timestamps, a TTL of 128.
        Windows = "windows",
        /// macOS, iOS and relatives.
        Apple = "apple",
        /// Options without timestamps, a TTL of 64.
        NoTimestamps = "no-timestamps",
        /// MSS alone, or no option: lwIP, scanners.
        Bare = "bare",
    }
}

impl HostSystem {
    /// Returns the system that a SYN shows, with its option octets; `None` if the SYN is that of
    /// none.
    ///
    /// ```
    /// use tokenizer::host::HostSystem;
    ///
    /// let mut syn = tokenizer::field::doc::worked_flow().packets[0];
    /// // MSS 1460, SACK permitted, timestamps, NOP, window scale 7.
    /// let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    /// (syn.ttl, syn.window) = (64, 44 * 1460);
    /// assert_eq!(HostSystem::of_syn(&syn, &options), Some(HostSystem::Linux5));
    /// ```
    #[must_use]
    pub fn of_syn(syn: &Packet, options: &[u8]) -> Option<HostSystem> {
        use option_kind::{
            END_OF_LIST as END, MSS, NOP, SACK_PERMITTED as SACK, TIMESTAMPS as TS,
            WINDOW_SCALE as SCALE,
        };
        let mss = tcpwire::options(options).find(|option| option.kind() == Some(MSS));
        let mss = mss.and_then(|option| Some(u16::from_be_bytes(*option.data().first_chunk()?)));
        let mss = mss.unwrap_or(0).max(1);
        let kinds: Vec<u8> = tcpwire::options(options).filter_map(TcpOption::kind).collect();
        let is_low = syn.ttl <= 64;
        match kinds[..] {
            [MSS, SACK, TS, NOP, SCALE] if is_low => {
                let window = u32::from(syn.window);
                match (window / u32::from(mss), window) {
                    (_, 65_535) => Some(HostSystem::Android),
                    (44..=46, _) => Some(HostSystem::Linux5),
                    (20, _) => Some(HostSystem::Linux4),
                    (10, _) => Some(HostSystem::Linux3),
                    (4, _) => Some(HostSystem::Linux26),
                    _ => None,
                }
            }
            [MSS, NOP, SCALE, NOP, NOP, TS, SACK, END] => Some(HostSystem::Apple),
            [MSS, NOP, SCALE, NOP, NOP, SACK] | [MSS, NOP, NOP, SACK] => {
                Some(if is_low { HostSystem::NoTimestamps } else { HostSystem::Windows })
            }
            [MSS] | [] => Some(HostSystem::Bare),
            _ if is_low && !kinds.contains(&TS) => Some(HostSystem::NoTimestamps),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_those_of_their_syns() {
        let check = |ttl, window, options: &[u8], expected| {
            let syn = Packet { ttl, window, ..crate::field::doc::worked_flow().packets[0] };
            assert_eq!(HostSystem::of_syn(&syn, options), expected);
        };
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        check(64, 64_240, &linux, Some(HostSystem::Linux5));
        check(50, 29_200, &linux, Some(HostSystem::Linux4));
        check(64, 14_600, &linux, Some(HostSystem::Linux3));
        check(64, 5_840, &linux, Some(HostSystem::Linux26));
        check(64, 65_535, &linux, Some(HostSystem::Android));
        check(64, 20_000, &linux, None);
        let windows = [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
        check(128, 64_240, &windows, Some(HostSystem::Windows));
        check(64, 64_240, &windows, Some(HostSystem::NoTimestamps));
        let apple = [2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 4, 2, 0, 0];
        check(64, 65_535, &apple, Some(HostSystem::Apple));
        check(255, 5_840, &[2, 4, 5, 180], Some(HostSystem::Bare));
        check(255, 1024, &[], Some(HostSystem::Bare));
    }

    #[test]
    fn every_value_has_a_name_of_its_own() {
        for policy in IdPolicy::ALL {
            assert_eq!(IdPolicy::from_name(policy.name()), Some(*policy));
        }
        assert_eq!(PortPolicy::from_name("even_step"), Some(PortPolicy::EvenStep));
        assert_eq!(TsPolicy::from_name("Host"), None);
    }
}
