//! The list of token ids of the `field` code. Changing it changes [`VERSION`].
//!
//! Every field owns ranges of ids. Ids of different fields never overlap, so that a token alone
//! shows its field. A field with its expected value has no token.

use crate::TokenId;

/// Version of this table of ids.
pub const VERSION: u32 = 2;

/// A range of consecutive ids with one meaning, which an argument from 0 tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenRange {
    /// First id of the range.
    pub first: TokenId,
    /// Number of ids in the range.
    pub len: u16,
}

impl TokenRange {
    /// Returns the id with argument `i`.
    #[must_use]
    pub const fn at(self, i: usize) -> TokenId {
        debug_assert!(i < self.len as usize);
        self.first + i as TokenId
    }

    /// Returns the argument of `token`, or `None` if it is not in this range.
    #[must_use]
    pub const fn arg(self, token: TokenId) -> Option<usize> {
        if token >= self.first && token < self.first + self.len {
            Some((token - self.first) as usize)
        } else {
            None
        }
    }

    /// Returns the argument of `token` in this range, or in `rest`, whose ids follow it.
    pub(crate) const fn arg_with(self, rest: TokenRange, token: TokenId) -> Option<usize> {
        match (self.arg(token), rest.arg(token)) {
            (None, Some(i)) => Some(self.count() + i),
            (found, _) => found,
        }
    }

    /// Returns the part of the range that holds `len` ids from argument `i` on.
    pub(crate) const fn part(self, i: usize, len: u16) -> TokenRange {
        assert!(i + len as usize <= self.count());
        TokenRange { first: self.first + i as TokenId, len }
    }

    /// Returns the number of ids in the range.
    #[must_use]
    pub const fn count(self) -> usize {
        self.len as usize
    }
}

/// A row of the table of ids.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Range of ids of the row.
    pub range: TokenRange,
    /// Name of the tokens in errors and documents.
    pub name: &'static str,
    /// Name of the field that the tokens belong to.
    pub field: &'static str,
    /// Number of base-256 digits that follow, or "by bucket".
    pub digits: &'static str,
    /// Meaning of the tokens, for the reference document.
    pub meaning: &'static str,
}

macro_rules! table {
    ($first:expr, $table:ident, $end:ident, $doc:literal; $(
        $ident:ident, $len:expr, $name:literal, $field:literal, $digits:literal, $meaning:literal;
    )*) => {
        table!(@consts $end, $first; $($ident, $len, $meaning;)*);
        #[doc = $doc]
        pub const $table: &[Row] = &[
            $(Row {
                range: $ident,
                name: $name,
                field: $field,
                digits: $digits,
                meaning: $meaning,
            },)*
        ];
    };
    (@consts $end:ident, $start:expr; $ident:ident, $len:expr, $meaning:literal; $($rest:tt)*) => {
        #[doc = $meaning]
        pub const $ident: TokenRange = TokenRange { first: $start, len: $len };
        table!(@consts $end, $ident.first + $ident.len; $($rest)*);
    };
    (@consts $end:ident, $start:expr;) => {
        /// One past the last id of the table.
        pub const $end: usize = $start as usize;
    };
}

pub(crate) use table;

