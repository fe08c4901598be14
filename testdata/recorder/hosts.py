"""What is recorded as traces: hosts that use several servers for minutes, as people and devices do.

The server has six addresses, each a server to its clients. People read pages: a question to the name server, then connections to one
to three servers at once, then a pause, log-normal with a median of three seconds. Devices poll a server at an interval of their own,
keep a connection to a broker, and try again, later and later, where nothing listens. Mail programs look for mail again and again and
send some. All of it is real: the programs are those of the other scenarios.
"""

import math
import random
import time

import servers
from net import Host, Router, both
from scenarios import Scenario

SERVERS = 6
DURATION_S = 180
SMALL = {"largest": 5200}
WINDOWS = {"tcp_timestamps": 0, "ip_default_ttl": 128, "tcp_rmem": "4096 65536 2097152"}


class Site:
    """A client and what it does: work at one of the server's addresses."""

    def __init__(self, t, client, rng):
        self.t, self.client, self.rng, self.end = t, client, rng, time.monotonic() + DURATION_S

    def work(self, do, server, n=1, **more):
        """A piece of work at the server's address number `server`, from 1."""
        number = self.t.net.number
        ends = {"4": f"10.{number}.200.{server}", "6": f"2001:db8:{number:x}:200::{server:x}"}
        more = {"think": (0, 0.02), "may_fail": n, "parallel": n} | SMALL | more
        return self.t.work(do, n, client=self.client, servers=ends, seed=self.rng.random(), **more)

    def goes_on(self, pause_s):
        """Waits; tells whether there is time left."""
        time.sleep(max(0.0, min(pause_s, self.end - time.monotonic())))
        return time.monotonic() < self.end


def person(site):
    """Pages of a few servers that the person likes, with think time."""
    rng = site.rng
    liked = rng.sample(range(1, SERVERS + 1), SERVERS)
    while site.goes_on(rng.lognormvariate(math.log(3), 1.2)):
        pages = {liked[min(int(rng.expovariate(0.7)), SERVERS - 1)] for _ in range(rng.choice([1, 1, 2, 3]))}
        site.t.do(site.work("dns_tcp", 1))
        site.t.do(*(site.work(rng.choice(["https_get", "https_get", "http_get"]), server, rng.choice([1, 2, 4, 6])) for server in sorted(pages)))


def device(site):
    """Polls of one server, a connection to a broker, and a service that is not there."""
    rng, home, every_s, retry_s = site.rng, site.rng.randint(1, SERVERS), site.rng.choice([4, 7, 12]), 1.0
    retried = 0.0
    site.t.do(site.work("mqtt", home))
    while site.goes_on(every_s * rng.uniform(0.9, 1.1)):
        site.t.do(site.work(rng.choice(["https_get", "http_beacon"]), home, requests=[1]))
        if rng.random() < 0.15:
            site.t.do(site.work("mqtt", home))
        if time.monotonic() - retried > retry_s:
            site.t.do(site.work("refused", SERVERS))
            retried, retry_s = time.monotonic(), min(2 * retry_s, 60)


def mail(site):
    """A mail program: it looks for mail twice a minute, and sends a message at times."""
    while site.goes_on(site.rng.uniform(20, 32)):
        site.t.do(site.work("imap", 2))
        if site.rng.random() < 0.4:
            site.t.do(site.work("smtp", 3))


def together(name, uses):
    """Has each client do its uses at once; `uses` are lists of functions, a list for each client."""
    def run(t):
        number = t.net.number
        more = range(2, SERVERS + 1)
        t.net.ip(t.net.server_ns, [f"addr add 10.{number}.200.{k}/24 dev eth0" for k in more]
                 + [f"-6 addr add 2001:db8:{number:x}:200::{k:x}/64 dev eth0 nodad" for k in more])
        t.serve(servers.nginx, servers.nsd, servers.mosquitto, servers.dovecot, servers.exim)
        t.at_once(*(lambda use=use, c=c, k=k: use(Site(t, c, random.Random(f"{name} {c} {k}")))
                    for c, mine in enumerate(uses) for k, use in enumerate(mine)))
    return run


HOSTS = []


def add(name, shows, uses, clients, routers):
    HOSTS.append(Scenario(name, shows, together(name, uses), at="middle", clients=clients, routers=routers))


PATHS = {"home": [Router(), both(delay=9, jitter=1)], "far": [both(delay=2, jitter=0.2), both(delay=35, jitter=4, rate=20000)]}

add("hosts-people", "Four people at their browsers, one with mail", [[person], [person, mail], [person], [person]],
    [Host(), Host(), Host(sysctl=WINDOWS), Host(route="advmss 1360")], PATHS["home"])
add("hosts-devices", "Six devices that poll, keep a connection, and try again", [[device]] * 6,
    [Host(), Host(sysctl={"tcp_rmem": "4096 14600 2097152"}), Host(sysctl=WINDOWS), Host(), Host(route="advmss 1360"), Host(sysctl={"tcp_timestamps": 0})], PATHS["home"])
add("hosts-household", "People, devices and a mail program behind one link", [[person], [person, mail], [device], [device], [mail]],
    [Host(), Host(sysctl=WINDOWS), Host(), Host(sysctl={"tcp_timestamps": 0}), Host()], PATHS["far"])
