#!/usr/bin/env python3
"""Draws flows over time, a row for each client: those of the capture with most of them above, generated ones below.

usage: scripts/pipeline-trace.py REAL GENERATED PICTURE     both as tcp-decode --labels writes them, the picture an SVG
       scripts/pipeline-trace.py REAL                       exit 0 if clients of a capture have several flows, else 3
"""

import csv
import sys
from collections import defaultdict

ROWS, WIDTH, ROW, LEFT = 16, 960, 14, 150


def clients(path):
    """Flows of each client, (start, end) in seconds, by capture."""
    captures = defaultdict(lambda: defaultdict(list))
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            start = int(row["start_ns"]) / 1e9
            captures[row["source"]][row["client_addr"]].append((start, start + int(row["duration_ns"]) / 1e9))
    return captures


def several(hosts):
    return [flows for flows in hosts.values() if len(flows) > 1]


def panel(hosts, seconds, top, title):
    """One row a client, in order of first start; the busiest ones if there are too many."""
    shown = sorted(sorted(hosts.items(), key=lambda host: -len(host[1]))[:ROWS], key=lambda host: min(host[1]))
    zero = min(min(flows)[0] for _, flows in shown)
    x = lambda at: LEFT + (WIDTH - LEFT) * min(max(at - zero, 0) / seconds, 1)
    out = [f'<text x="0" y="{top}" font-weight="bold">{title}: {len(hosts)} clients, '
           f'{sum(map(len, hosts.values()))} flows</text>']
    for i, (addr, flows) in enumerate(shown):
        y = top + ROW * (i + 1)
        out.append(f'<text x="0" y="{y + 4}">{addr}</text>')
        for start, end in flows:
            if start - zero <= seconds:
                out.append(f'<rect x="{x(start):.1f}" y="{y - 3}" width="{max(x(end) - x(start), 1):.1f}" height="7" '
                           'fill="#2a6f97" fill-opacity="0.5"/>')
    return out, top + ROW * (len(shown) + 2)


def main(real, generated, picture):
    source, hosts = max(clients(real).items(), key=lambda capture: sum(map(len, several(capture[1]))))
    made = {addr: flows for capture in clients(generated).values() for addr, flows in capture.items()}
    every = [flow for flows in hosts.values() for flow in flows]
    seconds = max(max(end for _, end in every) - min(start for start, _ in every), 1)
    above, below_at = panel(hosts, seconds, 16, source)
    below, height = panel(made, seconds, below_at, "generated")
    with open(picture, "w") as file:
        print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 8}" '
              'font-family="sans-serif" font-size="11">', *above, *below,
              f'<text x="{WIDTH}" y="{height}" text-anchor="end">{seconds:.0f} s</text>', "</svg>", sep="\n", file=file)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(0 if any(several(hosts) for hosts in clients(sys.argv[1]).values()) else 3)
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