table! {
    0, TABLE, VOCAB_SIZE, "Every row of the table, in order of ids.";
    BOS_, 1, "begin", "flow", "0", "beginning of the flow";
    END_, 1, "end", "flow", "0", "end of the flow";
    FLOW, 4, "flow", "flow", "0", "IP version (4, then 6) and unit of time (ns, us)";
    CLASS, 6, "class", "flow", "0",
        "close of the flow (graceful, reset, open), first with, then without its handshake";
    LENGTH, 16, "length", "flow", "0", "number of packets, by power of two";
    PORT, 21, "port", "flow", "0", "server's port, from a list";
    PORT_RAW, 1, "port.raw", "flow", "2", "server's port, any other";
    TS_CLOCK, 16, "hz", "flow", "0",
        "tick of the timestamp clock, client's (8), then server's (8), if it is not 1 ms";
    PACKET, 84, "packet", "packet", "0",
        "direction, flags (SYN, SYN-ACK, ACK, PSH-ACK, FIN-ACK, FIN-PSH-ACK, RST, RST-ACK), \
         without or with payload, acknowledgment unchanged or of everything received; the last \
         ones: of ACK and PSH-ACK with `ack.segment(0)`, `len.same` or both, keep-alives";
    FLAGS, 7, "flags", "flags", "0",
        "flags to toggle, from a list (ECE and CWR, ECE, CWR, URG, AE, AE with ECE and CWR, PSH); \
         with Accurate ECN, AE, CWR and ECE are a rise of the counter that they hold";
    FLAGS_RAW, 1, "flags.raw", "flags", "2", "flags and reserved bits to toggle, 12 bits";
    SEQ_UNA, 1, "seq.una", "seq", "0", "sequence number: the lowest that is not acknowledged";
    SEQ_KEEPALIVE, 1, "seq.keepalive", "seq", "0",
        "sequence number: one below the lowest that is not acknowledged";
    SEQ_OLD, 8, "seq.rtx.old", "seq", "0",
        "retransmission: k-th oldest segment that is not acknowledged";
    SEQ_NEW, 8, "seq.rtx.new", "seq", "0",
        "retransmission: k-th newest segment that is not acknowledged";
    SEQ_HOLE, 8, "seq.hole", "seq", "0", "sequence number: the beginning of the k-th hole";
    SEQ_SKIP, 4, "seq.skip", "seq", "0",
        "sequence number: k + 1 full segments ahead, which leaves a hole";
    SEQ_FORWARD, 1, "seq.forward", "seq", "2", "sequence number: octets ahead of the expected one";
    SEQ_BACK, 1, "seq.back", "seq", "2", "sequence number: octets behind the expected one";
    SEQ_RAW, 1, "seq.raw", "seq", "4",
        "sequence number: distance from the expected one, modulo 2^32";
    ACK_SEG, 8, "ack.segment", "ack", "0",
        "acknowledgment: the end of the k-th segment that this side had not acknowledged";
    ACK_FULL, 8, "ack.full", "ack", "0",
        "acknowledgment: k + 1 full segments of the other side more than this side's last";
    ACK_NEW, 4, "ack.newest", "ack", "0", "acknowledgment: the end of the k-th newest segment";
    ACK_ZERO, 1, "ack.zero", "ack", "0", "acknowledgment: 0 in the header";
    ACK_FORWARD, 1, "ack.forward", "ack", "2", "acknowledgment: octets more than this side's last";
    ACK_BACK, 1, "ack.back", "ack", "2", "acknowledgment: octets less than this side's last";
    ACK_RAW, 1, "ack.raw", "ack", "4",
        "acknowledgment: distance from this side's last, modulo 2^32";
    LEN_SAME, 1, "len.same", "len", "0", "payload length: that of this side's last payload";
    LEN_MULTIPLE, 16, "len.multiple", "len", "0",
        "payload length: k + 2 full segments (segmentation offload)";
    LEN, 37, "len", "len", "by bucket", "payload length, by bucket";
    LEN_RAW, 1, "len.raw", "len", "4", "payload length, any";
    WIN_EDGE, 1, "win.edge", "window", "0",
        "window: the one with the right edge of this side's last";
    WIN_MAX, 1, "win.max", "window", "0", "window: the largest that this side has offered";
    WIN_ACKED, 4, "win.acked", "window", "0",
        "window: 2, 2 (and 1 or 2 units) or -1 times what is acknowledged more than expected";
    WIN, 13, "win", "window", "0", "window, from a list";
    SYN_SET, 24, "syn.set", "window", "0",
        "window, layout of options, MSS and window scale of a SYN, from a list";
    WIN_UP, 17, "win.up", "window", "by bucket", "window: increase, by bucket";
    WIN_DOWN, 17, "win.down", "window", "by bucket", "window: decrease, by bucket";
    URGENT, 1, "urgent", "urgent", "2", "urgent pointer";
    LAYOUT, 23, "opt.layout", "options", "0", "options, from a list of layouts; values follow";
    OPT_LIST, 1, "opt.list", "options", "0", "options, one by one";
    OPT_RECENT, 4, "opt.recent", "options", "0",
        "options: the k-th last of the lists that either side has sent";
    OPT_NOP, 1, "opt.nop", "options", "0", "no-operation";
    OPT_EOL, 1, "opt.eol", "options", "0", "end of options, or padding after it";
    OPT_MSS, 1, "opt.mss", "options", "0", "maximum segment size; its value follows";
    OPT_WS, 1, "opt.ws", "options", "0", "window scale; its value follows";
    OPT_SACK_PERMITTED, 1, "opt.sackperm", "options", "0", "SACK permitted";
    OPT_TS, 1, "opt.ts", "options", "0", "timestamps";
    OPT_SACK, 4, "opt.sack", "options", "0", "SACK with k + 1 blocks; the blocks follow";
    OPT_RAW, 1, "opt.raw", "options", "2 and more",
        "any option: kind, length, then the octets that tell its form";
    OPT_OCTETS, 1, "opt.octets", "options", "1 and more",
        "octets that do not parse as options: their number, then the octets";
    OPT_DONE, 1, "opt.done", "options", "0", "end of the list of options";
    MSS, 11, "mss", "options", "0", "maximum segment size, from a list";
    MSS_RAW, 1, "mss.raw", "options", "2", "maximum segment size, any other";
    WS, 15, "ws", "options", "0", "window scale 0 to 14";
    WS_RAW, 1, "ws.raw", "options", "1", "window scale, any other";
    SACK_AT, 12, "sack.at", "options", "0",
        "block: first segment, the k-th above the acknowledgment";
    SACK_COUNT, 12, "sack.count", "options", "0", "block: k + 1 segments";
    SACK_DUP, 4, "sack.dup", "options", "0",
        "block: the other side's k-th last segment that came twice (D-SACK)";
    SACK_RAW, 1, "sack.raw", "options", "8",
        "block: distance of its left edge from the acknowledgment, then its length";
    TSVAL, 12, "tsval", "timestamps", "0", "TSval: -6 to 6 ticks off its clock, 0 left out";
    TSVAL_FORWARD, 1, "tsval.forward", "timestamps", "2", "TSval: ticks after this side's last";
    TSVAL_RAW, 1, "tsval.raw", "timestamps", "4",
        "TSval: distance from this side's last, modulo 2^32";
    TSECR, 4, "tsecr", "timestamps", "0",
        "TSecr: k-th TSval of the other side from the one that this side echoed last (k = 0)";
    TSECR_ZERO, 1, "tsecr.zero", "timestamps", "0", "TSecr: 0";
    TSECR_BASE, 1, "tsecr.base", "timestamps", "0",
        "TSecr: the other side's base, which no packet has shown";
    TSECR_RAW, 1, "tsecr.raw", "timestamps", "4",
        "TSecr: distance from the other side's last TSval, modulo 2^32";
    TRAFFIC_CLASS, 1, "dsfield", "ip", "1", "DSCP and ECN";
    TTL, 17, "ttl", "ip", "0", "TTL or hop limit, from a list";
    TTL_RAW, 1, "ttl.raw", "ip", "1", "TTL or hop limit, any other";
    DF, 1, "df", "ip", "0", "don't-fragment bit: other than this side's last";
    ID, 17, "id", "ip", "0", "IPv4 identification: k more than this side's last";
    ID_ZERO, 1, "id.zero", "ip", "0", "IPv4 identification: 0";
    ID_BASE, 1, "id.base", "ip", "0", "IPv4 identification: this side's base";
    ID_RAW, 1, "id.raw", "ip", "2",
        "IPv4 identification: distance from this side's last, modulo 2^16";
    LABEL_ZERO, 1, "label.zero", "ip", "0", "IPv6 flow label: 0";
    LABEL_BASE, 1, "label.base", "ip", "0", "IPv6 flow label: this side's base";
    LABEL_RAW, 1, "label.raw", "ip", "3",
        "IPv6 flow label: distance from this side's last, modulo 2^20";
    TIME_BACK, 1, "time.back", "time", "0",
        "the clock of the capture was set back, by the time that follows";
    TIME, 127, "time", "time", "by bucket", "time since the flow's packet before, by bucket";
    DUE, 86, "due", "due", "by bucket",
        "time since the moment at which the answer was due, by bucket";
    DUE_EARLY, 42, "due.early", "due", "by bucket",
        "time until the moment at which the answer is due, by bucket";
    DIGIT, 256, "digit", "digit", "0",
        "base-256 digit of the number that the token before began, most significant first";
}

