//! TCP options.

use flowtrack::{Direction, Packet};
use tcpwire::{Flags, SeqNum};

use super::FlowState;
use super::sender::{Offer, OptionPattern};
use crate::field::delta::{OptionsDelta, PacketDelta, PacketKind, WindowDelta};
use crate::field::options::{self, Element, Elements, SackDelta, Timestamps};
use crate::field::send_space::SeqRange;
use crate::field::vocab;

impl FlowState {
    /// Returns whether the expected options of side `d` are `[NOP, NOP, timestamps]`.
    fn expects_plain_timestamps(&self, d: Direction, flags: Flags) -> bool {
        if flags.bits() & (Flags::SYN.bits() | Flags::RST.bits()) != 0 {
            return false;
        }
        match self.sides[d.index()].option_pattern {
            // RFC 7323, section 3.2: once both SYNs carried timestamps, every packet but a RST must
            // carry them.
            OptionPattern::Unknown => self.agreed(|o| o.timestamps),
            pattern => pattern == OptionPattern::PlainTimestamps,
        }
    }

    /// Returns whether side `d` is expected to send no options.
    fn expects_no_options(&self, d: Direction, flags: Flags) -> bool {
        if flags.contains(Flags::RST) {
            return !flags.contains(Flags::SYN);
        }
        let side = &self.sides[d.index()];
        if flags.contains(Flags::SYN) {
            return side.syn_options.list.is_empty();
        }
        match side.option_pattern {
            OptionPattern::Unknown => !self.agreed(|o| o.timestamps),
            pattern => pattern == OptionPattern::Empty,
        }
    }

    /// Returns the expected elements, which are neither plain timestamps nor none.
    fn expected_elements(&self, d: Direction, flags: Flags, has_payload: bool) -> &Elements {
        let side = &self.sides[d.index()];
        if flags.contains(Flags::SYN) {
            return &side.syn_options;
        }
        // Version 1 knows the last options alone.
        let [without, with] = &side.layouts;
        let own = if has_payload && !self.is_version_1 { with } else { without };
        if own.list.is_empty() && !self.is_version_1 {
            &side.layouts[usize::from(!has_payload)]
        } else {
            own
        }
    }

    /// Returns the function that tells how many octets of an option tokens say: all in version 1.
    fn said_octets(&self) -> fn(u8, u8) -> u8 {
        if self.is_version_1 { |_, len| len - 2 } else { options::said_octets }
    }

    /// Encodes the options of a packet into `delta`, without its timestamps, which are returned.
    /// `ack` is its acknowledgment, as an offset.
    pub(super) fn encode_options(
        &mut self,
        packet: &Packet,
        octets: &[u8],
        ack: i64,
        delta: &mut PacketDelta,
    ) -> Option<Timestamps> {
        let (d, flags) = (packet.direction, packet.flags);
        // The two common cases need no parser.
        if let Some(ts) = options::plain_timestamps(octets)
            && self.expects_plain_timestamps(d, flags)
        {
            return Some(ts);
        }
        if octets.is_empty() && self.expects_no_options(d, flags) {
            return None;
        }
        let said = self.said_octets();
        let all_digits = &mut self.identity.option_digits;
        let parsed = options::parse(octets, &mut delta.elements, said, |digits| {
            if !digits.is_empty() {
                all_digits.get_or_insert_default().extend_from_slice(digits);
            }
        });
        let mut blocks = parsed.blocks.iter();
        for &element in &delta.elements.list {
            let Element::Sack(n) = element else { continue };
            for &(left, right) in blocks.by_ref().take(usize::from(n)) {
                delta.elements.sacks.push(self.encode_sack(d, ack, left, right));
            }
        }
        let expects_plain = self.expects_plain_timestamps(d, flags);
        if !expects_plain
            && !self.expects_no_options(d, flags)
            && *self.expected_elements(d, flags, packet.payload_len > 0) == delta.elements
        {
            delta.elements.clear();
            return parsed.timestamps;
        }
        delta.options = match options::layout_of(&delta.elements) {
            Some(layout) => OptionsDelta::Layout(layout),
            None => match self.recent_options.iter().position(|e| *e == delta.elements) {
                Some(k) => {
                    delta.elements.clear();
                    OptionsDelta::Recent(k as u8)
                }
                None => OptionsDelta::List,
            },
        };
        parsed.timestamps
    }

