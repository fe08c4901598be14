//! TCP options (RFC 9293, section 3.2; RFC 7323; RFC 2018) as elements, without loss of a bit.

use tcpwire::{MAX_OPTION_OCTETS, TcpOption, option_kind, options};

use super::vocab::{self, SynSet};

/// A SACK block (RFC 2018, section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SackDelta {
    /// `count + 1` segments of the other side, from the `at`-th one above the acknowledgment on.
    Segments { at: u8, count: u8 },
    /// The `k`-th last segment of the other side that came twice (RFC 2883, section 4).
    Repeated(u8),
    /// Distance of the left edge from the acknowledgment, and length in octets.
    Raw { left: u32, len: u32 },
}

/// An element of TCP options. Every string of option octets is a sequence of elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    Nop,
    Eol,
    Mss(u16),
    Ws(u8),
    SackPermitted,
    /// Timestamps; their values are encoded as TSval and TSecr.
    Ts,
    /// SACK with this number of blocks, which are the next ones in [`Elements::sacks`].
    Sack(u8),
    /// Any other option: kind and length octet, then `said` octets of [`Elements::raw`]. The other
    /// `len - 2 - said` octets are digits, which no token holds.
    Raw {
        kind: u8,
        len: u8,
        said: u8,
    },
    /// This number of octets of [`Elements::raw`] that do not parse as options.
    Octets(u8),
}

impl Element {
    /// Returns the number of octets that the element takes in the header.
    pub(crate) const fn octets(self) -> usize {
        match self {
            Element::Nop | Element::Eol => 1,
            Element::Mss(_) => 4,
            Element::Ws(_) => 3,
            Element::SackPermitted => 2,
            Element::Ts => 10,
            Element::Sack(n) => 2 + 8 * n as usize,
            Element::Raw { len, .. } => len as usize,
            Element::Octets(n) => n as usize,
        }
    }

    /// Returns the hexadecimal digit of the element in [`Elements::key`].
    const fn code(self) -> u64 {
        match self {
            Element::Nop => 1,
            Element::Eol => 2,
            Element::Mss(_) => 3,
            Element::Ws(_) => 4,
            Element::SackPermitted => 5,
            Element::Ts => 6,
            Element::Sack(n) => 6 + n as u64,
            Element::Raw { .. } | Element::Octets(_) => 15,
        }
    }
}

/// Option elements of one packet, with their values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Elements {
    pub(crate) list: Vec<Element>,
    /// SACK blocks of all SACK elements, in order.
    pub(crate) sacks: Vec<SackDelta>,
    /// Octets of all raw elements that tokens say, in order.
    pub(crate) raw: Vec<u8>,
}

/// Returns the number of octets that tokens say of an option of `len` octets without tokens of its
/// own: those that tell its form. All others identify its flow, or follow from what it carries.
pub(crate) fn said_octets(kind: u8, len: u8) -> u8 {
    let form = match kind {
        // RFC 8684, section 3: subtype and flags. RFC 6994, section 3.2: the experiment.
        option_kind::MULTIPATH | option_kind::EXPERIMENT_1 | option_kind::EXPERIMENT_2 => 2,
        // RFC 5482, section 3: the timeout itself.
        option_kind::USER_TIMEOUT => 2,
        _ => 0,
    };
    form.min(len - 2)
}

impl Elements {
    /// Removes every element; keeps the buffers.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.sacks.clear();
        self.raw.clear();
    }

    /// Returns the number of octets that the elements take in the header.
    pub(crate) fn octets(&self) -> usize {
        self.list.iter().map(|e| e.octets()).sum()
    }

    /// Returns the kinds of the elements as one number, by which [`layout_of`] finds their layout:
    /// a hexadecimal digit for each, after a 1. Returns 0 if an element is of a kind that no layout
    /// has.
    fn key(&self) -> u64 {
        if self.list.len() > 15 {
            return 0;
        }
        self.list
            .iter()
            .fold(1, |key, e| if key == 0 || e.code() == 15 { 0 } else { key << 4 | e.code() })
    }
}

/// Kinds of option elements in order. The values of `Mss`, `Ws` and `Sack` are placeholders.
pub(crate) type Layout = &'static [Element];

const N: Element = Element::Nop;
const E: Element = Element::Eol;
const M: Element = Element::Mss(0);
const W: Element = Element::Ws(0);
const P: Element = Element::SackPermitted;
const T: Element = Element::Ts;
const K1: Element = Element::Sack(1);
const K2: Element = Element::Sack(2);
const K3: Element = Element::Sack(3);
const K4: Element = Element::Sack(4);

