"""Real clients, run inside a client's namespace.

usage: clients.py JSON

JSON is one piece of work: {"do": NAME, "n": HOW_OFTEN, "parallel": P, "think": [LOW, HIGH] seconds
between two jobs of one worker, "seed": S, "families": [4, 6], "servers": {"4": A, "6": A},
"sources": {"4": [...], "6": [...]}, "stock": DIR, ...}. What else a job reads is named in it.
Prints how many jobs failed where failure is not what the job is for.
"""

import http.client
import imaplib
import json
import os
import random
import smtplib
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# Octets of a page's part, and how often it is asked for; the last are for downloads that name them.
SHARES = {90: 4, 180: 5, 350: 7, 700: 8, 1200: 9, 2000: 10, 3300: 10, 5200: 10, 8000: 9, 12000: 8, 18000: 6, 28000: 4, 45000: 3, 70000: 1, 120000: 0.5,
          250000: 0, 1000000: 0}
LIMIT_S = 60


class Job:
    """What one job sees: its own random numbers, its server, its source address."""

    def __init__(self, work, i):
        self.work, self.i = work, i
        self.rng = random.Random(f"{work['seed']} {i}")
        family = str(self.rng.choice(work["families"]))
        self.host, self.source = work["servers"][family], self.rng.choice(work["sources"][family])
        self.family = family
        self.url_host = f"[{self.host}]" if family == "6" else self.host

    def option(self, name, otherwise):
        return self.work.get(name, otherwise)

    def size(self):
        """The size of a web page's part: one of the work's "sizes", or any up to its "largest"."""
        if "sizes" in self.work:
            return self.rng.choice(self.work["sizes"])
        largest = self.option("largest", 45000)
        some = {octets: share for octets, share in SHARES.items() if octets <= largest}
        return self.rng.choices(list(some), list(some.values()))[0]

    def pause(self, low=0.02, high=0.4):
        time.sleep(self.rng.uniform(low, high))

    def run(self, *argv, ok=(0,), stdin=None):
        p = subprocess.run([str(a) for a in argv], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT_S)
        if p.returncode not in ok:
            raise RuntimeError(f"{argv[0]}: {p.returncode}: {p.stderr.decode(errors='replace').strip()[-200:]}")

    def type(self, argv, lines, low=0.05, high=0.5, ok=(0,)):
        """Runs a command and types lines into it with pauses."""
        p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        killer = threading.Timer(LIMIT_S, p.kill)
        killer.start()
        try:
            for line in lines:
                self.pause(low, high)
                p.stdin.write(line)
                p.stdin.flush()
            self.pause(low, high)
            p.stdin.close()
            if p.wait() not in ok:
                raise RuntimeError(f"{argv[0]}: {p.returncode}")
        except BrokenPipeError:
            raise RuntimeError(f"{argv[0]} ended early") from None
        finally:
            killer.cancel()

    def curl(self, *arguments, ok=(0,)):
        self.run("curl", "-s", "-k", "-m", self.option("limit_s", 40), "--interface", self.source, *arguments, ok=ok)


def http_get(j):
    """curl: a few files over one connection, in some of many ways."""
    port = j.option("port", 80)
    urls = [f"http://{j.url_host}:{port}/f/{j.size()}" for _ in range(j.rng.choice(j.option("requests", [1, 1, 1, 2, 3, 5])))]
    how = j.rng.choice([[], [], [], [], ["-H", "Connection: close"], ["--http1.0"], ["-I"], ["--compressed", "-A", "Mozilla/5.0"]])
    j.curl(*how, *j.option("curl", []), *urls)


def http_paused(j):
    """A client that keeps its connection and thinks between requests."""
    c = http.client.HTTPConnection(j.host, j.option("port", 80), timeout=LIMIT_S, source_address=(j.source, 0))
    for _ in range(j.rng.choice([2, 3, 4, 6])):
        c.request("GET", f"/f/{j.size()}", headers={"User-Agent": "recorder", "Accept": "*/*"})
        c.getresponse().read()
        j.pause(*j.option("pause", [0.05, 0.8]))
    c.close()


def http_wget(j):
    """wget: a file or two over one connection."""
    urls = [f"http://{j.url_host}/f/{j.size()}" for _ in range(j.rng.choice([1, 1, 2, 4]))]
    j.run("wget", "-q", "-T", 40, "--tries=1", f"--bind-address={j.source}", "-O", "/dev/null", *urls)


def http_ab(j):
    """ApacheBench: one to three requests, with or without keep-alive."""
    keep = j.rng.choice([[], ["-k"]])
    j.run("ab", "-q", "-d", "-s", 40, "-n", j.rng.choice([1, 2, 3]), *keep, "-B", j.source, f"http://{j.url_host}/f/{j.size()}")


