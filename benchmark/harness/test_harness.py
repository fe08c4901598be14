"""The benchmark's own arithmetic, and the fixed splits."""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import features
import flows
import judge
import measure
import report
import tasks

sys.path.append(str(Path(__file__).resolve().parents[2] / "testdata/recorder"))

from headers import cut  # noqa: E402

HERE = Path(__file__).resolve().parents[1]


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    truth, said, groups = rng.integers(0, 4, 300), rng.integers(0, 4, 300), rng.integers(0, 9, 300)
    found = measure.score(truth, [said], groups, 5)
    assert found.f1 == pytest.approx(f1_score(truth, said, average="macro"))
    assert found.balanced == pytest.approx(balanced_accuracy_score(truth, said))
    assert found.low < found.f1 < found.high


def test_an_interval_draws_captures_and_not_flows():
    """One capture is all right and one all wrong: draws of captures give 0, 1 and what is between, whatever the number of flows."""
    truth, groups = np.zeros(2000, int), np.repeat([0, 1], 1000)
    found = measure.score(truth, [groups], groups, 2)
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_class_without_a_flow_has_no_part_in_a_mean():
    f1, balanced, by_class = measure.scores(np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]]))
    assert (f1, balanced) == (1.0, 1.0) and np.isnan(by_class[2])


def test_new_flows_have_a_sequence_that_training_has_not():
    offsets, direction, length = np.array([0, 2, 4, 6, 8]), np.array([1, -1, 1, -1, 1, 1, 1, -1]), np.array([0, 9, 0, 9, 0, 9, 0, 8])
    keys = measure.sequences(direction, length, offsets)
    assert measure.is_new(keys, [0], [1, 2, 3]).tolist() == [False, True, True]


def test_auroc_and_false_positives():
    rng = np.random.default_rng(2)
    scores, is_odd = rng.integers(0, 20, 500).astype(float), rng.random(500) < 0.3
    assert measure.auroc(scores, is_odd) == pytest.approx(roc_auc_score(is_odd, scores))
    odd = np.array([False] * 100 + [True] * 100)
    assert measure.false_positives(np.concatenate([np.arange(100.0), np.arange(95.0, 195.0)]), odd) == 0.0
    assert measure.false_positives(np.concatenate([np.arange(100.0), np.arange(0.0, 100.0)]), odd) == 0.95


def test_folds_share_no_capture_and_each_class_is_dealt_out():
    label = {f"{name}-{i}": name for name, n in (("a", 7), ("b", 2), ("c", 11)) for i in range(n)}
    dealt = tasks.folds_of(list(label), label)
    for name, n in (("a", 7), ("b", 2), ("c", 11)):
        assert len({dealt[c] for c in label if label[c] == name}) == min(n, tasks.FOLDS)


@pytest.mark.parametrize("name, parts", [("T1", 5), ("T2", 20), ("T5", 2)])
def test_a_capture_has_one_part_in_a_split(name, parts):
    with open(HERE / f"splits/{name}.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len({row["sha256"] for row in rows}) == len(rows) and all(len(row["sha256"]) == 64 for row in rows)
    assert len({row["part"] for row in rows}) >= parts


def recorded():
    with open(HERE / "labels.csv", newline="") as f:
        return list(csv.DictReader(f))


def test_labels_name_captures_that_are_there_and_a_capture_has_one_split():
    rows = recorded()
    assert {row["file"] for row in rows} == {path.name for path in (HERE / "captures").iterdir()}
    split = {}
    for row in rows:
        assert split.setdefault(row["file"], row["split"]) == row["split"]
    links = {part: {row["link"] for row in rows if row["split"] == part and row["file"].startswith("apps-")} for part in ("train", "seen", "link", "sizes")}
    assert links["train"] == links["seen"] >= links["sizes"] and not links["link"] & links["train"]


def test_odd_use_is_in_later_captures_alone():
    odd = {row["split"] for row in recorded() if row["activity"] != "benign"}
    assert odd == {"later"}


def test_few_labels_are_so_many_of_each_class():
    y = np.repeat([0, 1, 2], [100, 50, 3])
    few = judge.limited(np.arange(153), y, 5, 1)
    assert np.bincount(y[few]).tolist() == [5, 5, 3]
    assert judge.limited(np.arange(153), y, 0, 1).tolist() == list(range(153))


def test_the_document_keeps_what_is_around_its_tables():
    before = f"# Title\n\n{report.BEGIN}old\n{report.END}\nafter\n"
    made = report.document({"tasks": [], "detection": None, "skipped": ["T1: nothing"], "contaminated": {}}, before)
    assert made.startswith("# Title\n\n") and made.endswith("\nafter\n") and "old" not in made and "T1: nothing." in made


def programs():
    """The folder of the programs, which scripts/check/tools names."""
    if "BIN" not in os.environ:
        pytest.skip("BIN names no folder of tcp-encode and tcp-decode")
    return Path(os.environ["BIN"])


def test_packets_are_those_of_the_flows(tmp_path):
    """Packets, octets and times by flow agree with the columns that tcp-encode writes, for IPv4 and IPv6."""
    flows.encode(programs(), HERE.parent / "testdata", ["quick.pcap", "wrap.pcap"], tmp_path / "set.parquet")
    table = pq.read_table(tmp_path / "set.parquet")
    p = flows.packets(programs(), table, tmp_path)
    assert set(table["ip_version"].to_pylist()) == {4, 6}
    for i, row in enumerate(table.to_pylist()):
        mine = slice(p.offsets[i], p.offsets[i + 1])
        is_client = p.direction[mine] > 0
        assert is_client.sum() == row["client_packets"] and (~is_client).sum() == row["server_packets"]
        assert p.length[mine][is_client].sum() == row["client_octets"] and p.length[mine][~is_client].sum() == row["server_octets"]
        assert p.gap[mine].sum() == pytest.approx(row["duration"] / 1e9, abs=1e-6) and is_client[0]
        assert len(p.options[p.offsets[i]][flows.MSS]) == 2


def test_ngrams_leave_the_header_out():
    ids = features.packet_ids(HERE.parent / "docs/tokens.md")
    begin, end, port, packet = 0, 1, 30, ids.start
    one = features.ngrams([np.array([begin, port, packet, 600, packet, end])], ids).toarray()
    other = features.ngrams([np.array([begin, port + 1, packet, 600, packet, end])], ids).toarray()
    assert (one == other).all() and one[0, packet] == pytest.approx(np.log1p(2)) and one[0, port] == one[0, end] == 0
    first = features.ngrams([np.array([begin, packet, 600, packet, 601, end])], ids, 1).toarray()
    assert first[0, 600] > 0 and first[0, 601] == 0


def test_packets_that_are_cut_behind_their_headers_give_the_same_tokens(tmp_path):
    whole = (HERE.parent / "testdata/quick.pcap").read_bytes()
    short = cut(whole)
    assert len(short) < len(whole)
    for name, octets in (("whole", whole), ("short", short)):
        (tmp_path / f"{name}.pcap").write_bytes(octets)
        flows.encode(programs(), tmp_path, [f"{name}.pcap"], tmp_path / f"{name}.parquet")
    tables = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("whole", "short")]
    assert tables[0].num_rows == 19 and tables[0]["tokens"].equals(tables[1]["tokens"])
