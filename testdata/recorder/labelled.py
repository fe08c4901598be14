"""What is recorded for benchmark/: captures whose flows have labels.

A scenario of `apps` is a link with twelve applications between nine clients and a server. The clients differ in congestion control
and stack; the server answers each with the client's congestion control. One of `odd` is a link with benign use, and in its second
half of them odd use too, between the same hosts. Addresses, roles of the clients and the order of work are drawn anew for each
recording, so that an address tells nothing of a label.
"""

import csv
import ipaddress
import random
import time
from dataclasses import dataclass

import servers
from describe import tshark
from net import Host, Link, Router
from scenarios import CONGESTION, Scenario

COLUMNS = ["file", "first_frame", "application", "client", "congestion", "stack", "loss", "activity", "link", "group", "split"]
APPLICATIONS = {80: "http", 443: "https", 22: "ssh", 25: "smtp", 143: "imap", 5432: "postgres", 6379: "redis", 1883: "mqtt", 53: "dns",
                9418: "git", 873: "rsync"} | {5201 + i: "iperf3" for i in range(9)}
STACKS = {
    "stock": {},
    "no-timestamps": {"sysctl": {"tcp_timestamps": 0, "ip_default_ttl": 128, "tcp_rmem": "4096 65536 2097152"}},
    "no-sack": {"sysctl": {"tcp_sack": 0, "tcp_rmem": "4096 87380 4194304"}},
}
# The client's addresses: the first for whatever does not choose, then one for each program that asks for pages, then one for bulk.
PROGRAMS, BULK_ADDRESS = ["", "curl", "wget", "ab", "python", ""], 5
# Octets that are asked for: those of the training captures, and others that are asked for in the captures `sizes` alone.
USUAL, OTHER = [90, 350, 1200, 3300, 8000, 18000, 45000], [180, 700, 2000, 5200, 12000, 28000]
BULK = {"usual": ([250000], "200K"), "other": ([120000], "120K")}  # by HTTP, by iperf3
LOSS = {0.0: "none", 0.01: "1%", 0.03: "3%"}


@dataclass
class Path:
    """A link between the clients and the server: one-way delay and jitter in ms, rates in kbit/s, share lost, MTU."""
    name: str
    delay: float
    jitter: float = 0.0
    up: int = 0
    down: int = 0
    loss: float = 0.0
    mtu: int = 1500

    def router(self):
        return Router(up=Link(delay=self.delay, jitter=self.jitter, rate=self.up, loss=self.loss, queue=90000),
                      down=Link(delay=self.delay, jitter=self.jitter, rate=self.down, loss=self.loss, queue=90000))


SEEN = [Path("lan", 0.3, 0.05), Path("office", 4, 0.5, 50000, 50000), Path("dsl", 12, 1, 4000, 16000, mtu=1492),
        Path("wan", 25, 2, 20000, 30000, 0.01), Path("mobile", 35, 6, 8000, 16000, 0.01, 1400), Path("lossy", 15, 2, 20000, 20000, 0.03)]
UNSEEN = [Path("cable", 8, 1, 10000, 40000), Path("far", 70, 3, 25000, 25000, 0.01), Path("tunnel", 18, 1, 8000, 8000, mtu=1380),
          Path("radio", 28, 8, 6000, 12000, 0.03, 1460)]
ODD_LINKS = {"home": Path("home", 6, 1, 10000, 30000), "other": Path("other", 30, 4, 5000, 12000, 0.003, 1460)}


class Labels:
    """What a running scenario notes, so that each conversation has its label afterwards."""

    def __init__(self, net):
        self.roles = {}     # client: columns
        self.windows = []   # (client, which of its addresses, begin, end, activity)
        self.clients = {ipaddress.ip_address(a): (c, i) for sources in (net.sources4, net.sources6) for c, mine in enumerate(sources) for i, a in enumerate(mine)}

    def of(self, address, port, at):
        """The columns of a conversation: its client's address, its server's port, when it began (seconds since 1970)."""
        client, which = self.clients[address]
        row = dict(self.roles.get(client, {}))
        application = APPLICATIONS.get(port, "closed")
        row |= {"application": application, "client": PROGRAMS[which] if row and application == "http" else ""}
        inside = [kind for c, i, begin, end, kind in self.windows if (c, i) == (client, which) and begin <= at <= end]
        row["activity"] = inside[0] if inside else "benign"
        return row


