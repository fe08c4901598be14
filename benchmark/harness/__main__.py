"""The benchmark of analysis: tasks, baselines and embeddings, from captures to tables. Called by scripts/bench/benchmark."""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import detect
import embeddings
import features
import flows
import judge
import learners
import report
import tasks

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
ALL = ["T1", "T2", "T3", "T4", "T5"]


def arguments():
    a = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    a.add_argument("--programs", type=Path, required=True, help="folder of tcp-encode, tcp-decode and tcp-train")
    a.add_argument("--public", type=Path, default=ROOT.parent / "shared/data", help="captures of T1, T2 and T5, with labels.csv")
    a.add_argument("--out", type=Path, default=ROOT / "target/benchmark", help="what is made: datasets, results.json, benchmark.html")
    a.add_argument("--doc", type=Path, help="the document that gets the tables, such as docs/benchmark.md, once there are results of all tasks")
    a.add_argument("--model", action="append", type=Path, dest="models", metavar="FOLDER",
                   help="a model whose embeddings are judged, and beside it its random weights; several times [default: models/tiny]")
    a.add_argument("--no-model", action="store_true", help="judge the baselines alone")
    a.add_argument("--testdata", type=Path, default=ROOT / "testdata", help="captures that embeddings are whitened by")
    a.add_argument("--tasks", default=",".join(ALL), help="some of " + ",".join(ALL))
    a.add_argument("--write-splits", action="store_true", help="write benchmark/splits anew, and stop")
    a.add_argument("--from-results", action="store_true", help="write the tables from results.json, and judge nothing")
    a = a.parse_args()
    folders = [] if a.no_model else a.models or [ROOT / "models/tiny"]
    a.models = [(folder.resolve().name, folder.resolve()) for folder in folders]
    return a


def read_rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def say(what):
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def captures_of(folder):
    """Captures below a folder by their path in it, with their hashes; odd cases and what is no capture are left out."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".pcap" in p.name]
    return {str(p.relative_to(folder)): flows.sha256(p) for p in found if p.relative_to(folder).parts[0] != "odd"}


def load(name, folder, captures, a):
    """A dataset of captures, with its packets."""
    say(f"{name}: encoding and reading")
    dataset = a.out / f"{name}.parquet"
    flows.encode(a.programs, folder, captures, dataset)
    table = pq.read_table(dataset)
    packets = flows.packets(a.programs, table, a.out)
    return judge.Data(table, packets, features.packet_ids(ROOT / "docs/tokens.md"))


def judge_all(name, asked, data, hashes, run, results, a):
    """Judges tasks on a dataset, whose flows that they ask for are embedded under a name."""
    flows_asked = np.unique(np.concatenate([np.concatenate(pair) for task in asked for folds in task.tests.values() for pair in folds]))
    data.embeddings = embeddings.load(name, flows_asked, data.flows, a, say)
    for task in asked:
        results["tasks"].append(judge.judge(task, data, run, say))
        results["contaminated"][task.name] = embeddings.contamination(task, hashes, data.captures, a)


def measure_all(a, results):
    """Judges the tasks that are asked for, and puts them in the place of earlier ones."""
    wanted, run = a.tasks.split(","), learners.remembered(a.out / "remembered")
    results |= {"tasks": [t for t in results["tasks"] if t["name"][:2] not in wanted], "skipped": []}
    if set(wanted) & {"T1", "T2", "T5"}:
        if a.public.is_dir():
            hashes = captures_of(a.public)
            data = load("public", a.public, hashes, a)
            asked = tasks.public_tasks(data.flows, hashes, read_rows(a.public / "labels.csv"), HERE / "splits")
            judge_all("public", [task for task in asked if task.name in wanted], data, hashes, run, results, a)
        else:
            results["skipped"].append(f"T1, T2 and T5: no captures in {a.public.name}")
            say(results["skipped"][-1])
    if set(wanted) & {"T3", "T4"}:
        hashes, labels = captures_of(HERE / "captures"), read_rows(HERE / "labels.csv")
        data = load("recorded", HERE / "captures", hashes, a)
        if "T3" in wanted:
            judge_all("apps", tasks.recorded_tasks(data.flows, labels), data, hashes, run, results, a)
        if "T4" in wanted:
            task = tasks.detection(data.flows, labels)
            asked = np.concatenate([task.train, task.later, task.control])
            data.embeddings = embeddings.load("odd", asked, data.flows, a, say)
            results["detection"] = detect.detect(task, data, embeddings.bits(data, asked, a, say), say)
            odd = [name for name in hashes if name.startswith("odd-")]
            results["speed"] = embeddings.speed(HERE / "captures", odd, lambda table: features.codes(tasks.column(table, labels, "application")), a, say)
    results["tasks"].sort(key=lambda task: task["name"])
    return results


def main():
    a = arguments()
    if a.write_splits:
        return tasks.write_splits(HERE / "splits", captures_of(a.public), read_rows(a.public / "labels.csv"))
    a.out.mkdir(parents=True, exist_ok=True)
    kept = a.out / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {"tasks": [], "detection": None, "contaminated": {}}
    if not a.from_results:
        results = measure_all(a, results)
        kept.write_text(json.dumps(results, indent=1) + "\n")
    (a.out / "benchmark.html").write_text(report.page(results))
    judged = {task["name"][:2] for task in results["tasks"]} | ({"T4"} if results["detection"] else set())
    if a.doc and judged < set(ALL):
        say(f"{a.doc.name} is not written: no results of {', '.join(sorted(set(ALL) - judged))}")
    elif a.doc:
        a.doc.write_text(report.document(results, a.doc.read_text() if a.doc.exists() else ""))
    print(report.summary(results, a.out / "benchmark.html"))


if __name__ == "__main__":
    main()
