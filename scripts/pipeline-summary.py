#!/usr/bin/env python3
"""Says what a run of scripts/pipeline did, from the summaries that its steps wrote.

usage: scripts/pipeline-summary.py OUT
"""

import json
import pathlib
import sys


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def compared(out):
    """What tcp-eval found: how many fields are as near to the real ones as real ones are to each other."""
    metrics = out / "report" / "metrics.json"
    if not metrics.exists():
        return [("against real flows", "not compared: " + (out / "eval.txt").read_text().strip().splitlines()[-1])]
    m = json.loads(metrics.read_text())
    near = lambda fields, measure, by: sum(
        f[measure]["generated"]["value"] <= f[measure]["floor"]["value"] + by for f in fields)
    valid = lambda side: f"{100 * m[side]['all'] / m[side]['flows']:.2f} %"
    coverage = m["diversity"]["coverage"]
    return [
        ("against real flows", f"{valid('validity_generated')} pass every check of RFC 9293 and RFC 7323 (real {valid('validity_real')})"),
        ("", f"{near(m['categorical'], 'jsd_bits', 0.02)} of {len(m['categorical'])} header fields within 0.02 bits of the noise floor"),
        ("", f"{near(m['continuous'], 'wasserstein1', 0.05)} of {len(m['continuous'])} times and sizes within 0.05 decades of it"),
        ("", f"coverage {coverage['generated']['value']:.2f} (real {coverage['floor']['value']:.2f})"),
        ("", f"told apart by trees: AUC {m['discriminators']['trees']['generated']['value']:.2f} (guessing 0.50)"),
        ("report", str(out / "report" / "report.html")),
    ]


def main(out):
    step = {n: json.loads((out / f"{n}.json").read_text()) for n in ("encode", "train", "generate", "decode", "check")}
    e, t, g, d, c = (step[n] for n in ("encode", "train", "generate", "decode", "check"))
    rows = []
    rows.append(("captures read", f"{e['captures']:,}: {e['tcp_packets']:,} TCP packets in {e['conversations']:,} flows"))
    rows.append(("  kept", f"{e['flows_kept']:,} flows ({share(e['flows_kept'], e['conversations'])}), {e['packets_kept']:,} packets"))
    rows.append(("  left out", f"{e['conversations'] - e['flows_kept']:,} flows"))
    rows += [("", f"  {n:,} {why}") for why, n in e["flows_left_out"].items()]
    if e["captures_damaged"]:
        rows.append(("  damaged", f"{e['captures_damaged']:,} captures, read up to the damage"))
    rows.append(("tokens", f"{e['tokens']:,}: {e['tokens_per_packet']:.2f} a packet"))
    loss = lambda l: f"{l['nats_per_token']:.3f} nats per token, {l['bits_per_packet']:.2f} bits per packet"
    rows.append(("training", f"{t['steps']:,} steps, {t['epochs']:.1f} epochs, {t['seconds']:.0f} s, {t['tokens_per_second']:,.0f} tokens/s"))
    rows.append(("  training loss", loss(t["training_loss"])))
    if t.get("validation_loss"):
        rows.append(("  validation loss", loss(t["validation_loss"]) + f", {t['validation']['flows']:,} flows held out"))
    seconds = max(g["seconds"], 1e-9)
    rows.append(("generated", f"{g['generated']:,} flows, {g['packets']:,} packets, {g['seconds']:.1f} s: "
                 f"{g['generated'] / seconds:,.0f} flows/s, {g['packets'] / seconds:,.0f} packets/s"))
    least, median, _, _, most = d["packets_per_flow"]
    rows.append(("  packets per flow", f"{least:,} to {most:,}, median {median:,}"))
    rows.append(("  whole sessions", f"{g['sessions']:,} ({share(g['sessions'], g['generated'])}) by the grammar"))
    complete = c["flows_kept"]
    rows.append(("", f"{complete:,} ({share(complete, c['conversations'])}) complete when the capture is read again"))
    rows.append(("capture", f"{d['packets']:,} packets in {out / 'generated.pcap'}"))
    if (out / "trace.svg").exists():
        rows.append(("  flows over time", str(out / "trace.svg")))
    rows += compared(out)
    width = max(len(head) for head, _ in rows) + 2
    print()
    for head, text in rows:
        print(f"{head:{width}}{text}")
    if complete != g["generated"]:
        print(f"\nnot every generated flow is a whole session: see {out / 'check.jsonl'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    main(pathlib.Path(sys.argv[1]))
