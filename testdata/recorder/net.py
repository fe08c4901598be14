"""Namespaces, veth pairs, routers with a delaying forwarder, and tcpdump at the wire."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """Something a scenario needs did not work; the message names it."""


class Processes:
    """All processes the recorder has started, so that all can be ended."""

    def __init__(self):
        self.running, self.lock, self.stopping = set(), threading.Lock(), False

    def start(self, argv, **how):
        with self.lock:
            if self.stopping:
                raise Failed("stopped")
            p = subprocess.Popen([str(a) for a in argv], start_new_session=True, **how)
            self.running.add(p)
            return p

    def run(self, argv, limit_s=60, stdin=None, check=True):
        """Runs a command to its end; returns what it wrote."""
        p = self.start(argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = p.communicate(stdin, timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.end(p)
            raise Failed(f"{short(argv)}: not done after {limit_s} s") from None
        with self.lock:
            self.running.discard(p)
        if check and p.returncode:
            raise Failed(f"{short(argv)}: exit status {p.returncode}: {said.strip()[-600:]}")
        return said

    def end(self, p, sig=signal.SIGTERM):
        """Ends a process and the group it leads, by force after two seconds."""
        for s in (sig, signal.SIGKILL):
            if p.poll() is None:
                try:
                    os.killpg(p.pid, s)
                except ProcessLookupError:
                    pass
                try:
                    p.wait(2)
                except subprocess.TimeoutExpired:
                    continue
            break
        with self.lock:
            self.running.discard(p)

    def end_all(self):
        with self.lock:
            self.stopping = True
            left = list(self.running)
        for p in left:
            self.end(p)


def short(argv):
    return " ".join(str(a) for a in argv)[:160]


@dataclass
class Link:
    """One direction of a router's wire; fields as in delay.c, times in milliseconds."""
    delay: float = 0.15
    jitter: float = 0.0
    reorder: float = 0.0   # share of packets
    held: float = 0.0
    dup: float = 0.0       # share of packets
    rate: int = 0          # kbit/s
    queue: int = 64000     # octets
    mark: int = 0          # octets
    loss: float = 0.0      # share of packets, dropped by nftables

    def argument(self, direction, octet):
        keys = {"delay": self.delay * 1e3, "jitter": self.jitter * 1e3, "held": self.held * 1e3,
                "reorder": self.reorder * 1e6, "dup": self.dup * 1e6,
                "rate": self.rate, "queue": self.queue, "mark": self.mark}
        if octet is not None:
            keys["class"] = octet
        return f"{direction}:" + ",".join(f"{k}={int(v)}" for k, v in keys.items())

    def words(self):
        w = [f"{self.delay:g} ms"]
        if self.jitter:
            w.append(f"jitter {self.jitter:g} ms")
        if self.rate:
            w.append(f"{self.rate / 1000:g} Mbit/s")
        if self.mark:
            w.append("CE marks")
        for share, word in ((self.loss, "lost"), (self.reorder, "held back"), (self.dup, "doubled")):
            if share:
                w.append(f"{share * 100:g} % {word}")
        return ", ".join(w)


@dataclass
class Router:
    """A router between the hosts: delay both ways, loss, rules."""
    up: Link = field(default_factory=Link)
    down: Link = field(default_factory=Link)
    classes: list = field(default_factory=list)  # (up, down) for the first client address, the second, ...
    rules: list = field(default_factory=list)    # nftables, chain forward; oifname is "up" or "down"

    def words(self):
        if self.classes:
            delays = [d.delay for d, _ in self.classes]
            return f"{min(delays):g} to {max(delays):g} ms each way, by client"
        if self.up == self.down:
            return f"each way {self.up.words()}"
        return f"up {self.up.words()}; down {self.down.words()}"


def both(**link):
    """A router that is the same both ways."""
    return Router(up=Link(**link), down=Link(**link))


@dataclass
class Host:
    addresses: int = 1
    sysctl: dict = field(default_factory=dict)
    route: str = ""           # appended to the default route: "advmss 536", "initcwnd 4", ...
    congestion: str = "cubic"
    offload: bool = False     # TSO, GSO, GRO and checksum offload
    mtu: int = 1500


