"""What is recorded: one scenario, one file."""

import random
from dataclasses import dataclass, field
from typing import Callable

import servers
from net import Host, Link, Router, both


@dataclass
class Scenario:
    """A file, the network it is recorded in, and what happens there."""
    name: str
    shows: str
    run: Callable
    at: str = "client"                  # where tcpdump listens: client, middle, server
    clients: list = field(default_factory=lambda: [Host()])
    server: Host = field(default_factory=Host)
    routers: list = field(default_factory=lambda: [Router()])
    snap: int = 116                     # headers with all options, IPv6 too; 96 does for IPv4
    nano: bool = False
    form: str = "pcap"                  # pcap, pcapng, pcap.gz, or pcap.zst, cut behind the headers
    what: str = "tcp"                   # tcpdump's filter
    between_s: tuple = ()               # capture only from here to there; the servers' start counts

    def file(self):
        return f"{self.name}.{self.form}"

    def link(self):
        return "; then ".join(r.words() for r in self.routers)


SCENARIOS = []
CONGESTION = ["reno", "cubic", "bbr"]


def scenario(name, shows, **more):
    def add(run):
        SCENARIOS.append(Scenario(name, shows, run, **more))
        return run
    return add


def talk(port, n, over_s, script, families=(4, 6), **more):
    """n conversations with our own server's port, begun at random within over_s seconds."""
    return {"port": port, "n": n, "over_s": over_s, "script": script, "families": families, **more}


def matched(ports):
    """Splits {PORT: (server's script, client's script)} in two."""
    return {p: s for p, (s, _) in ports.items()}, {p: c for p, (_, c) in ports.items()}


ECHO_SERVER = [["repeat", 1000, [["recv"], ["send", [20, 3000]]]]]
ECHO_CLIENT = [["repeat", [1, 5], [["send", [10, 1500]], ["recv"], ["sleep", [0.01, 0.4]]]], ["close"]]


@scenario("quick", "A little of everything: HTTP, TLS, SSH, PostgreSQL, Redis, SMTP, DNS; a reset, a half-close, a refused connection",
          routers=[both(delay=5, jitter=0.5)])
def quick(t):
    t.serve(servers.nginx, servers.sshd, servers.postgres, servers.redis, servers.exim, servers.nsd)
    server, client = matched({7003: HALF_CLOSE, 7101: CLIENT_RESETS})
    servers.peer(t, server)
    small = {"largest": 3300, "requests": [1, 2], "pause": [0.01, 0.1]}
    t.do(t.work("http_get", 4, parallel=2, **small), t.work("https_get", 1, **small), t.work("ssh_command", 1), t.work("psql", 1, families=[6], **small),
         t.work("redis_command", 1), t.work("redis_typed", 1, **small), t.work("dns_tcp", 3), t.work("smtp_curl", 1), t.work("refused", 1), t.work("http_app", 2, largest=2000), t.work("http_paused", 1, largest=700, pause=[0.05, 0.3]))
    t.talk(talk(7003, 1, 0.2, client[7003], families=(4,)), talk(7101, 1, 0.2, client[7101], families=(6,)))


@scenario("http-lan", "Web pages and an application behind nginx, fetched by curl; keep-alive with pauses", snap=96,
          clients=[Host(addresses=4)], routers=[both(delay=0.12, jitter=0.03)])
def http_lan(t):
    t.serve(servers.nginx)
    t.do(t.work("http_get", 95, parallel=3, think=[0.01, 0.4], families=[4], largest=28000), t.work("http_app", 45, parallel=2, families=[4], largest=28000),
         t.work("http_paused", 18, parallel=3, families=[4], largest=12000))


@scenario("http-wan", "Web pages over a wide-area link", clients=[Host(addresses=3)],
          routers=[Router(up=Link(delay=20, jitter=2, rate=10000), down=Link(delay=20, jitter=3, rate=30000, queue=90000))])
