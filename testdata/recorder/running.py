"""One scenario, from empty namespaces to a finished file."""

import gzip
import json
import os
import random
import shutil
import threading
import time

from headers import cut
from net import HERE, Capture, Failed, Net


class Run:
    """What a scenario's function is given: servers, clients, conversations."""

    def __init__(self, procs, stock, scenario, number, scratch):
        self.procs, self.stock, self.scenario = procs, stock, scenario
        self.scratch = scratch / scenario.name
        self.scratch.mkdir()
        self.scratch.chmod(0o755)
        self.rng = random.Random(scenario.name)
        self.net = Net(procs, f"rec{os.getpid()}-{number}", number, scenario.clients, scenario.server, scenario.routers)

    def record(self, target):
        """Sets up, captures while the scenario runs, writes the file, and takes all down again."""
        raw = self.scratch / "raw.pcap"
        try:
            self.net.up(self.scratch.parent)
            self._capture(raw)
            self._write(raw, target)
        finally:
            self._down()

    def serve(self, *start):
        for f in start:
            f(self)

    def work(self, do, n, client=0, parallel=1, think=(0.02, 0.3), families=(4, 6), seed=0, may_fail=0, **more):
        """One piece of work for clients.py, and the client that does it."""
        net = self.net
        return client, {"do": do, "n": n, "parallel": parallel, "think": think, "families": families, "may_fail": may_fail,
                        "seed": f"{self.scenario.name} {do} {client} {seed}", "servers": {"4": net.server4, "6": net.server6},
                        "sources": {"4": net.sources4[client], "6": net.sources6[client]},
                        "stock": str(self.stock.root), "scratch": str(self.scratch), **more}

    def do(self, *works):
        """Does pieces of work at once; returns when all are done."""
        self.at_once(*(lambda c=c, w=w: self._run(self.net.client_ns[c], "clients.py", json.dumps(w)) for c, w in works))

    def talk(self, *talks):
        """Holds conversations with our own server (see scenarios.talk)."""
        conversations = [self._conversation(dict(k)) for k in talks for _ in range(k["n"])]
        self._run(self.net.client_ns[0], "peer.py", "connect", "-", stdin=json.dumps(conversations))

    def meet(self, n, octets=(20, 900), **more):
        """Both hosts connect to each other at the same moment, n times."""
        script = [["sleep", [0.1, 0.3]], ["send", list(octets)], ["recv"], ["sleep", [0.1, 0.4]], ["close"]]
        here, there = [], []
        for k in range(n):
            a, b = (self.net.sources6[0][0], self.net.server6) if k % 2 else (self.net.sources4[0][0], self.net.server4)
            for side, source, source_port, to, port in ((here, a, 41000 + k, b, 42000 + k), (there, b, 42000 + k, a, 41000 + k)):
                side.append({"to": to, "port": port, "source": source, "source_port": source_port, "script": script,
                             "seed": k, "start_s": k * 1.0, "until_s": 1, **more})
        self.at_once(*(lambda ns=ns, c=c: self._run(ns, "peer.py", "connect", "-", stdin=json.dumps(c))
                       for ns, c in ((self.net.client_ns[0], here), (self.net.server_ns, there))))

    def at_once(self, *what):
        """Runs functions in threads of their own; raises what the first of them raised."""
        raised = []

        def guard(f):
            try:
                f()
            except Exception as e:  # handed on below
                raised.append(e)

        threads = [threading.Thread(target=guard, args=(f,)) for f in what]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if raised:
            raise raised[0]

    def _run(self, ns, script, *arguments, **how):
        self.net.run(ns, "/usr/bin/python3", HERE / script, *arguments, limit_s=240, **how)

    def _conversation(self, k):
        family = self.rng.choice(k.pop("families"))
        sources = self.net.sources6[0] if family == 6 else self.net.sources4[0]
        start = k.pop("start_s", 0.0) + self.rng.uniform(0, k.pop("over_s"))
        del k["n"]
        return {"to": self.net.server6 if family == 6 else self.net.server4, "source": self.rng.choice(sources),
                "start_s": start, "seed": self.rng.random(), **k}

    def _capture(self, raw):
        """Captures the whole of the run, or a part of it from its middle."""
        scenario = self.scenario

        def listen():
            return Capture(self.net, *self._vantage(), raw, scenario.snap, scenario.nano, scenario.what)

        def part(begin_s, end_s):
            time.sleep(begin_s)
            capture = listen()
            time.sleep(end_s - begin_s)
            capture.stop(quiet_s=0)

        if scenario.between_s:
            self.at_once(lambda: scenario.run(self), lambda: part(*scenario.between_s))
        else:
            capture = listen()
            scenario.run(self)
            capture.stop()

    def _vantage(self):
        return {"client": (self.net.client_ns[0], "eth0"), "server": (self.net.server_ns, "eth0"),
                "middle": (self.net.router_ns[0], "right")}[self.scenario.at]

    def _write(self, raw, target):
        if raw.stat().st_size < 100:
            raise Failed("nothing was captured")
        part = target.with_name(target.name + ".part")
        if self.scenario.form == "pcapng":
            self.procs.run(["editcap", "-F", "pcapng", raw, part])
        elif self.scenario.form == "pcap.gz":
            with open(part, "wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as z:
                z.write(raw.read_bytes())
        elif self.scenario.form == "pcap.zst":
            raw.write_bytes(cut(raw.read_bytes()))
            self.procs.run(["zstd", "-q", "-f", "-19", raw, "-o", part])
        else:
            shutil.copyfile(raw, part)
        part.replace(target)

    def _down(self):
        """Ends whatever still runs in the namespaces, then removes them."""
        for ns in self.net.names():
            for pid in self.net.pids(ns):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
        self.net.down()