/// Layouts with a token of their own: the first ones; version 1 has one for each.
pub(crate) const LAYOUTS: [Layout; 28] = [
    &[],
    &[N, N, T],
    &[N, N, K1],
    &[N, N, K2],
    &[N, N, K3],
    &[N, N, K4],
    &[N, N, T, N, N, K1],
    &[N, N, T, N, N, K2],
    &[N, N, T, N, N, K3],
    &[M],
    &[M, P, T, N, W],
    &[M, N, W, N, N, P],
    &[M, N, W, N, N, T, P, E, E],
    &[M, N, W, P, T],
    &[M, N, N, P],
    &[M, N, N, P, N, W],
    &[M, N, W],
    &[M, N, N, T],
    &[M, N, W, N, N, T],
    &[M, P, T],
    &[M, N, W, N, N, T, N, N, P],
    &[M, E, E, E, E],
    &[N, N, T, K1, N, N],
    &[M, W, N],
    &[M, N, N, T, P, E, E],
    &[M, W, N, P, N, N],
    &[N, N, P, M],
    &[M, N, W, N, N, P, N, N, T],
];

const _: () = {
    let mut i = 0;
    while i < LAYOUTS.len() {
        let (mut octets, mut j) = (0, 0);
        while j < LAYOUTS[i].len() {
            octets += LAYOUTS[i][j].octets();
            j += 1;
        }
        assert!(octets % 4 == 0 && octets <= MAX_OPTION_OCTETS, "a layout fills whole words");
        i += 1;
    }
};

/// Returns the layout of `elements` as an index into [`LAYOUTS`], or `None` if it has no token.
pub(crate) fn layout_of(elements: &Elements) -> Option<u8> {
    let key = elements.key();
    if key == 0 {
        return None;
    }
    KEYS[..vocab::LAYOUT.count()].iter().position(|&k| k == key).map(|i| i as u8)
}

impl SynSet {
    /// Returns the option elements of the set.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Element> {
        LAYOUTS[usize::from(self.layout)].iter().map(|&element| match element {
            Element::Mss(_) => Element::Mss(self.mss),
            Element::Ws(_) => Element::Ws(self.shift),
            other => other,
        })
    }
}

/// Keys of the layouts: see [`Elements::key`].
const KEYS: [u64; LAYOUTS.len()] = {
    let mut keys = [1; LAYOUTS.len()];
    let mut i = 0;
    while i < LAYOUTS.len() {
        let mut j = 0;
        while j < LAYOUTS[i].len() {
            keys[i] = keys[i] << 4 | LAYOUTS[i][j].code();
            j += 1;
        }
        i += 1;
    }
    keys
};

/// Values of the timestamps option (RFC 7323, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timestamps {
    /// TSval: the value of the sender's clock.
    pub(crate) value: u32,
    /// TSecr: the TSval of the other side that is echoed.
    pub(crate) echo: u32,
}

/// Values of one packet's options that its elements do not hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) timestamps: Option<Timestamps>,
    /// Left and right edges of the SACK blocks, in order of appearance: at most 4 in one element,
    /// and an element of 1 block is the most that fits after it.
    pub(crate) blocks: [(u32, u32); 5],
}

fn be32(octets: &[u8]) -> u32 {
    u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]])
}

/// Parses option octets into `elements`, whose SACK blocks stay empty: their delta depends on the
/// acknowledgment, so that their edges are returned. `said` returns the number of octets that
/// tokens say of an option: [`said_octets`]; `digits` receives the others.
pub(crate) fn parse(
    octets: &[u8],
    elements: &mut Elements,
    said: fn(u8, u8) -> u8,
    mut digits: impl FnMut(&[u8]),
) -> Parsed {
    elements.clear();
    let mut parsed = Parsed::default();
    let mut blocks = 0;
    for option in options(octets) {
        let element = match option {
            TcpOption::Nop => Element::Nop,
            TcpOption::EndOfList { padding } if padding.iter().all(|&o| o == 0) => {
                // An element for each zero octet, the padding's too.
                elements.list.extend(std::iter::repeat_n(Element::Eol, padding.len()));
                Element::Eol
            }
            TcpOption::EndOfList { padding } => {
                elements.raw.push(option_kind::END_OF_LIST);
                elements.raw.extend_from_slice(padding);
                Element::Octets(padding.len() as u8 + 1)
            }
            TcpOption::Malformed(rest) => {
                elements.raw.extend_from_slice(rest);
                Element::Octets(rest.len() as u8)
            }
            TcpOption::Tlv { kind: option_kind::MSS, data: &[high, low] } => {
                Element::Mss(u16::from_be_bytes([high, low]))
            }
            TcpOption::Tlv { kind: option_kind::WINDOW_SCALE, data: &[shift] } => {
                Element::Ws(shift)
            }
            TcpOption::Tlv { kind: option_kind::SACK_PERMITTED, data: [] } => {
                Element::SackPermitted
            }
            TcpOption::Tlv { kind: option_kind::TIMESTAMPS, data }
                if data.len() == 8 && parsed.timestamps.is_none() =>
            {
                parsed.timestamps = Some(Timestamps { value: be32(data), echo: be32(&data[4..]) });
                Element::Ts
            }
            TcpOption::Tlv { kind: option_kind::SACK, data }
                if matches!(data.len(), 8 | 16 | 24 | 32) =>
            {
                for block in data.chunks_exact(8) {
                    parsed.blocks[blocks] = (be32(block), be32(&block[4..]));
                    blocks += 1;
                }
                Element::Sack((data.len() / 8) as u8)
            }
            TcpOption::Tlv { kind, data } => {
                let len = data.len() as u8 + 2;
                let said = said(kind, len);
                let (form, rest) = data.split_at(said.into());
                elements.raw.extend_from_slice(form);
                digits(rest);
                Element::Raw { kind, len, said }
            }
        };
        elements.list.push(element);
    }
    parsed
}

