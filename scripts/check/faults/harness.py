"""Starts programs and tells how they ended: exit code, output, time, memory."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path



HERE = Path(__file__).resolve().parents[3]
DATA = HERE / "testdata"
MIB = 1 << 20
TRAIN = ["--preset", "tiny", "--set", "model.width=32", "--set", "model.heads=2", "--set", "model.layers=1", "--set",
         "model.feed=32", "--set", "checkpoint_seconds=0", "--set", "validate_every=5", "--batch", "512", "--max-minutes", "0",
         "--threads", "1"]
SHORT = [*TRAIN, "--max-steps", "14"]
LONG = [*TRAIN, "--max-steps", "1000000", "--epochs", "1000000"]


class Settings:
    """Where the programs lie and which sizes the tests take: set once, by the command line."""

    programs = None
    big = False


SETTINGS = Settings()


class NotRun(Exception):
    """This machine cannot show it."""


class Done:
    """How a program ended, and what it took."""

    def __init__(self, process, stdout, stderr, seconds, usage):
        self.code = os.waitstatus_to_exitcode(process) if process is not None else None
        self.out, self.err, self.seconds = stdout, stderr, seconds
        self.user, self.peak = usage.ru_utime + usage.ru_stime, None

    def must(self, code, *said):
        """Fails unless it ended so and said so, without a panic."""
        ok = self.code == code and all(text in self.err for text in said) and "panicked" not in self.err
        if not ok:
            raise AssertionError(f"expected exit {code} and {said}, found exit {self.code}: {self.err.strip()[-600:]}")
        return self

    def json(self):
        return json.loads(self.out)


def ended(process, streams, begun, limit):
    def late(*_):
        os.kill(process.pid, signal.SIGKILL)
        raise AssertionError(f"{process.args}: still running after {limit} s")
    signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    _, status, usage = os.wait4(process.pid, 0)
    signal.alarm(0)
    process.returncode = os.waitstatus_to_exitcode(status)
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read().decode(errors="replace"))
    return Done(status, *texts, time.monotonic() - begun, usage)


# The kernel counts to a process's peak what its parent had in memory when it started it: a small one stands between.
MEASURE = """
import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(f"{usage.ru_maxrss * 1024} {usage.ru_utime + usage.ru_stime}")
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Run:
    """A program at work."""

    def __init__(self, name, *args, stdin=subprocess.DEVNULL, stdout=None, measured=False):
        self.out, self.err, self.begun = tempfile.TemporaryFile(), tempfile.TemporaryFile(), time.monotonic()
        self.used = tempfile.NamedTemporaryFile() if measured else None
        command = [str(SETTINGS.programs / name), *map(str, args)]
        if measured:
            command = [sys.executable, "-S", "-c", MEASURE, self.used.name, *command]
        self.process = subprocess.Popen(command, stdin=stdin, stdout=stdout or self.out, stderr=self.err)

    def end(self, limit=None):
        limit = limit or (7200 if SETTINGS.big else 600)
        done = ended(self.process, (self.out, self.err), self.begun, limit)
        if self.used:
            peak, user = self.used.read().decode().split()
            done.peak, done.user = int(peak), float(user)
        return done

    def alive(self):
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        return self.end()


def run(name, *args, **more):
    return Run(name, *args, measured=True, **more).end()


def names(folder):
    """What a folder holds, but for what killed runs leave."""
    return sorted(p.name for p in Path(folder).iterdir() if not (p.name.startswith(".") and p.name.endswith(".part")))


def leftovers(folder):
    return sorted(p.name for p in Path(folder).iterdir() if p.name.endswith(".part"))


def same(a, b):
    """Whether two files, or folders of files, are the same octets."""
    a, b = Path(a), Path(b)
    if a.is_dir():
        return names(a) == names(b) and all(same(a / n, b / n) for n in names(a))
    return a.read_bytes() == b.read_bytes()


def weights(path):
    octets = Path(path).read_bytes()
    return octets[8 + int.from_bytes(octets[:8], "little"):]


def feed(process, chunks):
    """Octets to a process; a pipe that it has closed ends them."""
    try:
        for chunk in chunks:
            process.stdin.write(chunk)
        process.stdin.close()
    except BrokenPipeError:
        pass


def fed(name, *args, chunks):
    one = Run(name, *args, stdin=subprocess.PIPE, measured=True)
    feed(one.process, chunks)
    return one.end()
