#!/usr/bin/env python3
"""Learns classes of flows by scikit-learn, from the vectors of `tcp-train embed`, and says how well it tells them.

    tcp-encode captures flows.parquet --labels labels.csv
    tcp-train embed MODEL flows.parquet vectors.parquet
    examples/classify.py vectors.parquet

Flows of a group, or else of a capture, are held out together. Needs pyarrow and scikit-learn."""

import sys

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline


def read(path):
    """Returns the vectors, the labels and the groups of the flows that have a label."""
    form = "parquet" if path.endswith(".parquet") else "ipc"
    table = ds.dataset(path, format=form).to_table(columns=["embedding", "label", "group", "source"])
    table = table.filter(pc.is_valid(table["label"]))
    vectors = table["embedding"].combine_chunks()
    flows, values = len(vectors), vectors.flatten().to_numpy()
    groups = table["group"] if len(pc.unique(table["group"].drop_null())) > 1 else table["source"]
    return values.reshape(flows, -1), *(np.array(column.to_pylist(), dtype=str) for column in (table["label"], groups))


def main(path):
    """Prints the figures of two learners over flows held out."""
    vectors, labels, groups = read(path)
    parts = min(5, len(set(groups)))
    if parts < 2:
        sys.exit(f"{path}: expected flows of two groups or captures, found those of {parts}")
    learners = {
        "linear": LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000),
        "5 nearest neighbours": KNeighborsClassifier(5),
    }
    for name, learner in learners.items():
        pipeline = make_pipeline(PCA(0.9999, whiten=True, svd_solver="full"), learner)
        verdicts = cross_val_predict(pipeline, vectors, labels, groups=groups, cv=GroupKFold(parts))
        print(f"{name}, {len(labels)} flows, {parts} parts of {len(set(groups))} groups held out in turn")
        print(classification_report(labels, verdicts, digits=3, zero_division=0))


if __name__ == "__main__":
    main(*sys.argv[1:2] or sys.exit(__doc__))