def http_wan(t):
    t.serve(servers.nginx)
    t.do(t.work("http_get", 75, parallel=4, think=[0.05, 0.5], largest=28000), t.work("http_app", 30, parallel=3), t.work("http_paused", 16, parallel=3, largest=12000))


def many_rtts():
    delays = [0.4, 2, 5, 9, 14, 20, 27, 35, 45, 58, 75, 100, 3, 7, 12, 18, 24, 30, 40, 50, 65, 85]
    rates = [0, 50000, 0, 20000, 8000, 0, 16000, 4000, 10000, 6000, 2500, 5000]
    return [(Link(delay=d, jitter=d * 0.06, rate=rates[i % 12] // 2), Link(delay=d, jitter=d * 0.08, rate=rates[i % 12], queue=60000))
            for i, d in enumerate(delays)]


@scenario("http-clients", "A web server seen from its own side: clients of six kinds (TTL, window, MSS, timestamps, SACK, ECN) at many distances",
          at="server", snap=96, routers=[Router(classes=many_rtts())], clients=[
              Host(addresses=6), Host(addresses=4, sysctl={"tcp_timestamps": 0, "ip_default_ttl": 128, "tcp_rmem": "4096 65536 2097152"}),
              Host(addresses=4, route="advmss 1360", sysctl={"tcp_rmem": "4096 87380 4194304", "tcp_ecn": 1}),
              Host(addresses=3, sysctl={"tcp_window_scaling": 0, "tcp_timestamps": 0, "ip_default_ttl": 255}),
              Host(addresses=3, sysctl={"tcp_sack": 0}, route="advmss 1240"), Host(addresses=2, sysctl={"ip_default_ttl": 128}, route="initrwnd 40")])
def http_clients(t):
    t.serve(servers.nginx)
    t.do(*(t.work("http_get", n, client=i, parallel=4, think=[0.05, 0.6], families=[4], largest=28000) for i, n in enumerate([66, 42, 42, 30, 30, 20])),
         t.work("http_app", 30, client=1, parallel=3, families=[4]))


@scenario("https", "Web pages over TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2; some handshakes given up", form="pcapng",
          clients=[Host(addresses=2)], routers=[both(delay=8, jitter=1)])
def https(t):
    t.serve(servers.nginx)
    t.do(t.work("https_get", 75, parallel=4, largest=18000), t.work("tls_failed", 16))


@scenario("ssh", "SSH: commands, typed sessions, sftp", routers=[both(delay=18, jitter=3)])
def ssh(t):
    t.serve(servers.sshd)
    t.do(t.work("ssh_command", 34, parallel=3), t.work("ssh_typed", 9, parallel=3), t.work("sftp", 12, parallel=2, largest=18000))


@scenario("postgres", "Database sessions on a local network", at="server", nano=True, routers=[both(delay=0.2, jitter=0.1)])
def postgres(t):
    t.serve(servers.postgres)
    t.do(t.work("psql", 80, parallel=4))


@scenario("redis", "Redis: typed commands, pipelines, subscribers that wait", nano=True, snap=96, routers=[both(delay=2.5, jitter=0.4)])
def redis(t):
    t.serve(servers.redis)
    t.do(t.work("redis_command", 60, parallel=3, families=[4]), t.work("redis_typed", 25, parallel=3, families=[4]), t.work("redis_wait", 12, parallel=3, families=[4]),
         t.work("redis_benchmark", 1, families=[4]))


@scenario("smtp", "Mail to exim: one message or several, some by STARTTLS", at="server", routers=[both(delay=30, jitter=4)], clients=[Host(addresses=3)])
def smtp(t):
    t.serve(servers.exim)
    t.do(t.work("smtp", 46, parallel=5, largest=18000), t.work("smtp_curl", 25, parallel=2))


@scenario("dns-noise", "DNS over TCP, with DNS over UDP, ping and ARP in between", what="tcp or udp or icmp or icmp6 or arp",
          routers=[both(delay=12, jitter=2)], clients=[Host(addresses=2)])
def dns_noise(t):
    t.serve(servers.nsd)
    t.do(t.work("dns_tcp", 160, parallel=4, think=[0, 0.2]), t.work("dns_udp", 40, think=[0, 0.3]), t.work("ping", 8))


@scenario("transfers", "git clone, rsync, FTP (active and passive)", at="middle", clients=[Host(addresses=2)],
          routers=[both(delay=4, jitter=0.5, rate=50000), both(delay=6, jitter=1)])
def transfers(t):
    t.serve(servers.gitd, servers.nginx, servers.rsyncd, servers.ftpd)
    t.do(t.work("git_clone", 24, parallel=3), t.work("rsync", 28, parallel=3), t.work("ftp", 26, parallel=3))


@scenario("bulk", "Long iperf3 flows through a bottleneck: cubic, reno, bbr; both directions; two streams at once", at="middle", snap=96, form="pcap.gz",
          clients=[Host(congestion=c) for c in CONGESTION],
          routers=[both(delay=15, jitter=0.3, rate=12000, queue=60000), both(delay=5)])
def bulk(t):
    t.serve(servers.iperf)
    for client, flags in [(1, "-n 2200K"), (0, "-n 600K"), (2, "-n 600K"), (1, "-R -n 500K"), (0, "-P 2 -n 200K"), (2, "-R -n 400K"), (0, "-M 536 -n 200K"), (2, "-w 32K -n 200K")]:
        t.do(t.work("iperf3", 1, client=client, iperf=flags.split(), families=[4]))


@scenario("bulk-ecn", "Flows through a bottleneck that marks CE; ECN on at both ends", at="server", clients=[Host(addresses=4, sysctl={"tcp_ecn": 1})],
          server=Host(sysctl={"tcp_ecn": 1}), routers=[both(delay=6, rate=6000, queue=90000, mark=12000)])
def bulk_ecn(t):
    t.serve(servers.nginx, servers.iperf)
    t.do(t.work("http_get", 60, parallel=4))
    for flags in ("-n 250K", "-R -n 250K"):
        t.do(t.work("iperf3", 1, iperf=flags.split()))


@scenario("loss-server", "2 % of packets lost, seen from the server", at="server", snap=96, clients=[Host(addresses=3)],
          routers=[both(delay=15, jitter=2, loss=0.02)])
def loss_server(t):
    t.serve(servers.nginx, servers.postgres)
    t.do(t.work("http_get", 90, parallel=6, families=[4]), t.work("psql", 25, parallel=3, families=[4]), t.work("http_app", 20, parallel=3, families=[4]))


@scenario("loss-client", "Lossy last mile, seen from the client; IPv6", clients=[Host(addresses=3)],
          routers=[Router(up=Link(delay=55, jitter=5, loss=0.015), down=Link(delay=55, jitter=6, rate=8000, queue=40000, loss=0.03))])
def loss_client(t):
    t.serve(servers.nginx, servers.sshd, servers.exim)
    t.do(t.work("http_get", 68, parallel=6, families=[6], largest=28000), t.work("ssh_command", 6, families=[6]), t.work("smtp", 16, parallel=2, families=[6], largest=12000),
         t.work("https_get", 14, parallel=2, families=[6], largest=18000))


@scenario("loss-middle", "8 % lost on the way back, seen in the middle; no SACK for one client", at="middle",
          clients=[Host(addresses=2), Host(addresses=2, sysctl={"tcp_sack": 0})], server=Host(congestion="reno"),
          routers=[both(delay=5), Router(up=Link(delay=10), down=Link(delay=10, loss=0.08, dup=0.01))])
def loss_middle(t):
    t.serve(servers.nginx)
    t.do(t.work("http_get", 45, parallel=5), t.work("http_get", 38, client=1, parallel=5))


@scenario("reorder", "4 % of packets overtaken, 0.5 % doubled, seen from the receiver", clients=[Host(addresses=2)],
          routers=[both(delay=14, jitter=2, reorder=0.04, held=7, dup=0.005)])
def reorder(t):
    t.serve(servers.nginx, servers.rsyncd)
    t.do(t.work("http_get", 80, parallel=5), t.work("rsync", 8, parallel=2))


HALF_CLOSE = ([["eof"], ["sleep", [0.02, 0.4]], ["send", [100, 20000]], ["close"]], [["send", [10, 4000]], ["fin"], ["eof"], ["close"]])
CLIENT_RESETS = ([["repeat", 1000, [["recv"], ["send", [20, 6000]]]]], [["repeat", [1, 3], [["send", [10, 900]], ["recv"], ["sleep", [0.01, 0.3]]]], ["rst"]])

ENDINGS = {
    7001: (ECHO_SERVER, ECHO_CLIENT),
    7002: ([["recv"], ["send", [20, 9000]], ["close"]], [["send", [10, 2000]], ["eof"], ["close"]]),
    7003: HALF_CLOSE,
    7004: ([["send", [50, 3000]], ["fin"], ["eof"], ["close"]], [["recv"], ["eof"], ["repeat", [1, 5], [["send", [20, 2500]], ["sleep", [0.02, 0.2]]]], ["close"]]),
    7005: ([["recv"], ["send", [20, 2000]], ["until", 0.5], ["close"]], [["send", [10, 300]], ["recv"], ["until", 0.5], ["close"]]),
    7006: ([["send", [4000, 20000]], ["eof"], ["close"]], [["sleep", [0.1, 0.3]], ["close"]]),
    7007: ([["repeat", 12, [["send", [100, 1200]], ["sleep", 0.08]]], ["close"]], [["recv"], ["recv"], ["recv"], ["close"]]),
    7008: ([["eof"], ["close"]], [["close"]]),
    7009: ([["recv"], ["send", 50], ["eof"], ["close"]], [["send", 100], ["urgent"], ["send", 200], ["recv"], ["close"]]),
    7010: ([["send", [30, 200]], ["eof"], ["sleep", [0.5, 2.5]], ["close"]], [["recv"], ["fin"], ["eof"], ["close"]]),
}


@scenario("endings", "Ways to end: either side first, half-close, both at once, close with data unread, data after close, urgent data",
          routers=[both(delay=20, jitter=1)], clients=[Host(addresses=2)])
def endings(t):
    server, client = matched(ENDINGS)
    servers.peer(t, server)
    counts = {7001: 36, 7002: 36, 7003: 36, 7004: 20, 7005: 35, 7006: 15, 7007: 20, 7008: 15, 7009: 5, 7010: 15}
    t.talk(*(talk(p, n, 15, client[p]) for p, n in counts.items()))


@scenario("resets", "Connections refused, reset by either side, cut in mid-transfer; a filter that rejects, one that is silent",
          routers=[Router(up=Link(delay=9, jitter=1), down=Link(delay=9, jitter=1), rules=[
              "tcp dport 7191 reject with icmpx type admin-prohibited", "tcp dport 7192 drop", "tcp dport 7193 reject with tcp reset"])],
          clients=[Host(addresses=2)])
def resets(t):
    server, client = matched({
        7101: CLIENT_RESETS,
        7102: ([["recv"], ["send", [20, 3000]], ["recv"], ["rst"]], [["send", [10, 900]], ["recv"], ["send", [10, 900]], ["eof"]]),
        7103: ([["rst"]], [["sleep", 0.3]]),
        7104: ([["send", [40000, 90000]], ["eof"]], [["sleep", [0.03, 0.09]], ["rst"]]),
        7105: ([["sleep", [0.03, 0.08]], ["rst"]], [["send", [40000, 120000]], ["eof"]]),
        7106: ([["recv"], ["sleep", [0.1, 0.3]], ["rst"]], [["send", [10, 3000]], ["fin"], ["eof"]]),
        7107: ([["send", [30, 120]], ["eof"]], [["recv"], ["sleep", [0.01, 0.2]], ["rst"]]),
    })
    servers.peer(t, server)
    t.serve(servers.nginx)
    counts = {7101: 60, 7102: 50, 7103: 30, 7104: 9, 7105: 9, 7106: 30, 7107: 30}
    nothing = {7190: 50, 7191: 15, 7192: 3, 7193: 15}
    t.at_once(lambda: t.talk(*(talk(p, n, 15, client[p]) for p, n in counts.items()), *(talk(p, n, 15, [], limit_s=4) for p, n in nothing.items())),
              lambda: t.do(t.work("refused", 20), t.work("http_cut", 8, parallel=2)))


@scenario("keepalive", "Idle connections with keep-alive probes of one second; peers that stop answering", at="server",
          routers=[Router(up=Link(delay=10), down=Link(delay=10), rules=['oifname "down" tcp sport 7203 meta length < 80 tcp flags == ack drop'])])
def keepalive(t):
    alive = ["keepalive", 1, 1, 4]
    server, client = matched({
        7201: (ECHO_SERVER, [alive, ["send", 50], ["recv"], ["sleep", [2.2, 9.0]], ["send", 90], ["recv"], ["close"]]),
        7202: ([alive, ["repeat", 100, [["recv"], ["send", [20, 2000]]]]], [["send", 50], ["recv"], ["sleep", [2.2, 12.0]], ["close"]]),
        7203: ([alive, ["recv"], ["send", 700], ["recv"]], [["send", 50], ["recv"], ["sleep", 9], ["close"]]),
        7204: ([alive, *ECHO_SERVER], [alive, ["repeat", [2, 4], [["send", [10, 200]], ["recv"], ["sleep", [1.2, 4.0]]]], ["close"]]),
    })
    servers.peer(t, server)
    t.talk(*(talk(p, n, 12, client[p]) for p, n in {7201: 18, 7202: 18, 7203: 8, 7204: 18}.items()))


@scenario("zero-window", "Readers that stop or are slow: windows that close, probes, updates; some never read again", routers=[both(delay=3, jitter=0.3)])
def zero_window(t):
    small = ["accept", {"rcvbuf": 8192}]
    server, client = matched({
        7301: ([["send", [30000, 90000]], ["eof"]], [["sleep", [0.8, 4.0]], ["recv"], ["close"]]),
        7302: ([small, ["sleep", [0.5, 3.0]], ["recv"], ["send", 100], ["close"]], [["send", [30000, 70000]], ["recv"], ["close"]]),
        7303: ([["send", [20000, 60000]], ["close"]], [["drain", [1000, 4000], [0.02, 0.15]], ["close"]]),
        7304: ([["send", [40000, 90000]], ["eof"]], [["sleep", [1.5, 4.0]], ["rst"]]),
        7305: ([small, ["sleep", 8], ["rst"]], [["send", [40000, 90000]], ["recv"]]),
    })
    servers.peer(t, server)
    t.talk(*(talk(p, n, 15, client[p], rcvbuf=8192 if p in (7301, 7303, 7304) else 0)
             for p, n in {7301: 14, 7302: 12, 7303: 14, 7304: 5, 7305: 4}.items()))


@scenario("port-reuse", "The same source ports used again and again, after a FIN or a reset", at="server", snap=96, routers=[both(delay=4, jitter=0.5)])
def port_reuse(t):
    server, client = matched({7401: ([["recv"], ["send", [20, 3000]], ["close"]], [["send", [10, 900]], ["recv"], ["eof"], ["sleep", [0.05, 0.3]], ["close"]]),
                              7402: CLIENT_RESETS})
    servers.peer(t, server)
    rounds = [(7401, 40001 + k, 1.1 * i) for i in range(14) for k in range(6)] + [(7402, 40011 + k, 1.6 * i) for i in range(10) for k in range(6)]
    t.talk(*(talk(port, 1, 0.2, client[port], families=(4,), source_port=source, start_s=start) for port, source, start in rounds))


@scenario("parallel", "Waves of many connections at once", at="server", form="pcap.gz",
          clients=[Host(addresses=4), Host(addresses=4)], routers=[Router(up=Link(delay=25, jitter=4), down=Link(delay=25, jitter=4, rate=20000, queue=120000))])
def parallel(t):
    t.serve(servers.nginx)
    for n in (40, 60, 80):
        t.do(t.work("http_get", n, parallel=n, think=[0, 0], largest=8000), t.work("http_get", n // 2, client=1, parallel=n // 2, think=[0, 0], largest=8000))


@scenario("options", "Every mix of timestamps, SACK and window scaling, three congestion controls, MSS from 536 to 1460, odd initial windows", routers=[both(delay=7, jitter=1)])
def options(t):
    t.serve(servers.nginx)
    rng = random.Random(5)
    for mix in range(8):
        for end in (t.net.client_ns[0], t.net.server_ns):
            t.net.sysctl(end, {"tcp_timestamps": mix & 1, "tcp_sack": mix >> 1 & 1, "tcp_window_scaling": mix >> 2 & 1,
                               "tcp_ecn": rng.choice([0, 1, 2])})
        for route in ("", f"advmss {rng.choice([536, 900, 1220, 1380])}", f"initcwnd {rng.choice([1, 2, 4])} quickack 1"):
            t.net.route(t.net.client_ns[0], route, rng.choice(CONGESTION))
            t.net.route(t.net.server_ns, "" if "advmss" in route else route, rng.choice(CONGESTION))
            t.do(t.work("http_get", 6, parallel=6, think=[0, 0.1], largest=18000, seed=mix * 10 + len(route)))


@scenario("offload", "Segmentation and checksum offload left on: segments larger than the wire's, seen on the sending host", at="server", nano=True,
          clients=[Host(offload=True)], server=Host(offload=True), routers=[both(delay=10, rate=40000, queue=200000)])
def offload(t):
    t.serve(servers.nginx)
    t.do(t.work("http_get", 45, parallel=3, largest=120000), t.work("http_app", 24, parallel=2))


@scenario("push", "Servers that speak when they have something: MQTT, answers in ticks, subscribers", routers=[both(delay=60, jitter=5)])
def push(t):
    server, client = matched({7501: ([["repeat", [3, 12], [["sleep", [0.05, 1.2]], ["send", [10, 1800]]]], ["close"]], [["repeat", 100, [["recv"]]]])})
    servers.peer(t, server)
    t.serve(servers.mosquitto, servers.nginx)
    t.at_once(lambda: t.do(t.work("mqtt", 22, parallel=4), t.work("http_push", 28, parallel=4)),
              lambda: t.talk(talk(7501, 35, 12, client[7501])))


@scenario("openings", "Ways to open: data in the SYN, both sides at once, SYN or SYN-ACK lost, a listen queue that overflows",
          routers=[Router(up=Link(delay=40, jitter=1), down=Link(delay=40, jitter=1), rules=[
              'oifname "up" tcp dport 7601 tcp flags == syn numgen random mod 100 < 40 drop',
              'oifname "down" tcp sport 7602 tcp flags == syn|ack numgen random mod 100 < 40 drop',
              'oifname "up" tcp dport 7603 meta length < 60 tcp flags == ack numgen random mod 100 < 50 drop'])],
          clients=[Host(sysctl={"tcp_fastopen": 3})], server=Host(sysctl={"tcp_fastopen": 3}))
def openings(t):
    t.serve(servers.nginx)
    server, client = matched({p: (ECHO_SERVER, ECHO_CLIENT) for p in (7601, 7602, 7603)})
    servers.peer(t, server)
    servers.peer(t, {7604: [["accept", {"every_s": 0.4}], *ECHO_SERVER]}, backlog=1)
    t.at_once(lambda: t.do(t.work("http_get", 40, parallel=2, curl=["--tcp-fastopen"], largest=8000)),
              lambda: t.talk(talk(7601, 25, 12, client[7601]), talk(7602, 25, 12, client[7602]), talk(7603, 20, 12, client[7603]),
                             talk(7604, 16, 0.3, ECHO_CLIENT)),
              lambda: t.meet(12))


@scenario("mtu", "Jumbo frames, then a link narrowed to 1400 and to 1280 octets, found by ICMP", what="tcp or icmp or icmp6", at="server",
          clients=[Host(mtu=9000)], server=Host(mtu=9000), routers=[both(delay=3), both(delay=5)])
def mtu(t):
    t.serve(servers.nginx)
    t.do(t.work("http_get", 25, parallel=2))
    t.net.ip(t.net.router_ns[0], ["link set right mtu 1400"])
    t.net.ip(t.net.router_ns[1], ["link set left mtu 1400"])
    t.do(t.work("http_get", 20, parallel=2))
    t.net.ip(t.net.router_ns[0], ["link set right mtu 1280"])
    t.net.ip(t.net.router_ns[1], ["link set left mtu 1280"])
    t.do(t.work("http_get", 20, parallel=2))


@scenario("office", "All the protocols at once, a little loss, UDP, ping and ARP in between", at="middle", form="pcapng",
          what="tcp or udp or icmp or icmp6 or arp", clients=[Host(addresses=3), Host(addresses=3, sysctl={"tcp_timestamps": 0, "ip_default_ttl": 128})],
          routers=[both(delay=1, jitter=0.3), both(delay=11, jitter=3, loss=0.003, rate=40000)])
def office(t):
    t.serve(servers.nginx, servers.sshd, servers.postgres, servers.redis, servers.exim, servers.nsd, servers.gitd)
    calm = {"think": [0.2, 1.5]}
    t.do(*(t.work(do, n, client=i % 2, **calm) for i, (do, n) in enumerate([
        ("http_get", 24), ("https_get", 8), ("ssh_command", 4), ("psql", 12), ("redis_command", 12), ("redis_typed", 6), ("smtp", 8), ("dns_tcp", 30), ("dns_udp", 30),
        ("git_clone", 3), ("ping", 6), ("https_get", 8), ("http_app", 14), ("sftp", 2), ("http_paused", 6), ("refused", 4), ("http_push", 5)])))


@scenario("wrap", "Sequence numbers that pass 2^32 in one direction or both, with loss; the first number is chosen by TCP_REPAIR",
          routers=[both(delay=6, jitter=0.5, loss=0.01)])
def wrap(t):
    servers.peer(t, {7701: [["recv"], ["send", [20, 4000]], ["eof"], ["close"]]})
    client = [["send", [8000, 40000]], ["recv"], ["close"]]
    for before in (1, 2, 500, 1449, 3000, 7000):
        t.talk(talk(7701, 4, 0.5, client, isn=(1 << 32) - before))
    t.meet(6, octets=(5000, 15000), isn=(1 << 32) - 3000)


@scenario("cut-short", "A capture begun and ended in mid-traffic: conversations without their start, without their end, without either",
          clients=[Host(addresses=2)], routers=[both(delay=16, jitter=2)], between_s=(6, 12))
def cut_short(t):
    servers.peer(t, {7801: ECHO_SERVER})
    client = [["repeat", [4, 40], [["send", [10, 900]], ["recv"], ["sleep", [0.2, 1.0]]]], ["close"]]
    t.serve(servers.nginx)
    t.at_once(lambda: t.talk(talk(7801, 40, 12, client)),
              lambda: t.do(t.work("http_paused", 30, parallel=3), t.work("http_push", 30, parallel=4)))
