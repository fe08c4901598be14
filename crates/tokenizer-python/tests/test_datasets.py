"""Hugging Face's datasets."""

import pytest

datasets = pytest.importorskip("datasets")

import tcp_flows  # noqa: E402


def test_flows_are_a_dataset_dict(testdata):
    flows = tcp_flows.to_datasets(tcp_flows.encode(testdata / "http-clients.pcap"), validation=0.2, test=0.1)
    assert list(flows) == ["train", "validation", "test"]
    assert flows["train"].column_names == ["tokens", "source"]
    assert flows["test"].num_rows > 0 and flows["train"][0]["tokens"][0] == tcp_flows.BOS
