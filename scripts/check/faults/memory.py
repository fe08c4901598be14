"""Memory over long runs, large inputs, and the anonymized round trip."""
import json
import os
import time
from pathlib import Path

from captures import pcap_head, again
from harness import MIB, TRAIN, SETTINGS, Run, run, fed


def large_input(inputs, work):
    """A capture that is mostly a hole: records without octets, as far as the file goes. It is read as a stream."""
    sizes = [4 << 30, 100 << 30] if SETTINGS.big else [64 << 20, 256 << 20]
    told, peaks = [], []
    for size in sizes:
        path = work / "sparse.pcap"
        with open(path, "wb") as file:
            file.write(pcap_head())
            file.truncate(24 + size // 16 * 16)
        done = run("tcp-encode", "--json", path, work / f"{size}.arrow").must(1, "cut before the TCP header")
        assert done.json()["frames"] == size // 16
        peaks.append(done.peak)
        told.append(f"{size / MIB:,.0f} MiB in {done.seconds:.0f} s with {done.peak / MIB:.0f} MiB")
    assert peaks[1] < peaks[0] + 32 * MIB and peaks[1] < 150 * MIB, peaks
    return "; ".join(told)


def flat_memory(inputs, work):
    """Four times the flows, and memory stays as it is: tcp-encode with a time-out, tcp-decode, generate."""
    told = []
    # The short run is long enough for what is gathered on the way: a batch of rows, buffers for the next flows.
    times = (1000, 4000) if SETTINGS.big else (400, 1600)
    encode = [fed("tcp-encode", "--json", "--jobs", "1", "--idle-timeout", "600", "--flow-log", work / f"{n}.jsonl", "-", work / f"{n}.arrows",
                  chunks=again("resets.pcap", n)) for n in times]
    decode = [run("tcp-decode", "--json", "--sort-memory", "1", work / f"{n}.arrows", work / f"{n}.pcap") for n in times]
    generate = [run("tcp-train", "--json", "generate", "--checkpoint-path", inputs.model, "--output-dir", work / f"g{n}",
                    "--flows", n, "--max-packets-per-flow", "30", "--threads", "1") for n in times]
    for name, (little, much) in {"encode": encode, "decode": decode, "generate": generate}.items():
        assert little.code in (0, 1) and much.code in (0, 1), (name, little.err, much.err)
        assert much.peak - little.peak < 6 * MIB, f"{name}: {little.peak / MIB:.0f} MiB, then {much.peak / MIB:.0f} MiB"
        told.append(f"{name} {little.peak / MIB:.0f} and {much.peak / MIB:.0f} MiB")
    return f"{times[0]} and {times[1]} times the same captures: " + ", ".join(told)


def training_memory(inputs, work):
    """Memory while training, step after step, from the kernel."""
    steps = 4000 if SETTINGS.big else 400
    args = ["train", "--input-dir", inputs.dataset, "--output-dir", work / "model", *TRAIN, "--max-steps", steps, "--epochs",
            "100000"]
    one, seen = Run("tcp-train", *args), []
    while one.alive():
        try:
            text = Path(f"/proc/{one.process.pid}/status").read_text()
            metrics = (work / "model/metrics.jsonl").read_bytes().count(b"\n")
            seen.append((metrics, int(text.split("VmRSS:")[1].split()[0]) / 1024))
        except (OSError, IndexError):
            pass
        time.sleep(0.05)
    one.end().must(0)
    early = [mib for step, mib in seen if 0.2 * steps < step < 0.4 * steps]
    late = [mib for step, mib in seen if step > 0.8 * steps]
    assert early and late, "too few samples"
    assert max(late) < max(early) + 8, f"{max(early):.0f} MiB, then {max(late):.0f} MiB"
    return f"{steps} steps: {max(early):.0f} MiB at a third, {max(late):.0f} MiB at the end"


def anonymized_round_trip(inputs, work):
    """tcp-encode --anonymize and tcp-decode: the same packets between other ends."""
    key = work / "key"
    key.write_bytes(os.urandom(32))
    run("tcp-encode", "-q", inputs.captures, work / "plain.arrow").must(0)
    run("tcp-encode", "-q", inputs.captures, work / "hidden.arrow", "--anonymize", key).must(0)
    logs = []
    for name in ("plain", "hidden"):
        run("tcp-decode", "-q", work / f"{name}.arrow", work / f"{name}.pcap").must(0)
        run("tcp-encode", "-q", work / f"{name}.pcap", work / f"{name}.2.arrow", "--flow-log", work / f"{name}.jsonl").must(0)
        logs.append([json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()])
    plain, hidden = ([{k: v for k, v in line.items() if k not in ("file", "src", "dst")} for line in log] for log in logs)
    assert plain == hidden
    pairs = {(a[end], b[end]) for a, b in zip(*logs) for end in ("src", "dst")}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and all(a != b for a, b in pairs)
    return f"{len(plain)} flows, {len(pairs)} addresses, each replaced by one other"
