#!/usr/bin/env python3
"""Writes the table of README.md anew from the captures themselves, by tshark.

usage: describe.py [--check] [FOLDER]    (default: the folder above this one)

--check writes nothing, prints more of what is in each file, and exits 1 where the table is stale,
a capture is missing or does not open cleanly, or a checksum that can be checked is wrong (those of
a host with offload on may be).
"""

import argparse
import gzip
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from scenarios import SCENARIOS  # noqa: E402

FIELDS = ["frame.number", "ip.version", "tcp.stream", "tcp.completeness", "ip.checksum.status", "tcp.checksum.status", "tcp.checksum"]
VERDICTS = ["retransmission", "fast_retransmission", "spurious_retransmission", "duplicate_ack", "out_of_order", "lost_segment", "ack_lost_segment",
            "zero_window", "zero_window_probe", "window_update", "window_full", "keep_alive", "keep_alive_ack", "reused_ports"]
SYN, SYN_ACK, ACK, FIN, RST = 1, 2, 4, 16, 32
MANGLED_ZERO = "0xffff"  # Linux writes a checksum of zero so; it adds up, but tshark calls it bad
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
MAGIC = {b"\xd4\xc3\xb2\xa1": ("pcap", "µs"), b"\x4d\x3c\xb2\xa1": ("pcap", "ns"), b"\x0a\x0d\x0d\x0a": ("pcapng", "µs")}


@dataclass
class Seen:
    """What a capture holds."""
    packets: int = 0
    tcp: int = 0
    octets: int = 0
    completeness: dict = field(default_factory=dict)   # of each conversation
    lengths: Counter = field(default_factory=Counter)  # packets of each conversation
    versions: Counter = field(default_factory=Counter)
    verdicts: Counter = field(default_factory=Counter)
    wrong_checksums: int = 0

    def complete(self):
        opened = SYN | SYN_ACK | ACK
        return sum(bits & opened == opened and bits & (FIN | RST) != 0 for bits in self.completeness.values())


def tshark(path, *arguments):
    """In two passes, so that completeness is the whole conversation's; without application protocols,
    since the one for FTP begins conversations of its own."""
    p = subprocess.run(["tshark", "-n", "-2", "-r", path, "-d", "tcp.port==0-65535,data", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", *arguments],
                       capture_output=True, text=True, check=True)
    complaints = [line for line in p.stderr.splitlines() if not line.startswith("Running as user")]
    if complaints:
        raise ValueError(f"{path}: {complaints[0]}")
    return p.stdout


def look(path):
    names = [*FIELDS, *(f"tcp.analysis.{v}" for v in VERDICTS)]
    seen = Seen(octets=path.stat().st_size)
    for line in tshark(path, "-T", "fields", *(x for n in names for x in ("-e", n))).splitlines():
        row = dict(zip(names, line.split("\t")))
        seen.packets += 1
        if not row["tcp.stream"]:
            continue
        seen.tcp += 1
        stream = int(row["tcp.stream"].split(",")[0])
        seen.completeness[stream] = seen.completeness.get(stream, 0) | int(row["tcp.completeness"] or "0", 0)
        seen.lengths[stream] += 1
        seen.versions["4" if row["ip.version"].startswith("4") else "6"] += 1
        seen.wrong_checksums += row["ip.checksum.status"] == "0" or row["tcp.checksum.status"] == "0" and row["tcp.checksum"] != MANGLED_ZERO
        seen.verdicts.update(v for v in VERDICTS if row[f"tcp.analysis.{v}"])
    return seen


def form(path):
    head, packed = path.read_bytes()[:4], ""
    if path.suffix == ".gz":
        head, packed = gzip.open(path).read(4), ".gz"
    name, resolution = MAGIC[head]
    return name + packed, resolution


def number(n):
    return f"{n:,}"


def table(folder):
    rows = ["| file | what it shows | seen from | link, one way | IP | packets | conversations | complete | time | format | KB |\n",
            "| --- | --- | --- | --- | --- | ---: | ---: | ---: | --- | --- | ---: |\n"]
    total, seen_by_file = defaultdict(int), {}
    for s in SCENARIOS:
        path = folder / s.file()
        seen = seen_by_file[s.file()] = look(path)
        name, resolution = form(path)
        counts = (seen.packets, len(seen.completeness), seen.complete())
        for key, n in zip(("packets", "conversations", "complete", "octets"), (*counts, seen.octets)):
            total[key] += n
        rows.append(f"| `{s.file()}` | {s.shows} | {s.at} | {s.link()} | {', '.join(sorted(seen.versions))} | "
                    f"{' | '.join(number(n) for n in counts)} | {resolution} | {name} | {number(round(seen.octets / 1000))} |\n")
    rows.append(f"| **{len(seen_by_file)} files** | | | | | {number(total['packets'])} | {number(total['conversations'])} | "
                f"{number(total['complete'])} | | | {number(round(total['octets'] / 1000))} |\n")
    return "".join(rows), seen_by_file


def details(seen_by_file):
    for name, seen in seen_by_file.items():
        mean = seen.tcp / max(1, len(seen.lengths))
        verdicts = ", ".join(f"{v} {n}" for v, n in seen.verdicts.most_common())
        print(f"{name}: {mean:.1f} packets a conversation, longest {max(seen.lengths.values(), default=0)}; {verdicts or 'no verdicts'}")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--check", action="store_true")
    a.add_argument("folder", nargs="?", type=Path, default=HERE.parent)
    a = a.parse_args()
    readme = a.folder / "README.md"
    made, seen_by_file = table(a.folder)
    before, old = readme.read_text().split(BEGIN) if readme.exists() else ("", END)
    old, after = old.split(END)
    if not a.check:
        readme.write_text(before + BEGIN + made + END + after)
        return 0
    details(seen_by_file)
    unfinished = {s.file() for s in SCENARIOS if s.server.offload or any(c.offload for c in s.clients)}
    wrong = [name for name, seen in seen_by_file.items() if seen.wrong_checksums and name not in unfinished]
    for name in wrong:
        print(f"{name}: {seen_by_file[name].wrong_checksums} packets with a wrong checksum")
    if made != old:
        print(f"{readme}: the table is not what the captures say; run describe.py")
    return int(bool(wrong) or made != old)


if __name__ == "__main__":
    sys.exit(main())
