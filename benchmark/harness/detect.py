"""T4: detectors that learn from benign flows alone."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

import measure
from judge import SEEDS

NEAREST = 5


def isolation(train, rows, seed):
    return -IsolationForest(n_estimators=200, random_state=seed, n_jobs=2).fit(train).score_samples(rows)


def distance(train, rows, seed, metric="cityblock"):
    """The mean distance to the five nearest benign flows."""
    return np.sort(cdist(rows, train, metric), axis=1)[:, :NEAREST].mean(1)


def cosine(train, rows, seed):
    return distance(train, rows, seed, "cosine")


def likelihood(train, rows, seed):
    """Bits per packet of a model, as they are."""
    return rows[:, 0]


def detectors(data, bits):
    """Name, rows and detector; whether seeds matter."""
    syn = data.series + data.syn
    scaled = StandardScaler().fit_transform(data.whole.values)
    series = data.series.values * np.where([g == "times" for g in data.series.groups], 0.1, 1)
    yield "flow length alone", data.whole.values[:, [1]], distance, False
    yield "isolation forest, SYN fields, whole flow", (syn + data.whole).values, isolation, True
    yield "5 nearest by sizes, directions, gaps", series, distance, False
    yield "5 nearest by the whole flow in numbers", scaled, distance, False
    for name, values in bits.items():
        yield f"{name}, bits per packet", values[:, None], likelihood, False
    for name, views in data.embeddings.items():
        yield f"{name}, 5 nearest", views[""], cosine, False


def detect(task, data, bits, say):
    """AUROC of odd against benign flows of the same hosts, by kind, and of another network's benign flows against these."""
    rows = []
    later, control = task.later, task.control
    is_odd = task.activity[later] != "benign"
    kinds = sorted(set(task.activity[later]) - {"benign"})
    for name, values, learn, is_seeded in detectors(data, bits):
        say(f"T4: {name}")
        asked = np.concatenate([later, control])
        found = [learn(values[task.train], values[asked], seed) for seed in (SEEDS if is_seeded else [0])]
        mean = np.mean(found, 0)
        ours, theirs = mean[:len(later)], mean[len(later):]
        of_control = np.concatenate([ours[~is_odd], theirs])
        rows.append({
            "method": name, "auroc": float(np.mean([measure.auroc(s[:len(later)], is_odd) for s in found])),
            "interval": measure.auroc_interval(ours, is_odd, data.captures[later]), "false_positives": measure.false_positives(ours, is_odd),
            "control": measure.auroc(of_control, np.arange(len(of_control)) >= (~is_odd).sum()),
            "kinds": {k: measure.auroc(ours[~is_odd | (task.activity[later] == k)], is_odd[~is_odd | (task.activity[later] == k)]) for k in kinds},
        })
    return {"rows": rows, "kinds": {k: int((task.activity[later] == k).sum()) for k in kinds}, "train": len(task.train), "benign": int((~is_odd).sum()), "control": len(control)}