    /// Replaces the window and the options of a SYN by the set that has both, if there is one.
    pub(super) fn encode_syn_set(window: u16, delta: &mut PacketDelta) {
        if !matches!(delta.options, OptionsDelta::Layout(_)) || !delta.kind.pattern.is_syn() {
            return;
        }
        let list = &delta.elements.list;
        let is_same =
            |set: &vocab::SynSet| set.window == window && set.elements().eq(list.iter().copied());
        if let Some(i) = vocab::SYN_SETS.iter().position(is_same) {
            delta.window = WindowDelta::SynSet(i as u8);
        }
    }

    /// Returns the delta of a SACK block: a run of segments above the acknowledgment if both edges
    /// are edges of segments, or a segment that came twice.
    fn encode_sack(&self, d: Direction, ack: i64, left: u32, right: u32) -> SackDelta {
        let space = &self.pair(d).1.space;
        let (from, to) = (space.offset(SeqNum(left)), space.offset(SeqNum(right)));
        let raw = SackDelta::Raw { left: (from - ack) as u32, len: right.wrapping_sub(left) };
        let first = space.first_above(ack);
        let run = || {
            let start = space.index_starting_at(from)?;
            let (at, more) =
                (start.checked_sub(first)?, space.index_ending_at(to)?.checked_sub(start)?);
            (at < vocab::SACK_AT.count() && more < vocab::SACK_COUNT.count())
                .then_some(SackDelta::Segments { at: at as u8, count: more as u8 })
        };
        let repeated = || {
            let k = space.repeated().position(|s| s == SeqRange { start: from, end: to })?;
            Some(SackDelta::Repeated(k as u8))
        };
        run().or_else(repeated).unwrap_or(raw)
    }

    /// Returns the left and the right edge of a SACK block, as sequence numbers.
    fn decode_sack(&self, d: Direction, ack: i64, delta: SackDelta) -> (u32, u32) {
        let space = &self.pair(d).1.space;
        match delta {
            SackDelta::Segments { at, count } => {
                let first = space.first_above(ack) + usize::from(at);
                let start = space.oldest(first).map_or(ack, |s| s.start);
                let end = space.oldest(first + usize::from(count)).map_or(start, |s| s.end);
                (space.number(start).0, space.number(end).0)
            }
            SackDelta::Repeated(k) => {
                let range = space.repeated().nth(k.into());
                let SeqRange { start, end } = range.unwrap_or(SeqRange { start: ack, end: ack });
                (space.number(start).0, space.number(end).0)
            }
            SackDelta::Raw { left, len } => {
                let left = space.number(ack + i64::from(left as i32)).0;
                (left, left.wrapping_add(len))
            }
        }
    }

    /// Appends the option octets of a packet to `out`. `ack` is its acknowledgment, as an offset.
    pub(super) fn decode_options(
        &mut self,
        delta: &PacketDelta,
        ack: i64,
        time_ns: i64,
        out: &mut Vec<u8>,
    ) {
        let (d, flags) = (delta.kind.direction, delta.flags());
        if delta.options == OptionsDelta::Expected && self.expects_no_options(d, flags) {
            return;
        }
        if delta.options == OptionsDelta::Expected && self.expects_plain_timestamps(d, flags) {
            let ts = self.decode_timestamps(delta, ack, time_ns);
            out.extend_from_slice(&options::PLAIN_TS);
            out.extend_from_slice(&ts.value.to_be_bytes());
            out.extend_from_slice(&ts.echo.to_be_bytes());
            return;
        }
        // The clocks of timestamps are bound before their values are known.
        let ts =
            self.will_carry_timestamps(delta).then(|| self.decode_timestamps(delta, ack, time_ns));
        let mut used = self.option_digits;
        if let Some(elements) = self.decoded_elements(delta, flags) {
            let block = |sack| self.decode_sack(d, ack, sack);
            let digits = |kind, count, out: &mut Vec<u8>| {
                self.push_option_digits(d, kind, used, count, out);
                used += count;
            };
            options::render(elements, ts, block, digits, out);
        }
        self.option_digits = used;
    }