# The kernel's own defaults, so that the recording does not depend on the machine's tuning.
STOCK = {
    "tcp_timestamps": 1, "tcp_sack": 1, "tcp_window_scaling": 1, "tcp_ecn": 2, "tcp_dsack": 1,
    "tcp_rmem": "4096 131072 6291456",
    "tcp_wmem": "4096 16384 4194304", "tcp_fastopen": 1, "tcp_syn_retries": 6,
}
PLAIN = {  # addresses are there at once, and nothing is filtered
    "conf.all.rp_filter": 0, "conf.default.rp_filter": 0, "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.default.dad_transmits": 0,
}
ROUTER = {"ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "icmp_ratelimit": 0}


class Net:
    """Clients, a chain of routers, a server. Client i is host i; addresses are 10.NUMBER.i.x and
    2001:db8:NUMBER:i::x, where x is never the same for two clients."""

    def __init__(self, procs, prefix, number, clients, server, routers):
        self.procs, self.number = procs, number
        self.clients, self.server, self.routers = clients, server, routers
        self.client_ns = [f"{prefix}-c{i}" for i in range(len(clients))]
        self.router_ns = [f"{prefix}-r{i}" for i in range(len(routers))]
        self.server_ns = f"{prefix}-s"
        self.server4, self.server6 = f"10.{number}.200.1", f"2001:db8:{number:x}:200::1"
        self.sources4, self.sources6, octet = [], [], 1
        for i, c in enumerate(clients):
            octets = range(octet, octet + c.addresses)
            self.sources4.append([f"10.{number}.{i}.{o}" for o in octets])
            self.sources6.append([f"2001:db8:{number:x}:{i}::{o:x}" for o in octets])
            octet += c.addresses

    def names(self):
        return [*self.client_ns, *self.router_ns, self.server_ns]

    def up(self, scratch):
        self._namespaces()
        for ns, host in self._hosts():
            self.sysctl(ns, PLAIN | STOCK | host.sysctl)
        for ns in self.router_ns:
            self.sysctl(ns, PLAIN | ROUTER)
        self._wires()
        for i, router in enumerate(self.routers):
            self._forwarder(self.router_ns[i], i, router, scratch)
            self._rules(self.router_ns[i], router)
        self._routes()
        self._reach()

    def down(self):
        for ns in self.names():
            subprocess.run(["ip", "netns", "del", ns], stdin=subprocess.DEVNULL, capture_output=True)

    def pids(self, ns):
        p = subprocess.run(["ip", "netns", "pids", ns], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return [int(x) for x in p.stdout.split()]

    def inside(self, ns, *argv):
        return ["ip", "netns", "exec", ns, *argv]

    def run(self, ns, *argv, **how):
        return self.procs.run(self.inside(ns, *argv), **how)

    def ip(self, ns, lines):
        """Runs lines of `ip` in a namespace (in none where ns is None); lines that begin with -6 last."""
        where = ["-n", ns] if ns else []
        for family, mine in (([], [x for x in lines if not x.startswith("-6 ")]), (["-6"], [x[3:] for x in lines if x.startswith("-6 ")])):
            if mine:
                self.procs.run(["ip", *where, *family, "-batch", "-"], stdin="\n".join(mine) + "\n")

    def sysctl(self, ns, values):
        full = [f"{k if k.startswith('net.') else 'net.ipv4.' + k}={v}" for k, v in values.items()]
        self.run(ns, "sysctl", "-q", "-w", *full)

    def route(self, ns, options, congestion="cubic"):
        """Replaces a host's default routes by ones with these options. Congestion control is the
        route's: a namespace may not choose every kind by sysctl."""
        link = self.number
        if ns == self.server_ns:
            via4, via6 = f"10.{link}.200.254", f"2001:db8:{link:x}:200::ff"
        else:
            i = self.client_ns.index(ns)
            via4, via6 = f"10.{link}.{i}.254", f"2001:db8:{link:x}:{i}::ff"
        self.ip(ns, [f"{v}route replace default via {via} dev eth0 {options} congctl {congestion}" for v, via in (("", via4), ("-6 ", via6))])

    def _hosts(self):
        return [*zip(self.client_ns, self.clients), (self.server_ns, self.server)]

    def _namespaces(self):
        self.ip(None, [f"netns add {n}" for n in self.names()])
        for ns in self.names():
            self.ip(ns, ["link set lo up"])

    def _wires(self):
        first, last = self.router_ns[0], self.router_ns[-1]
        for i, (ns, host) in enumerate(zip(self.client_ns, self.clients)):
            self._wire(ns, "eth0", first, f"c{i}", host)
            self._addresses(ns, "eth0", self.sources4[i], self.sources6[i])
            self._addresses(first, f"c{i}", *self._gateway(i))
        self._wire(self.server_ns, "eth0", last, "s", self.server)
        self._addresses(self.server_ns, "eth0", [self.server4], [self.server6])
        self._addresses(last, "s", *self._gateway(200))
        for i, (left, right) in enumerate(zip(self.router_ns, self.router_ns[1:])):
            self._wire(left, "right", right, "left", Host(mtu=max(c.mtu for c in self.clients)))
            self._addresses(left, "right", [f"10.{self.number}.{240 + i}.1"], [f"2001:db8:{self.number:x}:{240 + i}::1"])
            self._addresses(right, "left", [f"10.{self.number}.{240 + i}.2"], [f"2001:db8:{self.number:x}:{240 + i}::2"])

    def _gateway(self, subnet):
        return [f"10.{self.number}.{subnet}.254"], [f"2001:db8:{self.number:x}:{subnet}::ff"]

    def _wire(self, a, a_name, b, b_name, host):
        self.ip(None, [f"link add {a_name} netns {a} mtu {host.mtu} type veth peer name {b_name} netns {b} mtu {host.mtu}"])
        for ns, name, offload in ((a, a_name, host.offload), (b, b_name, False)):
            self.ip(ns, [f"link set {name} up"])
            if not offload:
                self.run(ns, "ethtool", "-K", name, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
            elif "gro" in self.run(ns, "ethtool", "-k", name):
                self.run(ns, "ethtool", "-K", name, "gro", "on")

    def _addresses(self, ns, name, v4, v6):
        self.ip(ns, [f"addr add {a}/24 dev {name}" for a in v4] + [f"addr add {a}/64 dev {name} nodad" for a in v6])

    def _forwarder(self, ns, i, router, scratch):
        links = [router.up.argument("up", None), router.down.argument("down", None)]
        octets = [int(a.rsplit(".", 1)[1]) for s in self.sources4 for a in s]
        for octet, (up, down) in zip(octets, router.classes):
            links += [up.argument("up", octet), down.argument("down", octet)]
        p = self.procs.start(self.inside(ns, scratch / "delay", self.number * 10 + i, *links), stdout=subprocess.PIPE)
        if p.stdout.readline() != b"ready\n":
            raise Failed(f"the forwarder in {ns} did not start")
        mtu = max(c.mtu for c in self.clients)
        self.ip(ns, [f"link set dev {d} mtu {mtu} txqueuelen 5000 up" for d in ("up", "down")])

    def _rules(self, ns, router):
        rules = [f'oifname "{d}" meta l4proto tcp numgen random mod 100000 < {int(link.loss * 1e5)} drop'
                 for d, link in (("up", router.up), ("down", router.down)) if link.loss]
        if rules or router.rules:
            text = "table inet wire {\n chain forward {\n  type filter hook forward priority 0;\n  "
            self.run(ns, "nft", "-f", "-", stdin=text + "\n  ".join(rules + router.rules) + "\n }\n}\n")

    def _routes(self):
        for ns, host in self._hosts():
            self.route(ns, host.route, host.congestion)
        n, last = self.number, len(self.router_ns) - 1
        for i, ns in enumerate(self.router_ns):
            left = [f"c{k}" for k in range(len(self.clients))] if i == 0 else ["left"]
            right = "s" if i == last else "right"
            lines = []
            for v in ("", "-6 "):
                lines += [f"{v}rule add iif {x} lookup 100" for x in left]
                lines += [f"{v}rule add iif {right} lookup 101",
                          f"{v}route add default dev up table 100", f"{v}route add default dev down table 101"]
            if i != last:
                lines += [f"route add default via 10.{n}.{240 + i}.2", f"-6 route add default via 2001:db8:{n:x}:{240 + i}::2"]
            if i != 0:
                for k in range(len(self.clients)):
                    lines += [f"route add 10.{n}.{k}.0/24 via 10.{n}.{239 + i}.1",
                              f"-6 route add 2001:db8:{n:x}:{k}::/64 via 2001:db8:{n:x}:{239 + i}::1"]
            self.ip(ns, lines)


    def _reach(self):
        """Every client reaches the server, so that no capture begins with waiting for neighbours."""
        for ns in self.client_ns:
            for to in (self.server4, self.server6):
                self.run(ns, "ping", "-q", "-c", 3, "-i", 0.1, "-w", 4, to)


class Capture:
    """tcpdump on one interface, from before the first packet to after the last."""

    def __init__(self, net, ns, interface, path, snap, nano, what):
        self.net, self.path = net, path
        precision = ["--time-stamp-precision=nano"] if nano else []
        self.p = net.procs.start(
            net.inside(ns, "tcpdump", "-i", interface, "-n", "-s", snap, "-B", 16384, "-U", "-Z", "root",
                       *precision, "-w", path, *what.split()),
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = ""
        while "listening on" not in said:
            line = self.p.stderr.readline()
            if not line:
                raise Failed(f"tcpdump did not start: {said.strip()}")
            said += line

    def stop(self, quiet_s=1.0, limit_s=12.0):
        """Ends the capture once nothing has come for a while."""
        end, size, since = time.monotonic() + limit_s, -1, 0.0
        while time.monotonic() < end:
            now, seen = time.monotonic(), self.path.stat().st_size
            if seen != size:
                size, since = seen, now
            elif now - since > quiet_s:
                break
            time.sleep(0.1)
        os.killpg(self.p.pid, signal.SIGINT)
        said = self.p.stderr.read()
        self.p.wait(5)
        self.net.procs.end(self.p)
        dropped = re.search(r"(\d+) packets? dropped by kernel", said)
        if dropped and int(dropped[1]):
            raise Failed(f"tcpdump lost {dropped[1]} packets")


def compile_delay(procs, scratch):
    procs.run(["cc", "-O2", "-o", scratch / "delay", HERE / "delay.c", "-lm"])


def missing_commands(commands):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [c for c in commands if not shutil.which(c, path=path)]
