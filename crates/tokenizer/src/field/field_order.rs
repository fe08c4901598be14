//! The order of the fields inside a packet.

use super::vocab;
use crate::TokenId;

/// The order of fields inside a packet.
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
    Id,
    Time,
}

/// Ranks by token: first IPv4's, then IPv6's. `None` where a token says no field of such a flow.
static FIELD_ORDERS: [[Option<FieldOrder>; vocab::VOCAB_SIZE]; 2] = {
    let mut table = [[None; vocab::VOCAB_SIZE]; 2];
    let fields = [
        (vocab::FLAGS, vocab::FLAGS_RAW, FieldOrder::Flags),
        (vocab::SEQ_UNA, vocab::SEQ_RAW, FieldOrder::Seq),
        (vocab::ACK_SEG, vocab::ACK_RAW, FieldOrder::Ack),
        (vocab::LEN_SAME, vocab::LEN_RAW, FieldOrder::Len),
        (vocab::WIN_EDGE, vocab::WIN_DOWN, FieldOrder::Window),
        (vocab::URGENT, vocab::URGENT, FieldOrder::Urgent),
        (vocab::LAYOUT, vocab::OPT_LIST, FieldOrder::Options),
        (vocab::TSVAL, vocab::TSVAL_RAW, FieldOrder::TsVal),
        (vocab::TSECR, vocab::TSECR_RAW, FieldOrder::TsEcr),
        (vocab::TRAFFIC_CLASS, vocab::TRAFFIC_CLASS, FieldOrder::TrafficClass),
        (vocab::TTL, vocab::TTL_RAW, FieldOrder::Ttl),
        (vocab::DF, vocab::DF, FieldOrder::Df),
        (vocab::ID, vocab::ID_RAW, FieldOrder::Id),
        (vocab::LABEL_ZERO, vocab::LABEL_RAW, FieldOrder::Id),
        (vocab::TIME_BACK, vocab::TIME, FieldOrder::Time),
    ];
    let mut i = 0;
    while i < fields.len() {
        let (first, last, order) = fields[i];
        let mut token = first.first as usize;
        while token < (last.first + last.len) as usize {
            let label = token >= vocab::LABEL_ZERO.first as usize
                && token <= vocab::LABEL_RAW.first as usize;
            let v4_only =
                token >= vocab::DF.first as usize && token <= vocab::ID_RAW.first as usize;
            table[0][token] = if label { None } else { Some(order) };
            table[1][token] = if v4_only { None } else { Some(order) };
            token += 1;
        }
        i += 1;
    }
    table
};

/// The field that `token` speaks of, where flows of this IP version have it.
pub(crate) fn field_order_of(v6: bool, token: TokenId) -> Option<FieldOrder> {
    FIELD_ORDERS[usize::from(v6)].get(usize::from(token)).copied().flatten()
}