    /// Returns the option elements of a packet, which are neither the expected plain timestamps nor
    /// the expected none; `None` if there is no such list.
    fn decoded_elements<'a>(
        &'a self,
        delta: &'a PacketDelta,
        flags: Flags,
    ) -> Option<&'a Elements> {
        let PacketKind { direction: d, has_payload, .. } = delta.kind;
        match delta.options {
            OptionsDelta::Expected => Some(self.expected_elements(d, flags, has_payload)),
            OptionsDelta::Recent(k) => self.recent_options.get(usize::from(k)),
            OptionsDelta::Layout(_) | OptionsDelta::List => Some(&delta.elements),
        }
    }

    /// Returns whether a packet will carry timestamps, once its options are decoded.
    pub(crate) fn will_carry_timestamps(&self, delta: &PacketDelta) -> bool {
        let (d, flags) = (delta.kind.direction, delta.flags());
        if delta.options == OptionsDelta::Expected {
            if self.expects_plain_timestamps(d, flags) {
                return true;
            }
            if self.expects_no_options(d, flags) {
                return false;
            }
        }
        self.decoded_elements(delta, flags).is_some_and(|e| e.list.contains(&Element::Ts))
    }

    /// Returns the timestamps among the option octets of a packet.
    pub(super) fn parse_timestamps(&mut self, octets: &[u8]) -> Option<Timestamps> {
        if octets.is_empty() {
            return None;
        }
        options::plain_timestamps(octets).or_else(|| {
            let mut scratch = std::mem::take(&mut self.elements);
            let parsed = options::parse(octets, &mut scratch, self.said_octets(), |_| ());
            self.elements = scratch;
            parsed.timestamps
        })
    }

    /// Updates the offer or the option pattern of the sender with a packet.
    pub(super) fn update_options(&mut self, packet: &Packet, octets: &[u8]) {
        let d = packet.direction;
        let flags = packet.flags;
        if flags.contains(Flags::RST) {
            return;
        }
        if !flags.contains(Flags::SYN) {
            // The two common cases change nothing.
            let pattern = self.sides[d.index()].option_pattern;
            if octets.is_empty() && pattern == OptionPattern::Empty {
                return;
            }
            if pattern == OptionPattern::PlainTimestamps
                && options::plain_timestamps(octets).is_some()
            {
                return;
            }
        }
        let mut elements = std::mem::take(&mut self.elements);
        options::parse(octets, &mut elements, self.said_octets(), |_| ());
        let side = &mut self.sides[d.index()];
        // SACK blocks come and go, so that a packet with them sets no pattern.
        let has_sack = elements.list.iter().any(|e| matches!(e, Element::Sack(_)));
        if flags.contains(Flags::SYN) {
            side.offer = offer_of(&elements);
            if has_sack {
                side.syn_options.clear();
            } else {
                side.syn_options.clone_from(&elements);
            }
        } else if !has_sack {
            side.option_pattern = match &elements.list[..] {
                [] => OptionPattern::Empty,
                list if list == options::LAYOUTS[1] => OptionPattern::PlainTimestamps,
                _ => OptionPattern::Other,
            };
            let class = usize::from(packet.payload_len > 0 && !self.is_version_1);
            side.layouts[class].clone_from(&elements);
            if side.option_pattern == OptionPattern::Other {
                self.note_recent(&elements);
            }
        }
        self.elements = elements;
    }

    /// Returns the number of lists of options that a packet may have by [`OptionsDelta::Recent`].
    pub(crate) fn recent_options(&self) -> usize {
        self.recent_options.len()
    }

    /// Moves a list of options to the front of the recent ones, unless it has a layout.
    fn note_recent(&mut self, elements: &Elements) {
        if options::layout_of(elements).is_some() {
            return;
        }
        let recent = &mut self.recent_options;
        let at = match recent.iter().position(|e| e == elements) {
            Some(at) => at,
            None if recent.len() < vocab::OPT_RECENT.count() => {
                recent.push(elements.clone());
                recent.len() - 1
            }
            None => {
                recent[vocab::OPT_RECENT.count() - 1].clone_from(elements);
                recent.len() - 1
            }
        };
        recent[..=at].rotate_right(1);
    }
}

/// Returns the offer of a SYN with these option elements.
fn offer_of(elements: &Elements) -> Offer {
    let mut offer = Offer::default();
    for &element in &elements.list {
        match element {
            Element::Mss(mss) => offer.mss = Some(mss),
            Element::Ws(shift) => offer.scale = Some(shift),
            Element::SackPermitted => offer.sack = true,
            Element::Ts => offer.timestamps = true,
            _ => {}
        }
    }
    offer
}
