#!/usr/bin/env python3
"""Does a capture come back from tokens? tshark reads both and every header field is compared.

usage: scripts/check-roundtrip.py CAPTURE DECODED FLOW_LOG

FLOW_LOG is what `tcp-encode --flow-log` wrote of CAPTURE; what it marks as kept has to be in DECODED, and nothing
else. Checksums of DECODED have to be right. Exit code 0: all the same, 1: not, with the first differences named.
"""

import json
import subprocess
import sys

SAME = [
    "frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "tcp.seq_raw",
    "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.urgent_pointer", "tcp.len", "tcp.hdr_len", "tcp.options",
    "ip.ttl", "ip.id", "ip.dsfield", "ip.flags.df", "ipv6.hlim", "ipv6.tclass", "ipv6.flow",
]
MORE = ["tcp.stream", "frame.number", "tcp.checksum.status", "ip.checksum.status", "_ws.malformed"]
SHOWN = 10


def flows(capture):
    """Packets of each TCP stream, as a dict per packet, the innermost of repeated fields."""
    command = ["tshark", "-n", "-r", capture, "-Y", "tcp", "-d", "tcp.port==0-65535,data", "-T", "fields", "-E", "occurrence=l"]
    command += ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    for name in SAME + MORE:
        command += ["-e", name]
    text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    streams = {}
    for line in text.splitlines():
        packet = dict(zip(SAME + MORE, line.split("\t")))
        streams.setdefault(packet["tcp.stream"], []).append(packet)
    return list(streams.values())


def key(flow):
    return tuple(flow[0][name] for name in SAME[:7])


def main(capture, decoded, log):
    with open(log, encoding="utf-8") as lines:
        kept = {r["first_packet"] for r in map(json.loads, lines) if r["kept"]}
    wanted = {key(f): f for f in flows(capture) if int(f[0]["frame.number"]) in kept}
    wrong, packets = [], 0
    found = flows(decoded)
    for flow in found:
        original = wanted.pop(key(flow), None)
        if original is None:
            wrong.append(f"{key(flow)}: not a kept conversation of {capture}")
            continue
        if len(original) != len(flow):
            wrong.append(f"frame {original[0]['frame.number']}: {len(original)} packets became {len(flow)}")
        for a, b in zip(original, flow):
            packets += 1
            wrong += [f"frame {a['frame.number']}: {n} {a[n]} became {b[n]}" for n in SAME if a[n] != b[n]]
            if "0" in (b["tcp.checksum.status"], b["ip.checksum.status"]) or b["_ws.malformed"]:
                wrong.append(f"frame {b['frame.number']} of {decoded}: wrong checksum or malformed")
    wrong += [f"frame {f[0]['frame.number']}: not in {decoded}" for f in wanted.values()]
    for line in wrong[:SHOWN]:
        print(line)
    print(f"{capture}: {len(found)} flows, {packets} packets, {len(wrong)} differences")
    return 1 if wrong or not kept else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    sys.exit(main(*sys.argv[1:]))
