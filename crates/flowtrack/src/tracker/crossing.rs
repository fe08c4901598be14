//! Conversations that stand under several VLANs, virtual networks or interfaces at once.

use std::fmt;

use bitflags::bitflags;
use tcpwire::Tags;

use crate::Direction;

bitflags! {
    /// Kinds of [`Tags`] in a frame.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TagKinds: u8 {
        /// Identifiers of VLAN tags.
        const VLAN = 1;
        /// Virtual network identifiers of VXLAN, Geneve and NVGRE.
        const VNI = 1 << 1;
        /// Interfaces of a pcapng section.
        const INTERFACE = 1 << 2;
    }
}

impl TagKinds {
    /// Names in messages, by kind.
    const NAMES: [(TagKinds, &'static str); 3] = [
        (TagKinds::VLAN, "VLANs"),
        (TagKinds::VNI, "virtual networks"),
        (TagKinds::INTERFACE, "interfaces"),
    ];

    /// Returns the kinds in which two frames differ.
    fn between(a: Tags, b: Tags) -> TagKinds {
        let mut kinds = TagKinds::empty();
        kinds.set(TagKinds::VLAN, a.vlan != b.vlan);
        kinds.set(TagKinds::VNI, a.vni != b.vni);
        kinds.set(TagKinds::INTERFACE, a.interface != b.interface);
        kinds
    }

    /// Returns the tags of these kinds, and 0 in place of the others.
    pub(crate) fn of(self, tags: Tags) -> Tags {
        let chosen = |kind, tag| if self.contains(kind) { tag } else { 0 };
        Tags {
            vlan: chosen(TagKinds::VLAN, tags.vlan),
            vni: chosen(TagKinds::VNI, tags.vni),
            interface: chosen(TagKinds::INTERFACE, tags.interface),
        }
    }
}

impl fmt::Display for TagKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = TagKinds::NAMES.iter().filter(|(kind, _)| self.contains(*kind));
        if let Some((_, first)) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|(_, name)| write!(f, " and {name}"))
    }
}

/// Number of changes after which one direction stands under several tags at once. A host that moves
/// to another network once, and sends its first packet before, makes two.
const MAX_CHANGES: u8 = 2;

/// Tags of a conversation by direction. A router may see each direction under tags of its own; one
/// direction under two of them in turn is two conversations, or one that was captured twice.
#[derive(Debug)]
pub(crate) struct TagHistory {
    current: [Tags; 2],
    changes: Option<Box<Changes>>,
}

/// Changes of a conversation's tags so far.
#[derive(Debug)]
struct Changes {
    /// Tags before the last change, by direction.
    before: [Tags; 2],
    /// Number of changes, by direction.
    count: [u8; 2],
    kinds: TagKinds,
    is_crossed: bool,
}

impl TagHistory {
    /// Creates the history of a conversation whose first packet has these tags.
    pub(crate) fn new(tags: Tags) -> Self {
        TagHistory { current: [tags; 2], changes: None }
    }

    /// Records the tags of a packet.
    #[inline]
    pub(crate) fn record(&mut self, tags: Tags, direction: Direction) {
        if self.current[direction.index()] != tags {
            self.change(tags, direction.index());
        }
    }

    #[cold]
    fn change(&mut self, tags: Tags, own: usize) {
        let changes = self.changes.get_or_insert_with(|| {
            let (count, kinds) = ([0; 2], TagKinds::empty());
            Box::new(Changes { before: self.current, count, kinds, is_crossed: false })
        });
        let current = std::mem::replace(&mut self.current[own], tags);
        let before = std::mem::replace(&mut changes.before[own], current);
        let is_first = changes.count[own] == 0;
        changes.count[own] = changes.count[own].saturating_add(1);
        // The first change of a direction may be the first packet of that direction.
        changes.is_crossed |= !is_first && before == tags || changes.count[own] > MAX_CHANGES;
        changes.kinds |= TagKinds::between(current, tags);
    }

    /// Returns the kinds of tags that one direction stands under in turn, if there are any.
    pub(crate) fn crossing(&self) -> Option<TagKinds> {
        self.changes.as_ref().and_then(|changes| changes.is_crossed.then_some(changes.kinds))
    }
}
