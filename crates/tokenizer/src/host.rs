//! How a host gives numbers to its flows: names of policies, and the system that a SYN shows.

use flowtrack::Packet;

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

/// Kinds of TCP options (IANA).
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const SCALE: u8 = 3;
    pub(super) const SACK: u8 = 4;
    pub(super) const TS: u8 = 8;
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
        use kind::{END, MSS, NOP, SACK, SCALE, TS};
        let (kinds, mss) = kinds(options);
        let is_low = syn.ttl <= 64;
        match kinds[..] {
            [MSS, SACK, TS, NOP, SCALE] if is_low => {
                let window = u32::from(syn.window);
                match (window / u32::from(mss.max(1)), window) {
                    (_, 65_535) => Some(HostSystem::Android),
                    (44..=46, _) => Some(HostSystem::Linux5),
                    (20, _) => Some(HostSystem::Linux4),
                    (10, _) => Some(HostSystem::Linux3),
                    (4, _) => Some(HostSystem::Linux26),
                    _ => None,
                }
            }
            [MSS, NOP, SCALE, NOP, NOP, TS, SACK, END, END] => Some(HostSystem::Apple),
            [MSS, NOP, SCALE, NOP, NOP, SACK] | [MSS, NOP, NOP, SACK] => {
                Some(if is_low { HostSystem::NoTimestamps } else { HostSystem::Windows })
            }
            [MSS] | [] => Some(HostSystem::Bare),
            _ if is_low && !kinds.contains(&TS) => Some(HostSystem::NoTimestamps),
            _ => None,
        }
    }
}

/// Returns the kinds of options in order, and the MSS, 0 if there is none.
fn kinds(options: &[u8]) -> (Vec<u8>, u16) {
    let (mut kinds, mut mss, mut at) = (Vec::new(), 0, 0);
    while let Some(&kind) = options.get(at) {
        kinds.push(kind);
        if matches!(kind, kind::END | kind::NOP) {
            at += 1;
            continue;
        }
        if let (kind::MSS, Some(&[high, low])) = (kind, options.get(at + 2..at + 4)) {
            mss = u16::from_be_bytes([high, low]);
        }
        at += usize::from(options.get(at + 1).copied().unwrap_or(0)).max(2);
    }
    (kinds, mss)
}