/// Appends the octets of `elements`: the inverse of [`parse`]. `block` returns the left and the
/// right edge of a SACK block; `digits` appends this number of octets of an option of this kind.
pub(crate) fn render(
    elements: &Elements,
    timestamps: Option<Timestamps>,
    mut block: impl FnMut(SackDelta) -> (u32, u32),
    mut digits: impl FnMut(u8, usize, &mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    let mut sacks = elements.sacks.iter();
    let mut raw = &elements.raw[..];
    for &element in &elements.list {
        match element {
            Element::Nop => out.push(option_kind::NOP),
            Element::Eol => out.push(option_kind::END_OF_LIST),
            Element::Mss(mss) => {
                out.extend_from_slice(&[option_kind::MSS, 4]);
                out.extend_from_slice(&mss.to_be_bytes());
            }
            Element::Ws(shift) => out.extend_from_slice(&[option_kind::WINDOW_SCALE, 3, shift]),
            Element::SackPermitted => out.extend_from_slice(&[option_kind::SACK_PERMITTED, 2]),
            Element::Ts => {
                write_timestamps(timestamps.unwrap_or(Timestamps { value: 0, echo: 0 }), out)
            }
            Element::Sack(n) => {
                out.extend_from_slice(&[option_kind::SACK, 2 + 8 * n]);
                for &sack in sacks.by_ref().take(usize::from(n)) {
                    let (left, right) = block(sack);
                    out.extend_from_slice(&left.to_be_bytes());
                    out.extend_from_slice(&right.to_be_bytes());
                }
            }
            Element::Raw { kind, len, said } => {
                let (now, later) = raw.split_at(said.into());
                out.extend_from_slice(&[kind, len]);
                out.extend_from_slice(now);
                digits(kind, usize::from(len - 2 - said), out);
                raw = later;
            }
            Element::Octets(n) => {
                let (now, later) = raw.split_at(usize::from(n));
                out.extend_from_slice(now);
                raw = later;
            }
        }
    }
}

/// Appends the octets of a timestamps option.
fn write_timestamps(ts: Timestamps, out: &mut Vec<u8>) {
    out.extend_from_slice(&[option_kind::TIMESTAMPS, 10]);
    out.extend_from_slice(&ts.value.to_be_bytes());
    out.extend_from_slice(&ts.echo.to_be_bytes());
}

/// First octets of `[NOP, NOP, timestamps]`, up to the values. Most packets carry these options:
/// RFC 7323, appendix A, recommends the layout for alignment.
pub(crate) const PLAIN_TS: [u8; 4] =
    [option_kind::NOP, option_kind::NOP, option_kind::TIMESTAMPS, 10];

/// Returns the timestamps of the options `[NOP, NOP, timestamps]`, and `None` for all others.
pub(crate) fn plain_timestamps(octets: &[u8]) -> Option<Timestamps> {
    (octets.len() == 12 && octets[..4] == PLAIN_TS)
        .then(|| Timestamps { value: be32(&octets[4..]), echo: be32(&octets[8..]) })
}

/// Returns the TSval of option octets that carry timestamps.
pub(crate) fn timestamp_value(octets: &[u8]) -> Option<u32> {
    if octets.is_empty() {
        return None;
    }
    if let Some(ts) = plain_timestamps(octets) {
        return Some(ts.value);
    }
    let is_wanted =
        |o: &TcpOption<'_>| o.kind() == Some(option_kind::TIMESTAMPS) && o.data().len() == 8;
    options(octets).find(is_wanted).map(|option| be32(option.data()))
}

/// Returns the names of a layout's elements, for the reference document.
pub(crate) fn layout_name(layout: Layout) -> String {
    let name = |e: &Element| match e {
        Element::Nop => "NOP".to_owned(),
        Element::Eol => "EOL".to_owned(),
        Element::Mss(_) => "MSS".to_owned(),
        Element::Ws(_) => "WS".to_owned(),
        Element::SackPermitted => "SACKPERM".to_owned(),
        Element::Ts => "TS".to_owned(),
        Element::Sack(n) => format!("SACK x {n}"),
        Element::Raw { .. } | Element::Octets(_) => "raw".to_owned(),
    };
    if layout.is_empty() {
        "none".to_owned()
    } else {
        layout.iter().map(name).collect::<Vec<_>>().join(" ")
    }
}
