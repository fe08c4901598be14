//! The list of token ids of the `skeleton` code. Changing it changes [`VERSION`].

use crate::TokenId;
use crate::field::vocab::{self as field, Row, TokenRange, table};

/// Version of this table of ids.
pub const VERSION: u32 = 1;

table! {
    0, TABLE, VOCAB_SIZE, "Every row of the table, in order of ids.";
    HOST, 1, "host", "host", "0",
        "beginning of a host; its IP version and unit of time (`flow`), the time since the first \
         start of the host before, and its SYN follow";
    HOST_END, 1, "host.end", "host", "0", "end of the host's flows";
    AFTER, 97, "after", "gap", "by bucket",
        "start: time since the end of the flow before, which closed, by bucket";
    WHILE, 97, "while", "gap", "by bucket",
        "start: time since the start of the flow before, or of the host before, by bucket";
    PAIR, 8, "pair", "destination", "0", "server and port of the k-th last pair";
    PAIR_RAW, 1, "pair.raw", "destination", "3",
        "server and port: pair of this number, by first use";
    SERVER, 4, "server", "destination", "0", "the k-th last server; a port follows";
    SERVER_RAW, 1, "server.raw", "destination", "3",
        "server of this number, by first use; a port follows";
    SERVER_NEW, 1, "server.new", "destination", "0",
        "server that no host of the trace has used; a port follows";
    SERVER_SHARED, 1, "server.shared", "destination", "3",
        "server of this number in the trace, which a host before has used; a port follows";
    SYN, 4, "syn", "syn", "0",
        "another SYN than that of the pair's last flow, of the server's or of the host's: the k-th \
         last of the host";
    SYN_NEW, 1, "syn.new", "syn", "0", "a SYN that follows";
    SAID, 484, "", "", "", "token of the flow code, from `flow` to `ttl.raw`";
    DIGIT, 256, "digit", "digit", "0",
        "base-256 digit of the number that the token before began, most significant first";
}

/// First token of a host.
pub const BOS: TokenId = HOST.first;
/// Last token of a host.
pub const END: TokenId = HOST_END.first;

/// First id of the flow code that [`SAID`] has.
const FIRST_SAID: TokenId = field::FLOW.first;

const _: () = assert!(FIRST_SAID + SAID.len == field::DF.first);

/// Returns the id of a token of the flow code here; `None` for those that no skeleton has.
#[must_use]
pub const fn from_field(token: TokenId) -> Option<TokenId> {
    if let Some(digit) = field::DIGIT.arg(token) {
        return Some(DIGIT.at(digit));
    }
    if token < FIRST_SAID || token >= field::DF.first {
        return None;
    }
    Some(SAID.at((token - FIRST_SAID) as usize))
}

/// Returns the id of a token in the flow code; `None` for those of the skeleton alone.
#[must_use]
pub const fn to_field(token: TokenId) -> Option<TokenId> {
    if let Some(digit) = DIGIT.arg(token) {
        return Some(field::DIGIT.at(digit));
    }
    match SAID.arg(token) {
        Some(said) => Some(FIRST_SAID + said as TokenId),
        None => None,
    }
}

/// Returns the name of a token, for errors and documents: `pair(0)`, `class(2)`, `host`.
#[must_use]
pub fn describe(token: TokenId) -> String {
    if let Some(said) = to_field(token) {
        return field::describe(said);
    }
    match TABLE.iter().find(|row| row.range.arg(token).is_some()) {
        Some(row) if row.range.count() == 1 => row.name.to_owned(),
        Some(row) => format!("{}({})", row.name, token - row.range.first),
        None => format!("unknown token {token}"),
    }
}

/// Returns the name of the field that a token belongs to.
#[must_use]
pub fn field_of(token: TokenId) -> &'static str {
    match to_field(token).filter(|_| DIGIT.arg(token).is_none()) {
        Some(said) => match field::row(said).map_or("", |row| row.field) {
            "flow" if field::CLASS.arg(said).is_some() => "class",
            "flow" if field::LENGTH.arg(said).is_some() => "length",
            "flow" if field::FLOW.arg(said).is_some() => "host",
            "flow" => "port",
            _ => "syn",
        },
        None => TABLE.iter().find(|row| row.range.arg(token).is_some()).map_or("", |row| row.field),
    }
}

/// Returns the bucket of a token that says a gap.
pub(super) const fn gap(token: TokenId) -> Option<usize> {
    match AFTER.arg(token) {
        Some(bucket) => Some(bucket),
        None => WHILE.arg(token),
    }
}
