"""Captures that the tests make for themselves."""
import struct
from collections import Counter
from pathlib import Path

from harness import DATA


def pcap_head(link=1, nanos=False):
    return struct.pack("<IHHiIII", 0xA1B23C4D if nanos else 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, link)


def pcap_frame(at_us, data):
    return struct.pack("<IIII", at_us // 1_000_000, at_us % 1_000_000, len(data), len(data)) + data


def tcp_frame(src, dst, sport, dport, seq=1, ack=0, flags=2, options=b""):
    tcp = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, (5 + len(options) // 4) << 4, flags, 64240, 0, 0) + options
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0, src, dst)
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + tcp


def again(name, times):
    """A capture's head, then its frames again and again, each time an hour later: with --idle-timeout other flows."""
    data = (DATA / name).read_bytes()
    yield data[:24]
    for n in range(times):
        at, out = 24, []
        while at < len(data):
            seconds, length = struct.unpack_from("<I4xI", data, at)
            out += [struct.pack("<I", seconds + 3600 * n), data[at + 4:at + 16 + length]]
            at += 16 + length
        yield b"".join(out)


def times(path):
    """When the frames of a capture were captured, in microseconds: how often each."""
    data, at, found = Path(path).read_bytes(), 24, Counter()
    per_second = 1_000_000 if data[:4] == pcap_head()[:4] else 1_000_000_000
    while at < len(data):
        seconds, part, length = struct.unpack_from("<III", data, at)
        found[seconds * 1_000_000 + part * 1_000_000 // per_second] += 1
        at += 16 + length
    return found