def http_login(j):
    """Pages behind a password: the right one, or ("known" is false) wrong ones."""
    password = "right" if j.option("known", True) else f"wrong{j.rng.randint(0, 9999)}"
    j.curl("-u", f"user:{password}", *[f"http://{j.url_host}/private/{j.size()}" for _ in range(j.rng.choice([1, 1, 2]))])


def http_trickle(j):
    """A request whose lines come one by one, seconds apart."""
    with socket.create_connection((j.host, 80), LIMIT_S, (j.source, 0)) as s:
        s.sendall(b"GET /f/90 HTTP/1.1\r\nHost: server\r\n")
        for k in range(j.rng.randint(5, 9)):
            j.pause(0.8, 1.6)
            s.sendall(f"X-{k}: {j.rng.randint(0, 99999)}\r\n".encode())
        s.sendall(b"\r\n")
        s.recv(4096)


def http_beacon(j):
    """A short report, the same every time, and a short answer."""
    j.curl("-A", "agent", "-d", f"id=17&n={j.i:04}", f"http://{j.url_host}/app/?octets={j.rng.choice([20, 20, 20, 64])}")


def http_upload(j):
    """Much data to the server in one request."""
    j.run("curl", "-s", "-m", 40, "--interface", j.source, "--data-binary", "@-", f"http://{j.url_host}/app/?octets=60",
          stdin=os.urandom(j.rng.randint(60000, 200000)))


def http_app(j):
    """Requests to an application that thinks before it answers; some with a body."""
    url = f"http://{j.url_host}/app/?ms={j.rng.choice([1, 5, 30, 120, 400])}&octets={j.size()}"
    body = j.size() if j.rng.random() < 0.5 else 0
    if not body:
        return j.curl(url)
    j.run("curl", "-s", "-m", 40, "--interface", j.source, "--data-binary", "@-", url, stdin=os.urandom(body))


def http_push(j):
    """A long answer that comes in ticks."""
    j.curl(f"http://{j.url_host}/app/?ms={j.rng.choice([50, 150, 300, 700])}&octets={j.rng.choice([20, 80, 300, 1400])}&ticks={j.rng.randint(3, 12)}")


def http_cut(j):
    """A download that the client gives up."""
    j.run("curl", "-s", "-m", j.rng.choice([0.3, 0.6, 1.2]), "--interface", j.source, "--limit-rate", "100k",
          f"http://{j.url_host}:8080/f/{j.rng.choice([70000, 120000])}", ok=(0, 28))


def http_slow_reader(j):
    """A client that reads more slowly than the network could bring."""
    j.curl("--limit-rate", j.rng.choice(["30k", "60k"]), f"http://{j.url_host}/f/{j.rng.choice([45000, 70000])}")


def https_get(j):
    """curl over TLS: versions 1.2 and 1.3, HTTP/1.1 and HTTP/2."""
    how = j.rng.choice([[], [], ["--http1.1"], ["--tls-max", "1.2"], ["--tls-max", "1.2", "--http1.1"]])
    together = j.rng.choice([[], ["--parallel"]])
    urls = [f"https://{j.url_host}/f/{j.size()}" for _ in range(j.rng.choice(j.option("requests", [1, 1, 2, 4])))]
    j.curl(*how, *together, *urls)


def tls_failed(j):
    """A TLS handshake that the client breaks off: it does not trust the certificate."""
    j.run("curl", "-s", "-m", 20, "--interface", j.source, f"https://{j.url_host}/f/700", ok=(60,))


def ssh_options(j):
    return ["-i", f"{j.work['stock']}/user_key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-F", "none", "-o", f"BindAddress={j.source}"]


def ssh_command(j):
    """One command by ssh."""
    command = j.rng.choice(["true", "uname -a", "ls -la /usr/bin | head -50", "head -c 9000 /dev/urandom", "sleep 0.4; date",
                            "for i in 1 2 3; do date; sleep 0.2; done", "cat > /dev/null"])
    j.run("ssh", *ssh_options(j), f"root@{j.host}", command, stdin=os.urandom(3000) if command.startswith("cat") else None)


def ssh_typed(j):
    """An interactive shell: single keys, an echo for each."""
    keys = [bytes([b]) for line in j.rng.sample([b"ls /\n", b"date\n", b"cd /tmp\n", b"pwd\n", b"uptime\n"], 2) for b in line]
    j.type(["ssh", "-tt", *ssh_options(j), f"root@{j.host}", "sh"], [*keys, b"exit\n"], 0.03, 0.25, ok=(0, 255))


def sftp(j):
    """A file by sftp or scp."""
    if j.rng.random() < 0.5:
        j.run("scp", "-q", *ssh_options(j), f"{j.work['stock']}/web/f/{j.size()}", f"root@{j.url_host}:/dev/null")
    else:
        j.run("scp", "-q", *ssh_options(j), f"root@{j.url_host}:{j.work['stock']}/web/f/{j.size()}", "/dev/null")


