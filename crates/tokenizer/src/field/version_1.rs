//! Version 1 of the code: its ids as ids of today.
//!
//! Flows of version 1 are decoded by today's parser and state. Their tokens that the table of today
//! has keep its ids; the others have ids behind the table, in [`vocab::TABLE_1`]. The first token
//! tells the version, and the state keeps the predictions of version 1 for such a flow.

use super::vocab::{self, TokenRange};
use crate::TokenId;

/// Number of ids in version 1.
const COUNT: usize = 1022;
/// Id that no table has.
const UNKNOWN: TokenId = TokenId::MAX;

/// Ranges of ids in the order of version 1, with their lengths there. The ids of a row are those of
/// its ranges, one after the other.
const ROWS: &[(u16, &[TokenRange])] = &[
    (1, &[vocab::END_]),
    (1, &[vocab::BOS_1]),
    (
        8,
        &[
            vocab::FLOW.part(0, 2),
            vocab::FLOW_1.part(0, 2),
            vocab::FLOW.part(2, 2),
            vocab::FLOW_1.part(2, 2),
        ],
    ),
    (6, &[vocab::CLASS]),
    (16, &[vocab::LENGTH]),
    (
        47,
        &[
            vocab::PORT.part(0, 8),
            vocab::PORT_1.part(0, 1),
            vocab::PORT.part(8, 1),
            vocab::PORT_1.part(1, 7),
            vocab::PORT.part(9, 1),
            vocab::PORT_1.part(8, 4),
            vocab::PORT.part(10, 3),
            vocab::PORT_1.part(12, 3),
            vocab::PORT.part(13, 1),
            vocab::PORT_1.part(15, 3),
            vocab::PORT.part(14, 3),
            vocab::PORT_1.part(18, 1),
            vocab::PORT.part(17, 1),
            vocab::PORT_1.part(19, 1),
            vocab::PORT.part(18, 2),
            vocab::PORT_1.part(20, 3),
            vocab::PORT.part(20, 1),
            vocab::PORT_1.part(23, 3),
        ],
    ),
    (1, &[vocab::PORT_RAW]),
    (16, &[vocab::TS_CLOCK]),
    (64, &[vocab::PACKET.part(0, 64)]),
    (7, &[vocab::FLAGS]),
    (1, &[vocab::FLAGS_RAW]),
    (1, &[vocab::SEQ_UNA]),
    (1, &[vocab::SEQ_KEEPALIVE]),
    (16, &[vocab::SEQ_OLD, vocab::SEQ_OLD_1]),
    (8, &[vocab::SEQ_NEW]),
    (8, &[vocab::SEQ_HOLE]),
    (8, &[vocab::SEQ_SKIP, vocab::SEQ_SKIP_1]),
    (1, &[vocab::SEQ_FORWARD]),
    (1, &[vocab::SEQ_BACK]),
    (1, &[vocab::SEQ_RAW]),
    (24, &[vocab::ACK_SEG, vocab::ACK_SEG_1]),
    (4, &[vocab::ACK_NEW]),
    (1, &[vocab::ACK_ZERO]),
    (1, &[vocab::ACK_FORWARD]),
    (1, &[vocab::ACK_BACK]),
    (1, &[vocab::ACK_RAW]),
    (1, &[vocab::LEN_SAME]),
    (16, &[vocab::LEN_MULTIPLE]),
    (37, &[vocab::LEN]),
    (1, &[vocab::LEN_RAW]),
    (1, &[vocab::WIN_EDGE]),
    (1, &[vocab::WIN_MAX]),
    (
        24,
        &[
            vocab::WIN.part(0, 6),
            vocab::WIN_1.part(0, 2),
            vocab::WIN.part(6, 1),
            vocab::WIN_1.part(2, 1),
            vocab::WIN.part(7, 1),
            vocab::WIN_1.part(3, 1),
            vocab::WIN.part(8, 1),
            vocab::WIN_1.part(4, 2),
            vocab::WIN.part(9, 3),
            vocab::WIN_1.part(6, 3),
            vocab::WIN.part(12, 1),
            vocab::WIN_1.part(9, 2),
        ],
    ),
    (17, &[vocab::WIN_UP]),
    (17, &[vocab::WIN_DOWN]),
    (1, &[vocab::URGENT]),
    (28, &[vocab::LAYOUT, vocab::LAYOUT_1]),
    (1, &[vocab::OPT_LIST]),
    (1, &[vocab::OPT_NOP]),
    (1, &[vocab::OPT_EOL]),
    (1, &[vocab::OPT_MSS]),
    (1, &[vocab::OPT_WS]),
    (1, &[vocab::OPT_SACK_PERMITTED]),
    (1, &[vocab::OPT_TS]),
    (4, &[vocab::OPT_SACK]),
    (1, &[vocab::OPT_RAW]),
    (1, &[vocab::OPT_OCTETS]),
    (1, &[vocab::OPT_DONE]),
    (
        19,
        &[
            vocab::MSS.part(0, 9),
            vocab::MSS_1.part(0, 4),
            vocab::MSS.part(9, 2),
            vocab::MSS_1.part(4, 4),
        ],
    ),
    (1, &[vocab::MSS_RAW]),
    (15, &[vocab::WS]),
    (1, &[vocab::WS_RAW]),
    (16, &[vocab::SACK_AT, vocab::SACK_AT_1]),
    (16, &[vocab::SACK_COUNT, vocab::SACK_COUNT_1]),
    (1, &[vocab::SACK_RAW]),
    (12, &[vocab::TSVAL]),
    (1, &[vocab::TSVAL_FORWARD]),
    (1, &[vocab::TSVAL_RAW]),
    (8, &[vocab::TSECR, vocab::TSECR_1]),
    (1, &[vocab::TSECR_ZERO]),
    (1, &[vocab::TSECR_BASE]),
    (1, &[vocab::TSECR_RAW]),
    (1, &[vocab::TRAFFIC_CLASS]),
    (
        31,
        &[
            vocab::TTL.part(0, 2),
            vocab::TTL_1.part(0, 1),
            vocab::TTL.part(2, 2),
            vocab::TTL_1.part(1, 2),
            vocab::TTL.part(4, 1),
            vocab::TTL_1.part(3, 1),
            vocab::TTL.part(5, 6),
            vocab::TTL_1.part(4, 1),
            vocab::TTL.part(11, 1),
            vocab::TTL_1.part(5, 6),
            vocab::TTL.part(12, 2),
            vocab::TTL_1.part(11, 1),
            vocab::TTL.part(14, 2),
            vocab::TTL_1.part(12, 1),
            vocab::TTL.part(16, 1),
            vocab::TTL_1.part(13, 1),
        ],
    ),
    (1, &[vocab::TTL_RAW]),
    (1, &[vocab::DF]),
    (17, &[vocab::ID]),
    (1, &[vocab::ID_ZERO]),
    (1, &[vocab::ID_BASE]),
    (1, &[vocab::ID_RAW]),
    (1, &[vocab::LABEL_ZERO]),
    (1, &[vocab::LABEL_BASE]),
    (1, &[vocab::LABEL_RAW]),
    (1, &[vocab::TIME_BACK]),
    (211, &[vocab::TIME_1]),
    (256, &[vocab::DIGIT]),
];

/// Ids of today, by id of version 1.
static IDS: [TokenId; COUNT] = {
    let mut ids = [UNKNOWN; COUNT];
    let (mut at, mut row) = (0, 0);
    while row < ROWS.len() {
        let (len, ranges) = ROWS[row];
        let (mut range, mut i, mut left) = (0, 0, len);
        while left > 0 {
            if i == ranges[range].count() {
                (range, i) = (range + 1, 0);
            }
            ids[at] = ranges[range].at(i);
            (at, i, left) = (at + 1, i + 1, left - 1);
        }
        row += 1;
    }
    assert!(at == COUNT);
    ids
};

/// Replaces the tokens of a flow of version 1 by those that today's decoder knows. Ids that version
/// 1 lacks become one that no table has.
pub fn from_version_1(tokens: &mut [TokenId]) {
    for token in tokens {
        *token = IDS.get(usize::from(*token)).copied().unwrap_or(UNKNOWN);
    }
}
