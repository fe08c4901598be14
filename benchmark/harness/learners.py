"""The learners: each takes training rows, their classes and a seed, and predicts the classes of test rows."""

import inspect
import warnings
from collections import Counter, defaultdict

import joblib
import lightgbm
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

THREADS = 2
# What the libraries find worth a warning for each fit: arrays without names, few labels, many rows.
warnings.filterwarnings("ignore", category=UserWarning, module="sklearn|joblib|lightgbm")


def remembered(folder):
    """A way to run a learner that keeps what it has said in a folder, by learner, rows and seed, so that a second run is short."""
    memory = joblib.Memory(folder, verbose=0)
    cached = memory.cache(said)
    return lambda learn, *what: cached(SOURCES[learn], learn, *what)


def said(source, learn, train, y, test, seed):
    return learn(train, y, test, seed)


def majority(train, y, test, seed):
    return np.full(len(test), Counter(y).most_common(1)[0][0])


def by_value(train, y, test, seed):
    """The commonest class of the same value in training, else the commonest class."""
    seen = defaultdict(Counter)
    for value, label in zip(train, y):
        seen[value][label] += 1
    best = {value: counts.most_common(1)[0][0] for value, counts in seen.items()}
    other = Counter(y).most_common(1)[0][0]
    return np.array([best.get(value, other) for value in test])


def fitted_forest(train, y, seed=0):
    return RandomForestClassifier(100, class_weight="balanced", random_state=seed, n_jobs=THREADS).fit(train, y)


def forest(train, y, test, seed):
    return fitted_forest(train, y, seed).predict(test)


def boosted(train, y, test, seed):
    """On one thread: on a busy machine, LightGBM's threads wait for each other longer than they compute."""
    if len(set(y)) < 2:
        return np.full(len(test), y[0])
    return lightgbm.LGBMClassifier(n_estimators=50, learning_rate=0.15, num_leaves=15, min_child_samples=3, class_weight="balanced", subsample=0.8,
                                   subsample_freq=1, colsample_bytree=0.5, max_bin=63, random_state=seed, n_jobs=1, deterministic=True,
                                   force_col_wise=True, verbose=-1).fit(train, y).predict(test)


def linear(train, y, test, seed):
    """For counts of n-grams: a linear support vector machine."""
    return LinearSVC(C=0.1, class_weight="balanced", random_state=seed).fit(train, y).predict(test)


def fitted_probe(train, y, seed=0):
    """A linear probe: logistic regression on standardized embeddings."""
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300, random_state=seed))
    return learner.fit(train, y)


def probe(train, y, test, seed):
    return fitted_probe(train, y, seed).predict(test)


def five_nearest(train, y, test, seed):
    return KNeighborsClassifier(min(5, len(y)), metric="cosine", algorithm="brute", n_jobs=THREADS).fit(train, y).predict(test)


class Nearest:
    """1-NN by L1 over lengths, directions and gaps, each with a weight that is tuned on training flows alone."""

    def __init__(self, columns, y, rows, captures):
        self.columns, self.best = columns, {"lengths": 1.0, "times": 0.1, "directions": 1.0}
        grid = [{"lengths": a, "times": b, "directions": 1.0} for a in (1.0, 4.0, 16.0) for b in (0.0, 0.03, 0.1, 0.3)]
        if len(set(captures)) >= 3:
            if len(rows) > 3000:  # for the weights, every k-th flow is enough
                rows, captures = rows[::len(rows) // 3000 + 1], captures[::len(rows) // 3000 + 1]
            folds = list(GroupKFold(3).split(rows, groups=captures))
            self.best = max(grid, key=lambda weights: self.right(weights, y, rows, folds))

    def weighted(self, weights):
        return self.columns.values * np.array([weights[g] for g in self.columns.groups], dtype=np.float32)

    def right(self, weights, y, rows, folds):
        """The mean over classes of the share of flows that is right, over folds of the training captures."""
        values, hits = self.weighted(weights), defaultdict(list)
        for train, test in folds:
            found = nearest(values[rows[train]], y[rows[train]], values[rows[test]])
            for label, said in zip(y[rows[test]], found):
                hits[label].append(label == said)
        return np.mean([np.mean(h) for h in hits.values()])

    def values(self):
        return self.weighted(self.best)


def nearest(train, y, test, seed=0):
    out = [y[cdist(test[i:i + 500], train, "cityblock").argmin(1)] for i in range(0, len(test), 500)]
    return np.concatenate(out) if out else y[:0]


# A learner that has changed has said nothing yet.
SOURCES = {learn: inspect.getsource(learn) for learn in (majority, by_value, forest, boosted, linear, probe, five_nearest, nearest)}