const _: () = assert!(VOCAB_SIZE <= 1024, "at most 1,024 token ids");

table! {
    VOCAB_SIZE as TokenId, TABLE_1, END_OF_IDS,
        "Rows of version 1 that the table lacks. No flow of this version has their ids.";
    BOS_1, 1, "begin", "flow", "0", "beginning of a flow of version 1";
    FLOW_1, 4, "flow", "flow", "0", "IP version (4, then 6) and unit of time (ms, s)";
    PORT_1, 26, "port", "flow", "0", "server's port, from a list";
    SEQ_OLD_1, 8, "seq.rtx.old", "seq", "0",
        "retransmission: the segments after the 8 of `seq.rtx.old`";
    SEQ_SKIP_1, 4, "seq.skip", "seq", "0",
        "sequence number: further ahead than by the 4 of `seq.skip`";
    ACK_SEG_1, 16, "ack.segment", "ack", "0",
        "acknowledgment: the ends of the segments after the 8 of `ack.segment`";
    WIN_1, 11, "win", "window", "0", "window, from a list";
    LAYOUT_1, 5, "opt.layout", "options", "0",
        "options, from the end of the list of layouts; values follow";
    MSS_1, 8, "mss", "options", "0", "maximum segment size, from a list";
    SACK_AT_1, 4, "sack.at", "options", "0",
        "block: first segment, beyond the 12 of `sack.at`";
    SACK_COUNT_1, 4, "sack.count", "options", "0", "block: more segments than by `sack.count`";
    TSECR_1, 4, "tsecr", "timestamps", "0", "TSecr: the TSvals after the 4 of `tsecr`";
    TTL_1, 14, "ttl", "ip", "0", "TTL or hop limit, from a list";
    TIME_1, 211, "time", "time", "by bucket", "time since the flow's packet before, by bucket";
}

