"""A full disk, a folder that vanishes, errors of reading, runs that meet."""
import os
import re
import shutil
import signal
import subprocess
import time
import tty
from pathlib import Path

from captures import again
from harness import DATA, LONG, SETTINGS, SHORT, NotRun, Run, run, names, leftovers, same, feed, fed


def small_disk(work, size="256k"):
    place = work / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        raise NotRun(done.stderr.strip())
    return place


def disk_full(inputs, work):
    place = small_disk(work)
    commands = [
        ("tcp-encode", "-q", DATA, place / "set"),
        ("tcp-encode", "-q", "--format", "parquet", DATA, place / "set"),
        ("tcp-encode", "-q", DATA, place / "set.arrow"),
        ("tcp-decode", "-q", inputs.dataset, place / "out.pcap"),
        ("tcp-decode", "-q", "--split", "flow", inputs.dataset, place / "flows"),
        ("tcp-train", "-q", "generate", "--checkpoint-path", inputs.model, "--output-dir", place / "set", "--flows", "4000",
         "--max-packets-per-flow", "60"),
    ]
    # What stands beside the output has no room: then the output does not appear either, where it has room.
    elsewhere = work / "elsewhere"
    elsewhere.mkdir()
    beside = [
        ("tcp-encode", "-q", DATA, elsewhere / "set", "--flow-log", place / "log.jsonl"),
        ("tcp-encode", "-q", DATA, elsewhere / "set.arrow", "--token-table", place / "table", "--flow-log", place / "log.jsonl"),
        ("tcp-decode", "-q", inputs.dataset, elsewhere / "out.pcap", "--labels", place / "labels.csv"),
        ("tcp-decode", "-q", inputs.dataset, elsewhere / "out.pcap", "--reports", place / "reports"),
        ("tcp-decode", "-q", "--split", "flow", inputs.dataset, elsewhere / "flows", "--reports", place / "reports"),
        ("tcp-eval", "-q", "--no-judges", "--repeats", "1", inputs.dataset, inputs.dataset, "--output", place / "report"),
    ]
    try:
        for command in commands:
            run(*command).must(2, "No space left on device")
            assert not list(place.iterdir()), f"{command}: left {list(place.iterdir())}"
        (place / "filler").write_bytes(bytes(252 * 1024))
        for command in beside:
            done = run(*command).must(2, "No space left on device")
            assert ".part" not in done.err, done.err
            left = [*elsewhere.iterdir(), *(p for p in place.iterdir() if p.name != "filler")]
            assert not left, f"{command}: left {left}"
    finally:
        subprocess.run(["umount", place], check=True)
    return f"{len(commands) + len(beside)} commands, each exits with 2, names the disk and leaves nothing"


def disk_full_while_training(inputs, work):
    place = small_disk(work, "6m")
    model = place / "model"
    args = ["--input-dir", inputs.dataset, "--output-dir", model]
    try:
        # Room for a checkpoint or two, not for all that comes.
        filler = place / "filler"
        one = Run("tcp-train", "train", *args, *LONG)
        deadline = time.monotonic() + 60
        while not (model / "checkpoint-previous.safetensors").exists() and one.alive():
            assert time.monotonic() < deadline, "no checkpoint in a minute"
            time.sleep(0.005)
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                pass
        one.end().must(2, "No space left on device")
        filler.unlink()
        run("tcp-train", "resume", *args, "--checkpoint-path", model, "--max-steps", "20000", "--max-minutes", "0.05").must(0)
    finally:
        subprocess.run(["umount", place], check=True)
    return "exits with 2 and names the disk; a resume goes on once there is room"


SYNC = re.compile(r"(fsync|fdatasync|syncfs)\(\d+<([^>]*)>")
RENAME = re.compile(r'rename\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)", (?:AT_FDCWD[^,]*, )?"([^"]+)"')


def order_of_syncs(calls, target):
    """Checks a trace of system calls: the data of `target` is synced before the rename to it, its folder after."""
    synced, whole, renamed = set(), set(), None
    for line in calls.splitlines():
        if found := SYNC.search(line):
            (whole if found[1] == "syncfs" else synced).add(found[2])
            if renamed and found[2] == str(target.parent):
                return
        elif (found := RENAME.search(line)) and found[2] == str(target):
            renamed = Path(found[1])
            files = [target] if target.is_file() else [p for p in target.rglob("*") if p.is_file()]
            unsynced = [p for p in files if str(renamed / p.relative_to(target)) not in synced]
            assert not unsynced or str(renamed) in whole, f"{target}: renamed before {unsynced} was synced"
            assert target.is_file() or {str(renamed)} & (synced | whole), f"{target}: renamed before the folder was synced"
    raise AssertionError(f"{target}: " + ("its folder is not synced after the rename" if renamed else "it was not renamed to"))


