"""Captures as flows, and flows as arrays of packets: tcp-encode makes tokens of the captures, tcp-decode packets of the tokens."""

import hashlib
import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ETHERNET, FILE_HEADER, RECORD_HEADER = 14, 24, 16
IPV4_FIRST, IPV6_FIRST = 10 << 24, 0x20010DB8 << 96  # the client's address of the first flow
SYN, ACK = 2, 16
# Kinds of TCP options that have a column of their own (RFC 9293, 7323, 2018), in the order of `Packets.options`.
MSS, SCALE, SACK_PERMITTED, TIMESTAMPS = 2, 3, 4, 8


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def run(*command, accept=(0,)):
    """What a program says on stdout; its last line of stderr where its exit code is not accepted."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode not in accept:
        raise RuntimeError(f"{Path(str(command[0])).name}: exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def encode(programs, folder, captures, dataset):
    """Writes all conversations of captures in a folder as a dataset, file by file in the order of their first frames."""
    names = dataset.with_suffix(".txt")
    names.write_text("".join(f"{folder / name}\n" for name in captures))
    run(programs / "tcp-encode", "--quiet", "--force", "--keep", "all", "--files-from", names, dataset, accept=(0, 1))


@dataclass
class Packets:
    """All packets of all flows, flow by flow; the packets of flow f are those from `offsets[f]` to `offsets[f + 1]`."""
    offsets: np.ndarray    # [F + 1]
    direction: np.ndarray  # 1 from the client, -1 from the server
    length: np.ndarray     # octets of payload
    gap: np.ndarray        # seconds since the packet before, 0 for the first
    sequence: np.ndarray   # number in the header
    flags: np.ndarray
    window: np.ndarray     # as in the header
    ttl: np.ndarray
    options: dict          # of SYNs, {packet: {kind: octets, "kinds": tuple}}

    def table(self, values, n):
        """The values of the first n packets of each flow, [F, n]; 0 where a flow is shorter."""
        counts = np.diff(self.offsets)
        at = self.offsets[:-1, None] + np.arange(n)
        inside = np.arange(n) < counts[:, None]
        return np.where(inside, values[np.where(inside, at, 0)], 0)


def anonymous(flows):
    """The flows with their number for an address, so that a packet tells whose it is."""
    versions = flows["ip_version"].to_pylist()
    clients = [str(ipaddress.ip_address((IPV4_FIRST if v == 4 else IPV6_FIRST) + i)) for i, v in enumerate(versions)]
    servers = ["192.0.2.1" if v == 4 else "2001:db8:ffff::1" for v in versions]
    for name, values in (("client_addr", clients), ("server_addr", servers)):
        flows = flows.set_column(flows.schema.get_field_index(name), name, pa.array(values))
    return flows


def records(capture):
    """Where the frames of a pcap file with times in nanoseconds begin, and their times in nanoseconds."""
    at, frames, times = FILE_HEADER, [], []
    while at < len(capture):
        seconds, fraction, kept, _ = np.frombuffer(capture, "<u4", 4, at).tolist()
        frames.append(at + RECORD_HEADER)
        times.append(seconds * 1_000_000_000 + fraction)
        at += RECORD_HEADER + kept
    return np.array(frames), np.array(times)


def syn_options(header):
    """The options of a SYN: octets by kind, and the kinds in their order."""
    found, kinds, at = {}, [], 20
    while at < len(header):
        kind = header[at]
        length = 1 if kind < 2 else header[at + 1] if at + 1 < len(header) else 0
        if length == 0:
            break
        kinds.append(kind)
        found[kind] = header[at + 2:at + length]
        at += length
    return found | {"kinds": tuple(kinds)}


def packets(programs, flows, scratch):
    """The packets of a table of flows, as tcp-decode writes them."""
    dataset, capture = scratch / "anonymous.parquet", scratch / "anonymous.pcap"
    pq.write_table(anonymous(flows), dataset)
    run(programs / "tcp-decode", "--quiet", "--force", "--payload", "none", "--resolution", "ns", dataset, capture)
    octets = capture.read_bytes()
    capture.unlink()
    dataset.unlink()
    at, times = records(octets)
    raw = np.frombuffer(octets, np.uint8)

    def number(offset, width):
        return sum(raw[offset + i].astype(np.int64) << 8 * (width - 1 - i) for i in range(width))

    ip = at + ETHERNET
    is_4 = raw[ip] >> 4 == 4
    tcp = ip + np.where(is_4, (raw[ip] & 15).astype(np.int64) * 4, 40)
    source, width = ip + np.where(is_4, 12, 8), np.where(is_4, 4, 16)
    is_client = np.where(is_4, raw[source] == IPV4_FIRST >> 24, number(source + 4, 2) == 0)
    client = source + np.where(is_client, 0, width)
    flow = number(client + width - 4, 4) - np.where(is_4, IPV4_FIRST, 0)
    order = np.argsort(flow, kind="stable")
    flow, at, ip, tcp, times, is_client, is_4 = (x[order] for x in (flow, at, ip, tcp, times, is_client, is_4))
    offsets = np.searchsorted(flow, np.arange(flows.num_rows + 1))
    header = (raw[tcp + 12] >> 4).astype(np.int64) * 4
    total = np.where(is_4, number(ip + 2, 2), number(ip + 4, 2) + 40)
    gap = np.diff(times, prepend=times[:1]) / 1e9
    gap[offsets[:-1]] = 0
    flags = raw[tcp + 13].astype(np.int64)
    options = {int(i): syn_options(octets[tcp[i]:tcp[i] + header[i]]) for i in np.nonzero(flags & SYN)[0]}
    ttl = raw[ip + np.where(is_4, 8, 7)].astype(np.int64)
    direction, length = np.where(is_client, 1, -1), total - (tcp - ip) - header
    return Packets(offsets, direction, length, gap, number(tcp + 4, 4), flags, number(tcp + 14, 2), ttl, options)
