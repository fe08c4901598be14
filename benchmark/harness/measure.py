"""How good predictions are: macro-F1 and balanced accuracy, with intervals over captures, over all flows and over new ones."""

from dataclasses import dataclass

import numpy as np

DRAWS = 1000


def confusion(truth, predicted, groups, classes):
    """Counts [G, K, K] by group, true class and predicted class, all numbered from 0."""
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), classes, classes))
    np.add.at(counts, (group, truth, predicted), 1)
    return counts


def scores(counts):
    """Macro-F1, balanced accuracy and F1 of each class of confusion matrices [..., K, K]. A class without a flow has no F1."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    there, said = counts.sum(-1), counts.sum(-2)
    has = there > 0
    f1 = np.where(has, 2 * hits / np.maximum(there + said, 1), np.nan)
    recall = np.where(has, hits / np.maximum(there, 1), np.nan)
    return mean(f1), mean(recall), f1


def mean(values):
    """The mean over the last axis of what is there; nan where nothing is."""
    there = ~np.isnan(values)
    return np.where(there.any(-1), np.where(there, values, 0).sum(-1) / np.maximum(there.sum(-1), 1), np.nan)


@dataclass
class Score:
    """Of several seeds: means, the interval of macro-F1 over draws of captures, F1 by class, and the confusion matrix."""
    f1: float
    low: float
    high: float
    balanced: float
    by_class: list
    confusion: list
    flows: int


def score(truth, predictions, groups, classes, draws=DRAWS):
    """The score of predictions of several seeds [S, F]. An interval has captures drawn with replacement, the same for each seed."""
    if len(truth) == 0:
        return None
    counts = np.array([confusion(truth, p, groups, classes) for p in predictions])
    f1, balanced, by_class = scores(counts.sum(1))
    captures = counts.shape[1]
    drawn = np.random.default_rng(0).multinomial(captures, np.full(captures, 1 / captures), draws)
    sampled = np.array([scores(np.tensordot(drawn, seed, 1))[0] for seed in counts]).mean(0)
    low, high = np.nanquantile(sampled, [0.025, 0.975])
    return Score(float(f1.mean()), float(low), float(high), float(balanced.mean()), by_class.mean(0).tolist(), counts.sum(1).mean(0).tolist(), len(truth))


def sequences(direction, length, offsets):
    """A key for the (direction, length) sequence of each flow."""
    signed = (direction * (length + 1)).astype(np.int64)
    return np.array([hash(signed[a:b].tobytes()) for a, b in zip(offsets, offsets[1:])])


def is_new(keys, train, test):
    """Which test flows have a sequence that no training flow has."""
    return ~np.isin(keys[test], keys[train])


def auroc(scores, is_odd):
    """The share of pairs of an odd and a benign flow whose odd one has the higher score; half for ties."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    _, begin, count = np.unique(ranked, return_index=True, return_counts=True)
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat(begin + (count - 1) / 2, count)
    odd = is_odd.sum()
    benign = len(is_odd) - odd
    if odd == 0 or benign == 0:
        return float("nan")
    return float((ranks[is_odd].sum() - odd * (odd - 1) / 2) / (odd * benign))


def false_positives(scores, is_odd, recall=0.95):
    """The share of benign flows that are called odd where so much of the odd ones is."""
    odd = np.sort(scores[is_odd])[::-1]
    threshold = odd[int(np.ceil(recall * len(odd))) - 1]
    return float((scores[~is_odd] >= threshold).mean())


def auroc_interval(scores, is_odd, groups, draws=200):
    """The 95 % interval of the AUROC over draws of captures."""
    rng, names = np.random.default_rng(0), np.unique(groups)
    members = [np.nonzero(groups == name)[0] for name in names]
    sampled = []
    for _ in range(draws):
        at = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        sampled.append(auroc(scores[at], is_odd[at]))
    return np.nanquantile(sampled, [0.025, 0.975]).tolist()
