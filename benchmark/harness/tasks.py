"""What is asked, and of which flows: tasks, with their fixed splits."""

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

FOLDS = 5
WEB = {80: "http", 8080: "http", 443: "tls", 8443: "tls"}
MOST_BY_SOURCE = 150
LONG_OCTETS = 20000  # of payload in one direction: more than the first windows of a sender
# Columns of labels.csv that are asked for, with their titles; the second says which flows are asked.
RECORDED = {
    "application": ("T3 application behind a hidden port", None),
    "client": ("T3 client program of HTTP", None),
    "congestion": ("T3 congestion control", "long"),
    "loss": ("T3 loss of the path", "long"),
}


@dataclass
class Task:
    """Flows with a label each, and for each kind of test the pairs of training and test flows."""
    name: str
    title: str
    dataset: str
    labels: np.ndarray                 # of all flows of the dataset; "" where the task does not ask
    tests: dict                        # kind of test: list of (training flows, test flows)
    notes: list = field(default_factory=list)

    def classes(self):
        asked = np.concatenate([test for folds in self.tests.values() for _, test in folds])
        return sorted(set(self.labels[asked]))


def folds_of(captures, label, folds=FOLDS):
    """A fold for each capture: the captures of a class are dealt to the folds in turn, in the order of their names."""
    dealt, turn = {}, 0
    for name in sorted(set(label.values())):
        for capture in sorted(c for c in captures if label[c] == name):
            dealt[capture] = turn % folds
            turn += 1
    return dealt


def write_splits(folder, hashes, labelled):
    """Writes the split files of T1, T2 and T5: a capture's SHA-256 and its part."""
    by_task = defaultdict(dict)
    for row in labelled:
        by_task[row["task"]][row["file"]] = row
    device = {capture: row["label"] for capture, row in by_task["device"].items()}
    parts = {
        "T1": folds_of(list(device), device),
        "T2": {capture: capture.split("/")[0] for capture in hashes},
        "T5": {capture: row["group"] for capture, row in by_task["command"].items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        rows = sorted({(hashes[capture], str(value)) for capture, value in part.items()})
        with open(folder / f"{name}.csv", "w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(["sha256", "part"])
            out.writerows(rows)


def read_split(path):
    with open(path, newline="") as f:
        return {row["sha256"]: row["part"] for row in csv.DictReader(f)}


def leave_out(parts, asked):
    """A pair for each part: trained on the flows of all others, tested on its own."""
    at = np.nonzero(asked)[0]
    return [(at[parts[at] != part], at[parts[at] == part]) for part in sorted(set(parts[at]))]


def public_tasks(flows, hashes, labelled, splits):
    """T1, T2 and T5, on captures of public repositories."""
    captures = np.array(flows["source"].to_pylist())
    digest = {c: hashes[c] for c in set(captures)}
    known = {row["file"]: row for row in labelled}

    def task(name, title, labels, kind, notes):
        split = read_split(splits / f"{name}.csv")
        parts = np.array([split.get(digest[c], "") for c in captures])
        labels = np.where(parts == "", "", labels)
        missing = len(split) - len({digest[c] for c in captures} & set(split))
        if missing:
            notes = [*notes, f"{missing} captures of the split are not here or have no flow."]
        return Task(name, title, "public", labels, {kind: leave_out(parts, labels != "")}, notes)

    def of_captures(name, column="label"):
        return np.array([known[c][column] if c in known and known[c]["task"] == name else "" for c in captures])

    device = of_captures("device")
    counted = Counter(label for label, _ in set(zip(device, captures)))
    single = sorted(label for label, n in counted.items() if label and n < 2)
    device[np.isin(device, single)] = ""
    command, speaker = of_captures("command"), of_captures("command", "group")
    speakers = defaultdict(set)
    for label, who in zip(command, speaker):
        speakers[label].add(who)
    alone = [label for label in speakers if label and len(speakers[label]) < 2]
    command[np.isin(command, alone)] = ""
    return [
        task("T1", "T1 device from one flow", device, "by capture", [f"In one capture alone, so not asked: {', '.join(single)}."]),
        task("T2", "T2 service with the port hidden", web(flows, captures), "source left out", [f"At most {MOST_BY_SOURCE} flows of a class and source."]),
        task("T5", "T5 what a voice assistant was asked", command, "speaker left out",
             [f"{len(alone)} of {len(speakers) - 1} commands were asked by one speaker alone, so they are not asked here.",
              "A flow is a small part of what an answer takes; chance is a balanced accuracy of 1 in the number of classes."]),
    ]


def web(flows, captures):
    """TLS or HTTP by the server's port; the first flows of each class and source."""
    labels = np.array([WEB.get(port, "") for port in flows["server_port"].to_pylist()], dtype=object)
    seen = Counter()
    for i, (label, capture) in enumerate(zip(labels, captures)):
        key = label, capture.split("/")[0]
        seen[key] += 1
        if seen[key] > MOST_BY_SOURCE:
            labels[i] = ""
    return labels.astype(str)


def column(flows, rows, name):
    """A column of labels.csv for each flow; "" where it has no row."""
    by_flow = {(row["file"], int(row["first_frame"])): row for row in rows}
    keys = zip(flows["source"].to_pylist(), flows["first_frame"].to_pylist())
    return np.array([by_flow[key][name] if key in by_flow else "" for key in keys])


def recorded_tasks(flows, rows):
    """T3, on the project's own captures: trained on some links, tested on the same ones, on other links, and with other sizes."""
    split, is_app = column(flows, rows, "split"), np.char.startswith(column(flows, rows, "file"), "apps-")
    lost = int((split == "").sum())
    octets = np.maximum(flows["client_octets"].to_numpy(), flows["server_octets"].to_numpy())
    tasks = []
    for name, (title, which) in RECORDED.items():
        labels = column(flows, rows, name)
        labels[~is_app | ((octets < LONG_OCTETS) & (which == "long"))] = ""
        at = {part: np.nonzero((labels != "") & (split == part))[0] for part in ("train", "seen", "link", "sizes")}
        tests = {kind: [(at["train"], at[part])] for part, kind in (("seen", "seen links"), ("link", "unseen links"), ("sizes", "unseen sizes"))}
        notes = ["The server's port is the label."] if name == "application" else []
        notes += [f"Flows with {LONG_OCTETS:,} octets of payload or more in one direction."] if which == "long" else []
        tasks.append(Task(f"T3-{name}", title, "recorded", labels, tests, notes + ([f"{lost} flows have no label."] if lost else [])))
    return tasks


@dataclass
class Detection:
    """T4: benign flows to learn from, later flows benign and odd, and benign flows of another network."""
    train: np.ndarray
    later: np.ndarray
    control: np.ndarray
    activity: np.ndarray  # of all flows


def detection(flows, rows):
    """T4, on the project's own captures."""
    split, is_odd_set = column(flows, rows, "split"), np.char.startswith(column(flows, rows, "file"), "odd-")
    return Detection(*(np.nonzero(is_odd_set & (split == part))[0] for part in ("train", "later", "control")), column(flows, rows, "activity"))
