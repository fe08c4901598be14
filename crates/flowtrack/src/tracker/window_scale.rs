//! Window scales that both endpoints offer (RFC 7323, section 2).

use tcpwire::{Segment, option_kind};

/// Largest shift of a window (RFC 7323, section 2.3).
const MAX_SHIFT: u8 = 14;

/// Shift that an endpoint's SYN offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Offer {
    /// No SYN was seen, or not all of its options.
    #[default]
    Unknown,
    /// The SYN has no window scale option.
    None,
    Shift(u8),
}

/// Offers of both endpoints, and what follows for their windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowScales {
    offers: [Offer; 2],
    shifts: [u8; 2],
}

impl Default for WindowScales {
    fn default() -> Self {
        // A window of unknown scale may be of any.
        WindowScales { offers: [Offer::Unknown; 2], shifts: [MAX_SHIFT; 2] }
    }
}

impl WindowScales {
    /// Records the options of a SYN or SYN-ACK of the endpoint `own`.
    pub(crate) fn record_syn(&mut self, segment: &Segment<'_>, own: usize) {
        let offer = offer(segment);
        // A SYN that is sent again offers the same.
        if self.offers[own] == offer {
            return;
        }
        self.offers[own] = offer;
        self.shifts = match self.offers {
            // RFC 7323, section 2.2: windows are scaled if both offer it.
            [Offer::None, _] | [_, Offer::None] => [0; 2],
            offers => offers.map(|offer| match offer {
                Offer::Shift(shift) => shift.min(MAX_SHIFT),
                Offer::None | Offer::Unknown => MAX_SHIFT,
            }),
        };
    }

    /// Returns the window of a segment of the endpoint `own`, in octets. That of a SYN is not
    /// scaled.
    #[inline]
    pub(crate) fn scaled(&self, window: u16, syn: bool, own: usize) -> u32 {
        if syn { u32::from(window) } else { u32::from(window) << self.shifts[own] }
    }
}

/// Returns what a SYN offers.
fn offer(segment: &Segment<'_>) -> Offer {
    // Walks over kinds and lengths alone (RFC 9293, section 3.1): most SYNs have this option last.
    let mut rest = segment.tcp.options;
    loop {
        rest = match *rest {
            [option_kind::NOP, ref after @ ..] => after,
            [option_kind::WINDOW_SCALE, 3, shift, ..] => return Offer::Shift(shift),
            [kind, len, ..] if kind != option_kind::END_OF_LIST && len >= 2 => {
                rest.get(usize::from(len)..).unwrap_or_default()
            }
            _ => break,
        };
    }
    let all = 20 + segment.tcp.options.len() >= usize::from(segment.tcp.header_len);
    if all { Offer::None } else { Offer::Unknown }
}