/// Last token of a flow.
pub const END: TokenId = END_.first;
/// First token of a flow.
pub const BOS: TokenId = BOS_.first;

/// Returns the row of `token`, or `None` if no row has it.
#[must_use]
pub fn row(token: TokenId) -> Option<&'static Row> {
    let table = if token < BOS_1.first { TABLE } else { TABLE_1 };
    let i = table.partition_point(|r| r.range.first <= token);
    table[..i].last().filter(|r| r.range.arg(token).is_some())
}

/// Returns the name of a token, for errors and documents: `packet(37)`, `digit(255)`, `end`.
#[must_use]
pub fn describe(token: TokenId) -> String {
    match row(token) {
        Some(r) if r.range.count() == 1 => r.name.to_owned(),
        Some(r) => format!("{}({})", r.name, token - r.range.first),
        None => format!("unknown token {token}"),
    }
}

/// Server ports with a token in [`PORT`].
pub const PORTS: [u16; PORT.count()] = [
    443, 80, 8080, 22, 27017, 53, 25, 21, 110, 445, 3306, 5432, 6379, 8443, 9418, 873, 5201, 1883,
    5222, 5228, 853,
];

/// Server ports with a token in [`PORT_1`].
pub(crate) const PORTS_1: [u16; PORT_1.count()] = [
    23, 143, 993, 995, 587, 465, 389, 636, 139, 135, 88, 3389, 1433, 1521, 5900, 8000, 8888, 9200,
    5060, 8883, 179, 111, 2049, 6667, 4433, 49152,
];

/// Ticks of the timestamp clocks in [`TS_CLOCK`], in nanoseconds. The first one needs
/// no token.
pub const TICKS_NS: [i64; 8] =
    [1_000_000, 4_000_000, 10_000_000, 100_000_000, 500_000_000, 1_000, 1_000_000_000, 2_000_000];

