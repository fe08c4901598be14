"""What the learners see of a flow, as columns with the group that each belongs to."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from flows import MSS, SACK_PERMITTED, SCALE, SYN, TIMESTAMPS

PACKETS, SYN_PACKETS = 20, 8
MTU = 1460.0
BIGRAM_BITS = 15
GROUPS = ["times", "lengths", "SYN options", "windows", "TTL", "flags"]


@dataclass
class Columns:
    values: np.ndarray  # [F, K]
    groups: list        # of each column

    def without(self, group):
        return self.values[:, [g != group for g in self.groups]]

    def __add__(self, other):
        return Columns(np.concatenate([self.values, other.values], 1), self.groups + other.groups)


def columns(group, values):
    values = np.asarray(values, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    return Columns(values, [group] * values.shape[1])


def log_gap(seconds):
    """Decades above a microsecond."""
    return np.log10(np.maximum(seconds, 1e-6)) + 6


def series(p, n=PACKETS):
    """Direction, length and gap of the first n packets."""
    return (columns("directions", p.table(p.direction, n)) + columns("lengths", p.table(p.direction * p.length, n) / MTU)
            + columns("times", p.table(log_gap(p.gap), n)))


def syn_fields(p, n=SYN_PACKETS):
    """Options of both sides' SYNs, TTLs, and flags and windows of the first packets."""
    flows = len(p.offsets) - 1
    options, ttl = np.full((flows, 2, 6), -1, dtype=np.float32), np.full((flows, 2), -1, dtype=np.float32)
    for f, begin in enumerate(p.offsets[:-1]):
        for at in range(begin, min(begin + n, p.offsets[f + 1])):
            side = int(p.direction[at] < 0)
            if ttl[f, side] < 0:
                ttl[f, side] = p.ttl[at]
            if p.flags[at] & SYN and options[f, side, 0] < 0:
                options[f, side] = of_syn(p.options[at])
    return (columns("SYN options", options.reshape(flows, -1)) + columns("TTL", ttl) + columns("windows", p.table(p.window, n))
            + columns("flags", p.table(p.flags, n)))


def of_syn(found):
    """Kinds, MSS, scale, SACK and timestamps of a SYN; the layout as a number between 0 and 1, the same for the same kinds."""
    layout = 0.0
    for kind in reversed(found["kinds"]):
        layout = (layout + kind % 16) / 16
    return [len(found["kinds"]), int.from_bytes(found.get(MSS, b""), "big"), int.from_bytes(found.get(SCALE, b"\xff"), "big"),
            SACK_PERMITTED in found, TIMESTAMPS in found, layout]


def whole(p):
    """A flow in numbers: packets, octets, repeats, duration, quantiles of gaps and lengths, for each direction."""
    shares = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    rows = []
    for begin, end in zip(p.offsets, p.offsets[1:]):
        row, time = [], np.cumsum(p.gap[begin:end])
        row.append(log_gap(time[-1] if len(time) else 0))
        for side in (1, -1):
            mine = p.direction[begin:end] == side
            length, sequence, window = p.length[begin:end][mine], p.sequence[begin:end][mine], p.window[begin:end][mine]
            ahead = (np.diff(sequence[length > 0]) & 0xFFFFFFFF) < 1 << 31
            gaps = log_gap(np.diff(time[mine]))
            row += [np.log2(1 + mine.sum()), np.log2(1 + length.sum()), np.log2(1 + (length > 0).sum()), 1 - ahead.mean() if len(ahead) else 0]
            row += np.quantile(gaps, shares).tolist() if len(gaps) else [0] * len(shares)
            row += np.quantile(length, shares).tolist() if len(length) else [0] * len(shares)
            row += np.quantile(window, [0, 0.5, 1]).tolist() if len(window) else [0] * 3
        rows.append(row)
    return columns("whole flow", rows)


def packet_ids(tokens_doc):
    """The ids that begin a packet, as docs/tokens.md lists them."""
    for line in tokens_doc.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[2] == "`packet`" and ".." in cells[1]:
            first, last = cells[1].split("..")
            return range(int(first), int(last) + 1)
    raise ValueError(f"{tokens_doc}: expected a row of the ids `packet`")


def ngrams(tokens, ids, n=PACKETS):
    """How often each token and each pair of neighbours is in the first n packets: the header, with the port, is left out."""
    flows, features, counts = [], [], []
    for f, flow in enumerate(tokens):
        begins = np.nonzero((flow >= ids.start) & (flow < ids.stop))[0]
        if not len(begins):
            continue
        flow = flow[begins[0]:begins[n] if len(begins) > n else len(flow) - 1].astype(np.int64)
        pairs = (flow[:-1] * 40503 + flow[1:] * 2654435761) % (1 << BIGRAM_BITS) + 2048
        found, count = np.unique(np.concatenate([flow, pairs]), return_counts=True)
        flows.append(np.full(len(found), f))
        features.append(found)
        counts.append(np.log1p(count))
    shape = len(tokens), 2048 + (1 << BIGRAM_BITS)
    return sp.csr_matrix((np.concatenate(counts), (np.concatenate(flows), np.concatenate(features))), shape)


def codes(values):
    """Each value as a number, the same for the same value."""
    return np.unique(np.array([str(v) for v in values]), return_inverse=True)[1]
