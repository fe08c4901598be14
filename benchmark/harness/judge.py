"""Runs learners on tasks and keeps what they scored."""

from dataclasses import asdict, dataclass

import numpy as np

import features
import learners
import measure

SEEDS = range(5)
LABELS = [1, 5, 10, 50, 0]  # of each class; 0: all
LENGTHS = [3, 5, 10, 20, 30]


@dataclass
class Method:
    """A learner and what it sees: rows for all flows of a dataset."""
    name: str
    rows: object
    learn: object
    is_seeded: bool = False


class Data:
    """A dataset: its flows, their packets, and the views of them that baselines take."""

    def __init__(self, flows, packets, packet_ids):
        self.flows, self.packets, self.embeddings = flows, packets, {}
        self.captures = np.array(flows["source"].to_pylist())
        self.keys = measure.sequences(packets.direction, packets.length, packets.offsets)
        self.series, self.syn, self.whole = features.series(packets), features.syn_fields(packets), features.whole(packets)
        self.ngrams = features.ngrams([np.asarray(t) for t in flows["tokens"].to_numpy()], packet_ids)
        self.port, self.address = (features.codes(flows[c].to_pylist()) for c in ("server_port", "server_addr"))


def limited(train, y, most, seed):
    """At most so many training flows of each class; all where `most` is 0."""
    if not most:
        return train
    shuffled = np.random.default_rng(seed).permutation(train)
    return np.sort(np.concatenate([shuffled[y[shuffled] == label][:most] for label in np.unique(y[train])]))


class Trial:
    """A task with its data: who is tested after which training."""

    def __init__(self, task, data, run):
        self.task, self.data, self.run = task, data, run
        names = sorted(set(task.labels) - {""})
        self.y = np.array([names.index(label) if label else -1 for label in task.labels])
        self.names, self.pairs = names, {}
        for folds in task.tests.values():
            for train, test in folds:
                before = self.pairs.get(train.tobytes(), (train, np.array([], int)))
                self.pairs[train.tobytes()] = train, np.union1d(before[1], test).astype(int)
        self.new = np.zeros(len(self.y), bool)
        for train, test in self.pairs.values():
            self.new[test] = measure.is_new(data.keys, train, test)

    def predict(self, method, seed, most=0):
        """Classes of all flows that are tested, -1 for others."""
        said = np.full(len(self.y), -1)
        for train, test in self.pairs.values():
            few = limited(train, self.y, most, seed)
            if len(test):
                said[test] = self.run(method.learn, method.rows[few], self.y[few], method.rows[test], seed)
        return said

    def tested(self, kind):
        return np.concatenate([test for _, test in self.task.tests[kind]])

    def scored(self, kind, predictions, only_new=False, draws=measure.DRAWS):
        at = self.tested(kind)
        at = at[self.new[at]] if only_new else at
        found = measure.score(self.y[at], [p[at] for p in predictions], self.data.captures[at], len(self.names), draws)
        return found and asdict(found)

    def macro_f1(self, method, kind, most=0):
        """Macro-F1: the mean over draws of training flows where these are few, else that of the first seed."""
        seeds = SEEDS if most else [0]
        at = self.tested(kind)
        counts = [measure.confusion(self.y[at], self.predict(method, s, most)[at], self.data.captures[at], len(self.names)).sum(0) for s in seeds]
        return float(np.mean([measure.scores(c)[0] for c in counts]))


def nearest_of(trial, columns):
    """1-NN, with weights tuned on the training flows of the first fold."""
    train = next(iter(trial.pairs.values()))[0]
    return learners.Nearest(columns, trial.y, train, trial.data.captures[train]).values()


def baselines(trial):
    d = trial.data
    syn = d.series + d.syn
    return [
        Method("majority", d.port, learners.majority),
        Method("server port alone", d.port, learners.by_value),
        Method("server address alone", d.address, learners.by_value),
        Method("1-NN", nearest_of(trial, d.series), learners.nearest),
        Method("n-grams of tokens, linear", d.ngrams, learners.linear, True),
        Method("forest", d.series.values, learners.forest, True),
        Method("forest, SYN fields", syn.values, learners.forest, True),
        Method("boosted trees, SYN fields", syn.values, learners.boosted, True),
        Method("boosted trees, SYN fields, whole flow", (syn + d.whole).values, learners.boosted, True),
    ]


def embedded(trial, length=""):
    """The read-outs of the models whose embeddings are there, after so many packets."""
    return [Method(f"{name}, {how}", views[length], learn) for name, views in trial.data.embeddings.items() if length in views
            for how, learn in (("linear probe", learners.probe), ("5-NN", learners.five_nearest))]


def main_table(trial, say):
    """Every method on every kind of test, over all flows and over new ones."""
    out = {kind: [] for kind in trial.task.tests}
    for method in baselines(trial) + embedded(trial):
        say(f"{trial.task.name}: {method.name}")
        predictions = [trial.predict(method, seed) for seed in (SEEDS if method.is_seeded else [0])]
        for kind in out:
            out[kind].append({"method": method.name, "all": trial.scored(kind, predictions), "new": trial.scored(kind, predictions, only_new=True)})
    return out


def occlusion(trial, kind, say):
    """The forest without a group of columns, and with the server's port."""
    d = trial.data
    syn = d.series + d.syn
    views = {"nothing left out": syn.values, "with the server's port": np.column_stack([syn.values, d.port])}
    views |= {f"without {group}": syn.without(group) for group in features.GROUPS}
    say(f"{trial.task.name}: occlusion")
    return {name: trial.macro_f1(Method(name, rows, learners.forest, True), kind) for name, rows in views.items()}


def curves(trial, kind, say):
    """Macro-F1 by the number of labels of each class, and by the number of packets seen."""
    d = trial.data
    syn = d.series + d.syn
    say(f"{trial.task.name}: labels per class")
    methods = [Method("1-NN", nearest_of(trial, d.series), learners.nearest), Method("forest, SYN fields", syn.values, learners.forest, True), *embedded(trial)]
    by_labels = {m.name: [trial.macro_f1(m, kind, most) for most in LABELS] for m in methods}
    by_length = {}
    for length in LENGTHS:
        say(f"{trial.task.name}: first {length} packets")
        series, fields = features.series(d.packets, length), features.syn_fields(d.packets, min(length, features.SYN_PACKETS))
        found = [Method("1-NN", nearest_of(trial, series), learners.nearest), Method("forest, SYN fields", (series + fields).values, learners.forest, True)]
        for m in found + embedded(trial, str(length)):
            by_length.setdefault(m.name, {})[length] = trial.macro_f1(m, kind)
    return by_labels, by_length


def judge(task, data, run, say):
    """All that is asked of a task, as plain values; `run` runs a learner."""
    trial = Trial(task, data, run)
    first = next(iter(task.tests))
    kinds = main_table(trial, say)
    by_labels, by_length = curves(trial, first, say)
    return {
        "name": task.name, "title": task.title, "notes": task.notes, "classes": trial.names, "tests": kinds,
        "sizes": {kind: {"flows": len(trial.tested(kind)), "captures": len(set(data.captures[trial.tested(kind)])),
                         "twins": float(1 - trial.new[trial.tested(kind)].mean())} for kind in kinds},
        "asked": first, "occlusion": occlusion(trial, first, say), "labels": by_labels, "packets": by_length,
    }