def ssh_wrong(j):
    """A login with a wrong password, asked for once or up to three times."""
    askpass = scratch(j, "askpass")
    with open(os.open(askpass, os.O_WRONLY | os.O_CREAT, 0o700), "w") as f:
        f.write(f"#!/bin/sh\necho wrong{j.rng.randint(0, 9999)}\n")
    j.run("env", f"SSH_ASKPASS={askpass}", "SSH_ASKPASS_REQUIRE=force", "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o",
          "UserKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no", "-o", f"BindAddress={j.source}", "-o",
          f"NumberOfPasswordPrompts={j.rng.choice([1, 1, 2, 3])}", f"{j.rng.choice(['nobody', 'guest', 'operator'])}@{j.host}", "true", ok=(255,))


def psql(j):
    """A database session: queries typed with pauses."""
    queries = ["select 1;", "select now();", f"select generate_series(1, {j.rng.choice([10, 60, 300])});", "select * from pg_class limit 20;",
               f"select pg_sleep({j.rng.choice([0.02, 0.1, 0.3])});", "create temp table t (a int, b text);", "select repeat('x', 3000);", "select nothing;"]
    lines = [q.encode() + b"\n" for q in j.rng.choices(queries, k=j.rng.randint(1, 5))]
    j.type(["psql", "-X", "-q", "-h", j.host, "-U", "postgres", "postgres"], lines, *j.option("pause", [0.01, 0.4]))


def redis_command(j):
    """One command, or the same one again and again."""
    command = j.rng.choice([["PING"], ["INCR", "n"], ["SET", f"k{j.i}", "v" * j.rng.choice([5, 60, 700, 4000])], ["GET", f"k{j.rng.randint(0, j.i)}"],
                            ["INFO"], ["RPUSH", "l", "a", "b", "c"], ["LRANGE", "l", "0", "-1"], ["DBSIZE"], ["BLPOP", "none", "0.3"], ["NO", "SUCH"]])
    j.run("redis-cli", "-h", j.host, "-r", j.rng.choice([1, 1, 2, 3, 6]), "-i", j.rng.choice([0.01, 0.05, 0.2]), *command, ok=(0, 1))


def redis_typed(j):
    """Commands typed with pauses into a pipeline."""
    lines = [f"SET p{i} {'x' * j.rng.choice([10, 200, 1500, 8000])}\r\n".encode() for i in range(j.rng.randint(1, 9))]
    j.type(["redis-cli", "-h", j.host, "--pipe"], lines, *j.option("pause", [0.005, 0.3]))


