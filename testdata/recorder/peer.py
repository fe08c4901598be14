"""Both ends of a TCP conversation that follows a script.

usage: peer.py serve JSON    {"ports": {PORT: SCRIPT}, "backlog": N}
       peer.py connect JSON  a list of conversations, see `converse`

A script is a list of steps. Numbers written [LOW, HIGH] are drawn anew, evenly on a log scale.
  ["send", N]        a message of N octets (its length goes before it)
  ["recv"]           one message
  ["eof"]            read until the other side ends
  ["drain", N, S]    read N octets, sleep S seconds, again until the other side ends
  ["sleep", S]       do nothing for S seconds
  ["until", S]       sleep until the clock is at a multiple of S seconds
  ["repeat", N, SCRIPT]
  ["keepalive", IDLE_S, INTERVAL_S, COUNT]
  ["nodelay"]        small segments leave at once
  ["urgent"]         one octet of urgent data
  ["fin"]            close our sending side only
  ["close"]          close; what was not read makes this a reset
  ["rst"]            close by a reset
"""

import json
import math
import os
import random
import socket
import struct
import sys
import threading
import time


class Ended(Exception):
    """The other side has ended."""


def draw(n, rng):
    if not isinstance(n, list):
        return n
    low, high = n
    x = math.exp(rng.uniform(math.log(low), math.log(high)))
    return round(x) if isinstance(low, int) else x


def read_exactly(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        if not part:
            raise Ended
        got += part
    return got


def read_to_end(s, octets=65536, pause_s=0.0):
    while s.recv(octets):
        time.sleep(pause_s)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def keepalive(s, idle_s, interval_s, count):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, idle_s), (socket.TCP_KEEPINTVL, interval_s), (socket.TCP_KEEPCNT, count)):
        s.setsockopt(socket.IPPROTO_TCP, option, value)


def message(n):
    return struct.pack("!I", n) + os.urandom(n)


STEPS = {
    "send": lambda s, r, n: s.sendall(message(draw(n, r))),
    "recv": lambda s, r: read_exactly(s, struct.unpack("!I", read_exactly(s, 4))[0]),
    "eof": lambda s, r: read_to_end(s),
    "drain": lambda s, r, n, pause: read_to_end(s, draw(n, r), draw(pause, r)),
    "sleep": lambda s, r, n: time.sleep(draw(n, r)),
    "until": lambda s, r, n: time.sleep(n - time.time() % n),
    "repeat": lambda s, r, n, script: [run(s, script, r) for _ in range(draw(n, r))],
    "keepalive": lambda s, r, *how: keepalive(s, *how),
    "nodelay": lambda s, r: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    "urgent": lambda s, r: s.send(b"!", socket.MSG_OOB),
    "fin": lambda s, r: s.shutdown(socket.SHUT_WR),
    "close": lambda s, r: s.close(),
    "rst": lambda s, r: reset(s),
}


def run(s, script, rng):
    for name, *arguments in script:
        STEPS[name](s, rng, *arguments)


def play(s, script, rng):
    """Runs a script; a conversation cut short by the other side is an ordinary end."""
    with s:
        try:
            run(s, script, rng)
        except (Ended, OSError):
            pass


def serve_port(port, script, backlog):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    options = script[0][1] if script and script[0][0] == "accept" else {}
    if "rcvbuf" in options:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["rcvbuf"])
    time.sleep(options.get("after_s", 0))
    steps = script[1:] if options else script
    for seed in range(100000):
        time.sleep(options.get("every_s", 0))
        s, _ = listener.accept()
        threading.Thread(target=play, args=(s, steps, random.Random(f"{port} {seed}")), daemon=True).start()


def serve(ports, backlog):
    for port, script in ports.items():
        threading.Thread(target=serve_port, args=(int(port), script, backlog), daemon=True).start()
    threading.Event().wait()


def choose_first_sequence_number(s, isn):
    """Has the kernel begin at a given sequence number (by TCP_REPAIR, before connecting)."""
    repair, repair_queue, queue_seq, send_queue, off = 19, 20, 21, 2, 0
    for option, value in ((repair, 1), (repair_queue, send_queue), (queue_seq, isn - (1 << 32) if isn >> 31 else isn), (repair, off)):
        s.setsockopt(socket.IPPROTO_TCP, option, value)


def connect(to, port, source, source_port, rcvbuf, limit_s, isn):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    s.settimeout(limit_s)
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if source_port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source or source_port:
        s.bind((source, source_port))
    if isn is not None:
        choose_first_sequence_number(s, isn)
    s.connect((to, port))
    return s


def converse(to, port, script, seed, start_s=0.0, source="", source_port=0, rcvbuf=0, limit_s=30, until_s=0, isn=None):
    """One conversation: after start_s (and then at a multiple of until_s on the clock, so that two
    hosts can start at once) connects from source and source_port, with isn as the first sequence
    number, and plays the script."""
    time.sleep(start_s)
    if until_s:
        time.sleep(until_s - time.time() % until_s)
    try:
        s = connect(to, port, source, source_port, rcvbuf, limit_s, isn)
    except OSError:
        return  # refused or timed out: that is what some scripts are for
    play(s, script, random.Random(seed))


def converse_all(conversations):
    threads = [threading.Thread(target=converse, kwargs=c) for c in conversations]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


if __name__ == "__main__":
    what = json.loads(sys.argv[2]) if sys.argv[2] != "-" else json.load(sys.stdin)
    serve(**what) if sys.argv[1] == "serve" else converse_all(what)