/// Units of time in [`FLOW`] and in [`FLOW_1`], in nanoseconds.
pub const UNITS_NS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Flag bits that the tokens of [`FLAGS`] toggle.
pub const FLAG_TOGGLES: [u16; 7] = [0x0c0, 0x040, 0x080, 0x020, 0x100, 0x1c0, 0x008];

/// Window fields with a token in [`WIN`].
pub const WINDOWS: [u16; WIN.count()] =
    [0, 64240, 65535, 65160, 29200, 28960, 5840, 8192, 8190, 65320, 64768, 16384, 512];

/// Window fields with a token in [`WIN_1`].
pub(crate) const WINDOWS_1: [u16; WIN_1.count()] =
    [14600, 14480, 5792, 8760, 43690, 43440, 32768, 4380, 1024, 65280, 26883];

/// Steps of the window in [`WIN_ACKED`]: times what the packet acknowledges, and units more.
pub(crate) const ACKED_STEPS: [(i64, i64); WIN_ACKED.count()] = [(2, 0), (2, 1), (2, 2), (-1, 0)];

/// Maximum segment sizes with a token in [`MSS`], in octets.
pub const MSSES: [u16; MSS.count()] =
    [1460, 1440, 1400, 1380, 1360, 1412, 1428, 1420, 1452, 1220, 536];

/// Maximum segment sizes with a token in [`MSS_1`], in octets.
pub(crate) const MSSES_1: [u16; MSS_1.count()] = [1436, 1410, 1386, 1340, 8960, 65495, 65475, 1432];

/// TTLs and hop limits with a token in [`TTL`].
pub const TTLS: [u8; TTL.count()] =
    [64, 128, 63, 62, 59, 57, 56, 55, 54, 53, 52, 50, 127, 126, 120, 119, 112];

/// TTLs and hop limits with a token in [`TTL_1`].
pub(crate) const TTLS_1: [u8; TTL_1.count()] =
    [255, 61, 60, 58, 51, 49, 48, 47, 46, 45, 44, 125, 116, 254];

/// Window and options of a SYN that one token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SynSet {
    /// Window field of the SYN.
    pub(crate) window: u16,
    /// Index of the layout in [`LAYOUTS`](super::options::LAYOUTS).
    pub(crate) layout: u8,
    /// Maximum segment size, in octets.
    pub(crate) mss: u16,
    /// Shift of the window, if the layout has one; 0 if not.
    pub(crate) shift: u8,
}

impl SynSet {
    const fn new(window: u16, layout: u8, mss: u16, shift: u8) -> SynSet {
        SynSet { window, layout, mss, shift }
    }
}

/// Sets with a token in [`SYN_SET`]: the commonest of real traffic.
pub(crate) const SYN_SETS: [SynSet; SYN_SET.count()] = [
    SynSet::new(65320, 10, 1420, 7),
    SynSet::new(64240, 10, 1460, 7),
    SynSet::new(65535, 21, 1420, 0),
    SynSet::new(65535, 10, 1460, 6),
    SynSet::new(8190, 11, 1460, 6),
    SynSet::new(65160, 10, 1460, 7),
    SynSet::new(65535, 10, 1460, 7),
    SynSet::new(28960, 10, 1460, 3),
    SynSet::new(65535, 10, 1420, 8),
    SynSet::new(64800, 10, 1440, 7),
    SynSet::new(64260, 10, 1440, 7),
    SynSet::new(64768, 10, 1420, 7),
    SynSet::new(1024, 9, 1460, 0),
    SynSet::new(64260, 10, 1428, 7),
    SynSet::new(65535, 11, 1440, 8),
    SynSet::new(65535, 12, 1460, 6),
    SynSet::new(5840, 10, 1460, 1),
    SynSet::new(65535, 13, 1440, 8),
    SynSet::new(65535, 12, 1460, 5),
    SynSet::new(65535, 10, 1428, 8),
    SynSet::new(5840, 15, 1460, 1),
    SynSet::new(14600, 10, 1460, 7),
    SynSet::new(65535, 10, 1412, 8),
    SynSet::new(29200, 10, 1460, 3),
];