def redis_wait(j):
    """A subscriber that waits, gets a few messages, and leaves."""
    p = subprocess.Popen(["redis-cli", "-h", j.host, "SUBSCRIBE", f"ch{j.i}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(j.rng.randint(1, 4)):
            j.pause(0.2, 0.9)
            j.run("redis-cli", "-h", j.host, "PUBLISH", f"ch{j.i}", "m" * j.rng.choice([8, 100, 900]))
    finally:
        p.kill()
        p.wait()


def redis_benchmark(j):
    j.run("redis-benchmark", "-q", "-h", j.host, "-c", 5, "-n", 100, "-t", "set,get", "-d", 200)


def smtp(j):
    """Mail: one to three messages over one connection, some by STARTTLS."""
    def text():
        return "Subject: hello\r\n\r\n" + "\r\n".join("x" * 70 for _ in range(j.size() // 72 + 1)) + "\r\n"
    with smtplib.SMTP(j.host, 25, local_hostname="client.example.org", timeout=LIMIT_S, source_address=(j.source, 0)) as s:
        if j.rng.random() < 0.25:
            s.starttls()
        for _ in range(j.rng.choice([1, 1, 1, 2, 3])):
            to = [f"u{k}@example.org" for k in range(j.rng.choice([1, 1, 2, 5]))]
            s.sendmail("a@example.org", to, text())
            j.pause(0.01, 0.3)


def smtp_curl(j):
    j.run("curl", "-s", "-m", 40, "--interface", j.source, f"smtp://{j.url_host}/client.example.org", "--mail-from", "b@example.org",
          "--mail-rcpt", "u@example.org", "-T", "-", stdin=b"Subject: x\r\n\r\n" + b"y" * 60 + b"\r\n")


def imap(j):
    """A mailbox: login, a message or two put into it, some fetched, a wait."""
    with imaplib.IMAP4(j.host, 143, LIMIT_S) as m:
        m.login(f"user{j.rng.randint(1, 3)}", "x")
        for _ in range(j.rng.choice([0, 1, 1, 2])):
            m.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"y" * j.size() + b"\r\n")
        m.select()
        messages = m.search(None, "ALL")[1][0].split()
        for k in j.rng.sample(messages, min(len(messages), j.rng.choice([0, 1, 2, 4]))):
            m.fetch(k, j.rng.choice(["(RFC822)", "(BODY.PEEK[HEADER])", "(FLAGS)"]))
            j.pause(0.01, 0.2)
        m.noop()


def dns_tcp(j):
    """dig over TCP: one to six questions over one connection, or a zone transfer."""
    names = [f"{j.rng.choice('htt')}{j.rng.randint(0, 45)}.example.org" for _ in range(j.rng.choice([1, 1, 1, 2, 4, 6]))]
    types = [j.rng.choice(["A", "AAAA", "TXT", "TXT", "ANY"]) for _ in names]
    questions = [x for n, t in zip(names, types) for x in (n, t)] if j.rng.random() < 0.94 else ["example.org", "AXFR"]
    j.run("dig", "+tcp", "+keepopen", "+tries=1", "-b", j.source, f"@{j.host}", *questions)


def dns_udp(j):
    j.run("dig", "+tries=2", "+timeout=2", "-b", j.source, f"@{j.host}", f"h{j.rng.randint(0, 45)}.example.org", j.rng.choice(["A", "AAAA"]), ok=(0, 9))


def ping(j):
    j.run("ping", "-c", 2, "-i", 0.3, "-W", 1, "-s", j.rng.choice([56, 400]), j.host, ok=(0, 1))


def scratch(j, name):
    return os.path.join(j.work["scratch"], f"{name}-{os.getpid()}-{j.i}")


def git_clone(j):
    how = {"git": f"git://{j.url_host}/small.git", "http": f"http://{j.url_host}/git/small.git"}[j.rng.choice(j.option("schemes", ["git", "http"]))]
    if how.startswith("git") and j.rng.random() < 0.3:
        return j.run("git", "ls-remote", how)
    j.run("git", "clone", "-q", *([] if how.startswith("http") or j.rng.random() < 0.5 else ["--depth", "1"]), how, scratch(j, "clone"))


def rsync(j):
    target = f"rsync://{j.url_host}"
    if j.rng.random() < 0.3:
        return j.run("rsync", "-a", "--address", j.source, f"{j.work['stock']}/tree/d1", f"{target}/drop/{j.i}/")
    j.run("rsync", "-a", "--address", j.source, j.rng.choice([f"{target}/tree/d0", f"{target}/tree/d1/", f"{target}/tree/d2/f2", f"{target}/"]), scratch(j, "tree") + "/")


def ftp(j):
    what = j.rng.choice(["d0/", "d0/f0", "d1/f4", "d2/f5"])
    j.curl(*j.rng.choice([[], ["--ftp-port", "-"]]), f"ftp://{j.url_host}/{what}")


def iperf3(j):
    j.run("iperf3", "-c", j.host, "-B", j.source, *j.option("iperf", []))


def mqtt(j):
    """A subscriber with keep-alive pings, and a publisher."""
    sub = subprocess.Popen(["mosquitto_sub", "-h", j.host, "-t", f"t{j.i}", "-k", "5", "-W", str(j.rng.choice([2, 4, 8])), "-q", "1"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [b"m" * j.rng.choice([10, 80, 900]) + b"\n" for _ in range(j.rng.randint(1, 5))]
    j.type(["mosquitto_pub", "-h", j.host, "-t", f"t{j.i}", "-l", "-q", str(j.rng.randint(0, 1))], lines, 0.05, 0.6)
    sub.wait(LIMIT_S)


def scan(j):
    """One port after another: connects, and leaves at once."""
    with socket.socket(socket.AF_INET6 if j.family == "6" else socket.AF_INET) as s:
        s.settimeout(2)
        s.bind((j.source, 0))
        s.connect_ex((j.host, j.rng.choice([22, 25, 53, 80, 443, j.rng.randint(1, 1024), j.rng.randint(1, 1024), j.rng.randint(1, 9999)])))


def refused(j):
    """A port where nobody listens."""
    j.curl(f"http://{j.url_host}:{j.rng.choice([81, 3306, 8443, 9999])}/", ok=(7, 28))


def main():
    work = json.loads(sys.argv[1])
    do, failed, lock = globals()[work["do"]], [], threading.Lock()

    def one(i):
        j = Job(work, i)
        try:
            do(j)
        except Exception as e:  # counted and named; the other jobs go on
            with lock:
                failed.append(f"{work['do']} {i}: {e}")
        j.pause(*work["think"])

    with ThreadPoolExecutor(work["parallel"]) as pool:
        list(pool.map(one, range(work["n"])))
    for line in failed[:5]:
        print(line)
    sys.exit(1 if len(failed) > work["may_fail"] else 0)


if __name__ == "__main__":
    main()