def synced_before_they_appear(inputs, work):
    if not shutil.which("strace"):
        raise NotRun("strace is not installed")
    work = work.resolve()
    commands = [
        (work / "set.arrow", "tcp-encode", "-q", inputs.captures, work / "set.arrow"),
        (work / "set", "tcp-encode", "-q", inputs.captures, work / "set"),
        (work / "out.pcap", "tcp-decode", "-q", inputs.dataset, work / "out.pcap"),
        (work / "flows", "tcp-decode", "-q", "--split", "flow", inputs.dataset, work / "flows"),
        (work / "report", "tcp-eval", "-q", "--no-judges", "--repeats", "1", inputs.dataset, inputs.dataset, "--output",
         work / "report"),
        (work / "model/checkpoint.safetensors", "tcp-train", "train", "--input-dir", inputs.dataset, "--output-dir",
         work / "model", *SHORT),
    ]
    log = work / "calls"
    for target, name, *args in commands:
        trace = ["strace", "-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2", "-o", log]
        subprocess.run([*trace, SETTINGS.programs / name, *args], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        order_of_syncs(log.read_text(), target)
    return f"{len(commands)} outputs, files and folders: the data is synced, then renamed, then the folder above is synced"


def folder_vanishes(inputs, work):
    for output in ("gone/set", "gone/set.parquet"):
        one = Run("tcp-encode", "-q", "--idle-timeout", "600", "-", work / output, stdin=subprocess.PIPE)
        for chunk in again("quick.pcap", 100):
            one.process.stdin.write(chunk)
        one.process.stdin.flush()
        deadline = time.monotonic() + 30
        while not (work / "gone").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        shutil.rmtree(work / "gone")
        feed(one.process, [])
        one.end().must(2, "No such file", f"{work}/gone")
        assert not (work / "gone").exists()
    stream = inputs.dataset.read_bytes()
    generate = ("generate", "--checkpoint-path", inputs.model, "--flows", "1000000", "--max-packets-per-flow", "30", "--threads", "1")
    for made, *command in (
            ("gone", "tcp-decode", "-q", "--split", "flow", "-", work / "gone/flows"),
            ("gone", "tcp-train", *generate, "--output-dir", work / "gone/set"),
            ("gone/checkpoint.safetensors", "tcp-train", "train", "--input-dir", inputs.dataset, "--output-dir", work / "gone", *LONG)):
        one = Run(*command, stdin=subprocess.PIPE)
        if command[0] == "tcp-decode":
            one.process.stdin.write(stream[:-1000])
            one.process.stdin.flush()
        deadline = time.monotonic() + 60
        while not (work / made).exists():
            assert time.monotonic() < deadline and one.alive(), one.process.args
            time.sleep(0.01)
        for _ in range(100):
            shutil.rmtree(work / "gone", ignore_errors=True)
            if not (work / "gone").exists():
                break
        feed(one.process, [stream[-1000:]] if command[0] == "tcp-decode" else [])
        one.end(120).must(2, "No such file", f"{work}/gone")
    return "encode, decode, generate and train exit with 2 and name what is gone"


def read_error(inputs, work):
    """The other end of a terminal hangs up: its next read is an I/O error (EIO), after good octets."""

    def hung_up(name, *args, octets):
        master, slave = os.openpty()
        tty.setraw(slave)
        one = Run(name, *args, stdin=slave)
        at = 0
        while at < len(octets):
            at += os.write(master, octets[at:at + 1024])
        time.sleep(0.5)
        os.close(master)
        os.close(slave)
        return one.end(60)

    capture = (DATA / "port-reuse.pcap").read_bytes()
    done = hung_up("tcp-encode", "--json", "-", work / "set.arrow", octets=capture[:len(capture) // 2])
    done.must(1, "Input/output error", "offset")
    kept = done.json()["flows_kept"]
    assert kept > 0 and (work / "set.arrow").exists(), "what stood before the error is kept"
    stream = inputs.dataset.read_bytes()
    cut = hung_up("tcp-decode", "--json", "-", work / "x.pcap", octets=stream[:-200])
    assert cut.code in (1, 2) and "Input/output error" in cut.err and (cut.code == 1) == (work / "x.pcap").exists(), cut.err
    hung_up("tcp-train", "train", "--input-dir", "-", "--output-dir", work / "model", *SHORT, octets=stream[:-200]).must(
        2, "Input/output error")
    assert not (work / "model").exists() or names(work / "model") == []
    return f"encode exits with 1, names the offset and keeps the {kept} flows before it; decode {cut.code}; train refuses"


def reader_leaves(inputs, work):
    commands = [
        ("tcp-encode", "-q", DATA, "-"),
        ("tcp-decode", "-q", inputs.dataset, "-"),
        ("tcp-train", "-q", "generate", "--checkpoint-path", inputs.model, "--output-dir", "-", "--flows", "100000",
         "--max-packets-per-flow", "30"),
    ]
    for command in commands:
        one = Run(*command, stdout=subprocess.PIPE)
        assert len(one.process.stdout.read(100)) == 100
        one.process.stdout.close()
        said = [line for line in one.end(60).must(0).err.splitlines() if "left out: " not in line]
        assert not said, f"{command[0]} says {said}"
    return "encode, decode and generate end with 0 and say nothing"


def two_runs(inputs, work):
    capture = (DATA / "quick.pcap").read_bytes()
    ends = []
    pair = [Run("tcp-encode", "-", work / "set", stdin=subprocess.PIPE) for _ in range(2)]
    for one in pair:
        one.process.stdin.write(capture[:2000])
        one.process.stdin.flush()
    for one in pair:
        feed(one.process, [capture[2000:]])
    ends = sorted((one.end() for one in pair), key=lambda done: done.code)
    ends[0].must(0)
    ends[1].must(2, "not empty")
    fed("tcp-encode", "-q", "-", work / "alone", chunks=[capture]).must(0)
    assert same(work / "set", work / "alone") and leftovers(work) == []
    train = ("tcp-train", "train", "--input-dir", inputs.dataset, "--output-dir", work / "model", *LONG)
    first = Run(*train)
    while not (work / "model/checkpoint.safetensors").exists():
        assert first.alive()
        time.sleep(0.005)
    for second in (train, (*train, "--force"), ("tcp-train", "resume", "--checkpoint-path", work / "model", *train[2:6])):
        run(*second).must(2, "another run writes to")
    os.kill(first.process.pid, signal.SIGINT)
    first.end().must(1)
    return "one of two encodes is whole, the other is refused; a second train or resume is refused while the first runs"