def rows(path, name, labels, columns):
    """A row for each conversation of a capture, in the order of their first frames."""
    fields = ["frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "ipv6.src", "ip.dst", "ipv6.dst", "tcp.srcport", "tcp.dstport"]
    seen = set()
    for line in tshark(path, "-Y", "tcp", "-T", "fields", *(x for f in fields for x in ("-e", f))).splitlines():
        frame, at, stream, *ends = (x.split(",")[0] for x in line.split("\t"))
        if stream in seen:
            continue
        seen.add(stream)
        source, target = (ipaddress.ip_address(a or b) for a, b in (ends[0:2], ends[2:4]))
        source_port, target_port = int(ends[4]), int(ends[5])
        if source not in labels.clients:  # the server's packet comes first where a conversation goes on after its end
            source, target_port = target, source_port
        yield {"file": name, "first_frame": int(frame), **labels.of(source, target_port, float(at)), **columns}


def write_labels(path, name, new):
    """Puts the rows of one capture into the file of labels, in the place of older ones."""
    kept = []
    if path.exists():
        with open(path, newline="") as f:
            kept = [row for row in csv.DictReader(f) if row["file"] != name]
    part = path.with_name(path.name + ".part")
    with open(part, "w", newline="") as f:
        out = csv.DictWriter(f, COLUMNS, restval="", lineterminator="\n")
        out.writeheader()
        out.writerows(sorted([*kept, *new], key=lambda row: (row["file"], int(row["first_frame"]))))
    part.replace(path)


def sources(net, client, which):
    """The addresses of a client with these indices, as `Run.work` takes them."""
    return {"4": [net.sources4[client][i] for i in which], "6": [net.sources6[client][i] for i in which]}


def roles(name):
    """Congestion control and stack of each of nine clients, in an order that is the recording's own."""
    mix = [(c, s) for c in CONGESTION for s in STACKS]
    random.Random(name).shuffle(mix)
    return mix


def answer_with(net, client, congestion):
    """Has the server answer a client with a congestion control."""
    n = net.number
    net.ip(net.server_ns, [f"route add 10.{n}.{client}.0/24 via 10.{n}.200.254 dev eth0 congctl {congestion}",
                           f"-6 route add 2001:db8:{n:x}:{client}::/64 via 2001:db8:{n:x}:200::ff dev eth0 congctl {congestion}"])


def applications(name, path, sizes):
    """Twelve applications between nine clients and a server."""
    def run(t):
        rng, net, wanted = random.Random(name), t.net, USUAL if sizes == "usual" else OTHER
        web_bulk, iperf_bulk = BULK[sizes]
        for client, (congestion, stack) in enumerate(roles(name)):
            answer_with(net, client, congestion)
            t.labels.roles[client] = {"congestion": congestion, "stack": stack, "loss": LOSS[path.loss]}
        t.serve(servers.nginx, servers.sshd, servers.exim, servers.dovecot, servers.postgres, servers.redis, servers.mosquitto, servers.nsd,
                servers.gitd, servers.rsyncd, *(lambda t, i=i: servers.iperf(t, 5201 + i) for i in range(9)))

        def work(do, n, client, which=(0,), **more):
            return t.work(do, n, client=client, think=(0.02, 0.2), sources=sources(net, client, which), may_fail=1, **{"sizes": wanted} | more)

        pieces = [
            lambda c: work("http_get", 2, c, (1,), requests=[1, 1, 2, 4]), lambda c: work("http_wget", 2, c, (2,)),
            lambda c: work("http_ab", 2, c, (3,)), lambda c: work("http_paused", 2, c, (4,), pause=[0.02, 0.3]),
            lambda c: work("https_get", 2, c), lambda c: work("ssh_command", 2, c), lambda c: work("sftp", 1, c), lambda c: work("smtp", 2, c),
            lambda c: work("imap", 3, c), lambda c: work("psql", 3, c, pause=[0.01, 0.2]), lambda c: work("redis_command", 2, c),
            lambda c: work("redis_typed", 1, c, pause=[0.005, 0.1]), lambda c: work("mqtt", 1, c), lambda c: work("dns_tcp", 3, c),
            lambda c: work("git_clone", 2, c, schemes=["git"]), lambda c: work("rsync", 3, c),
            lambda c: work("http_get", 1, c, (BULK_ADDRESS,), requests=[1], sizes=web_bulk),
            lambda c: work("iperf3", 1, c, iperf=["-p", 5201 + c, "-n", iperf_bulk, *rng.choice([[], ["-R"]])]),
        ]
        todo = [(piece, c) for piece in pieces for c in range(9)]
        rng.shuffle(todo)
        for k in range(0, len(todo), 12):
            t.do(*(piece(c) for piece, c in todo[k:k + 12]))
    return run


def benign(t, rng, hosts, avoid=()):
    """A round of benign use: a few pieces of work by each client, from the addresses that are not to be avoided."""
    choice = [("http_get", {}), ("http_get", {}), ("http_app", {}), ("http_paused", {"pause": [0.05, 0.5]}), ("https_get", {}), ("http_login", {"known": True}),
              ("ssh_command", {}), ("sftp", {}), ("smtp", {}), ("dns_tcp", {}), ("http_push", {})]
    works = []
    for client in range(hosts):
        which = [i for i in range(len(t.net.sources4[client])) if (client, i) not in avoid]
        for do, more in rng.sample(choice, 6):
            works.append(t.work(do, 2, client=client, think=(0.1, 1.0), sources=sources(t.net, client, which), largest=18000, may_fail=1,
                                seed=rng.random(), **more))
    return works


# Odd use: what does it, how often, how many at once, with what pauses. All of it is slow and against our own servers.
ODD = {
    "scan": ("scan", 30, 1, (0.05, 0.3), {}),
    "ssh-bruteforce": ("ssh_wrong", 10, 3, (0.0, 0.3), {}),
    "http-bruteforce": ("http_login", 25, 2, (0.0, 0.2), {"known": False}),
    "slow-http": ("http_trickle", 8, 8, (0.0, 0.1), {}),
    "beacon": ("http_beacon", 16, 1, (0.9, 1.1), {}),
    "exfiltration": ("http_upload", 6, 2, (0.1, 0.5), {}),
}


def mixed(name, is_odd):
    """Benign use, and between the same hosts odd use of each kind, one after the other, where asked for."""
    def run(t):
        rng, hosts = random.Random(name), 3
        t.serve(servers.nginx, servers.sshd, servers.exim, servers.nsd)
        kinds = rng.sample(sorted(ODD), len(ODD)) if is_odd else [None] * 5
        for kind in kinds:
            if kind is None:
                t.do(*benign(t, rng, hosts))
                continue
            who = rng.randrange(hosts), rng.randrange(len(t.net.sources4[0]))
            do, n, parallel, think, more = ODD[kind]
            begin = time.time()
            odd = t.work(do, n, client=who[0], parallel=parallel, think=think, sources=sources(t.net, who[0], [who[1]]), may_fail=n, seed=kind, **more)
            t.do(odd, *benign(t, rng, hosts, avoid={who}))
            t.labels.windows.append((*who, begin, time.time(), kind))
    return run


@dataclass
class Labelled(Scenario):
    """A scenario whose flows have labels, with the columns that are the same for all of them."""
    columns: dict = None


LABELLED = []


def add_applications(path, take, split, sizes="usual"):
    name = f"apps-{path.name}-{take}"
    hosts = [Host(addresses=len(PROGRAMS), congestion=c, mtu=path.mtu, **STACKS[s]) for c, s in roles(name)]
    LABELLED.append(Labelled(name, f"Twelve applications, nine clients; {'other sizes' if sizes == 'other' else 'usual sizes'}",
                             applications(name, path, sizes), at="server", clients=hosts, server=Host(mtu=path.mtu), routers=[path.router()], snap=116,
                             form="pcap.zst", columns={"link": path.name, "group": path.name, "split": split}))


def add_odd(link, take, split, is_odd=False):
    path, name = ODD_LINKS[link], f"odd-{link}-{take}"
    LABELLED.append(Labelled(name, "Benign and odd use" if is_odd else "Benign use alone", mixed(name, is_odd), at="server", clients=[Host(addresses=3, mtu=path.mtu)] * 3,
                             server=Host(mtu=path.mtu), routers=[path.router()], form="pcap.zst", columns={"loss": LOSS.get(path.loss, ""), "link": link, "group": name, "split": split}))


for seen in SEEN:
    add_applications(seen, "a", "train")
    add_applications(seen, "b", "seen")
    if seen.name not in ("lan", "dsl"):
        add_applications(seen, "sizes", "sizes", sizes="other")
for unseen in UNSEEN:
    add_applications(unseen, "a", "link")
    add_applications(unseen, "b", "link")
for number in range(1, 5):
    add_odd("home", f"benign-{number}", "train")
for number in range(1, 6):
    add_odd("home", f"mixed-{number}", "later", is_odd=True)
for number in range(1, 4):
    add_odd("other", f"benign-{number}", "control")
