//! The order of the fields inside a packet.

use super::delta::{PacketKind, Said};
use super::vocab::{self, TokenRange};
use crate::TokenId;

/// Fields of a packet in the order of their tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FieldOrder {
    Flags,
    Seq,
    Ack,
    Len,
    Window,
    Urgent,
    Options,
    TsVal,
    TsEcr,
    TrafficClass,
    Ttl,
    Df,
    /// IPv4 identification, or IPv6 flow label.
    Id,
    Time,
}

/// First and last range of tokens of each field.
const FIELDS: [(TokenRange, TokenRange, FieldOrder); 22] = [
    (vocab::FLAGS, vocab::FLAGS_RAW, FieldOrder::Flags),
    (vocab::SEQ_UNA, vocab::SEQ_RAW, FieldOrder::Seq),
    (vocab::ACK_SEG, vocab::ACK_RAW, FieldOrder::Ack),
    (vocab::LEN_SAME, vocab::LEN_RAW, FieldOrder::Len),
    (vocab::WIN_EDGE, vocab::WIN_DOWN, FieldOrder::Window),
    (vocab::URGENT, vocab::URGENT, FieldOrder::Urgent),
    (vocab::LAYOUT, vocab::OPT_RECENT, FieldOrder::Options),
    (vocab::TSVAL, vocab::TSVAL_RAW, FieldOrder::TsVal),
    (vocab::TSECR, vocab::TSECR_RAW, FieldOrder::TsEcr),
    (vocab::TRAFFIC_CLASS, vocab::TRAFFIC_CLASS, FieldOrder::TrafficClass),
    (vocab::TTL, vocab::TTL_RAW, FieldOrder::Ttl),
    (vocab::DF, vocab::DF, FieldOrder::Df),
    (vocab::ID, vocab::ID_RAW, FieldOrder::Id),
    (vocab::LABEL_ZERO, vocab::LABEL_RAW, FieldOrder::Id),
    (vocab::TIME_BACK, vocab::DUE_EARLY, FieldOrder::Time),
    (vocab::SEQ_OLD_1, vocab::SEQ_SKIP_1, FieldOrder::Seq),
    (vocab::ACK_SEG_1, vocab::ACK_SEG_1, FieldOrder::Ack),
    (vocab::WIN_1, vocab::WIN_1, FieldOrder::Window),
    (vocab::LAYOUT_1, vocab::LAYOUT_1, FieldOrder::Options),
    (vocab::TSECR_1, vocab::TSECR_1, FieldOrder::TsEcr),
    (vocab::TTL_1, vocab::TTL_1, FieldOrder::Ttl),
    (vocab::TIME_1, vocab::TIME_1, FieldOrder::Time),
];

/// Fields by token: of IPv4 flows, then of IPv6 flows. `None` for tokens that begin no field of
/// such a flow.
static FIELD_OF_TOKEN: [[Option<FieldOrder>; vocab::END_OF_IDS]; 2] = {
    let mut table = [[None; vocab::END_OF_IDS]; 2];
    let mut i = 0;
    while i < FIELDS.len() {
        let (first, last, field) = FIELDS[i];
        let mut token = first.first as usize;
        while token < (last.first + last.len) as usize {
            // Only IPv6 has flow labels (RFC 8200, section 3); only IPv4 has DF and an
            // identification in every header (RFC 791, section 3.1).
            let is_label = token >= vocab::LABEL_ZERO.first as usize
                && token <= vocab::LABEL_RAW.first as usize;
            let is_v4_only =
                token >= vocab::DF.first as usize && token <= vocab::ID_RAW.first as usize;
            table[0][token] = if is_label { None } else { Some(field) };
            table[1][token] = if is_v4_only { None } else { Some(field) };
            token += 1;
        }
        i += 1;
    }
    table
};

/// Returns the field that `token` begins in flows of this IP version.
pub(crate) fn field_of(is_v6: bool, token: TokenId) -> Option<FieldOrder> {
    FIELD_OF_TOKEN[usize::from(is_v6)].get(usize::from(token)).copied().flatten()
}

impl PacketKind {
    /// Returns whether a packet of this kind has no token of `field`, since its packet token says
    /// the field, or says others that packets with the expected sequence number have.
    pub(crate) fn has_said(self, field: FieldOrder) -> bool {
        match field {
            FieldOrder::Seq => self.said != Said::Nothing,
            FieldOrder::Ack => self.said.has_ack(),
            FieldOrder::Len => self.said.has_len(),
            _ => false,
        }
    }
}
