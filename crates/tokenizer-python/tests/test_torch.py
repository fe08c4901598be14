"""Flows and models in PyTorch."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
torch.set_num_threads(1)

import tcp_flows  # noqa: E402


@pytest.fixture(scope="module")
def dataset(testdata, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    tcp_flows.encode(testdata / "http-clients.pcap", folder)
    return folder


@pytest.fixture(scope="module")
def model(tiny):
    ids = json.loads((tiny / "config.json").read_text())["model"]["vocab_size"]
    if ids != tcp_flows.VOCAB_SIZE:
        pytest.skip(f"models/tiny has {ids} token ids, the package {tcp_flows.VOCAB_SIZE}: it waits for its training")
    return tcp_flows.Model.load(tiny)


def test_a_model_of_other_tokens_is_refused(tiny, tmp_path):
    config = json.loads((tiny / "config.json").read_text())
    config["token_version"] += 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"tokens: expected field version \d+ with"):
        tcp_flows.Model.load(tmp_path)


def test_rows_are_tensors_and_workers_share_them(dataset):
    flows = tcp_flows.Flows(dataset, row_tokens=2000)
    rows = len(flows)
    first = list(flows)
    assert len(first) == rows > 4
    for row in first:
        assert row["tokens"].dtype == torch.int64 and row["cu_seqlens"].dtype == torch.int32
        assert row["tokens"].shape == row["targets"].shape == (row["cu_seqlens"][-1],)
    second = list(flows)
    assert [row["flow"].tolist() for row in first] != [row["flow"].tolist() for row in second]
    flows.set_epoch(0)
    loader = torch.utils.data.DataLoader(flows, batch_size=None, num_workers=2)
    loaded = sorted(row["flow"].tolist() for row in loader)
    assert loaded == sorted(row["flow"].tolist() for row in first)
    halves = [list(tcp_flows.Flows(dataset, row_tokens=2000, rank=rank, world_size=2)) for rank in (0, 1)]
    assert sorted(row["flow"].tolist() for half in halves for row in half) == loaded


@pytest.fixture(scope="module")
def definition(docs):
    spec = importlib.util.spec_from_file_location("read_model", docs / "read_model.py")
    definition = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(definition)
    return definition


@pytest.mark.parametrize("decay", ["none", "fixed", "selective"])
@pytest.mark.parametrize("norm, activation, conv, gate, tied, bias", [("layer", "gelu", 4, True, False, False), ("rms", "swiglu", 0, False, True, True)])
def test_every_architecture_is_that_of_the_definition(tiny, definition, decay, norm, activation, conv, gate, tied, bias):
    if norm == "rms" and not hasattr(torch.nn.functional, "rms_norm"):
        pytest.skip("this torch has no rms_norm, which the definition uses")
    small = dict(width=64, layers=2, feed=32, vocab_size=50, decay=decay, norm=norm, activation=activation, conv=conv, gate=gate, tied=tied, bias=bias)
    torch.manual_seed(1)
    config = json.loads((tiny / "config.json").read_text())["model"]
    own = tcp_flows.Model({**config, **small})
    expected = definition.Model.__new__(definition.Model)
    with torch.no_grad():
        for name, weight in own.named_parameters():
            if name.endswith(("A_log", "dt_bias")):
                weight.normal_()
        expected.config, expected.weights = own.config, own.state_dict()
        tokens = torch.randint(0, 50, (300,))
        assert torch.allclose(own(tokens), expected(tokens), atol=2e-4)


def test_scores_are_those_of_the_definition(model, tiny, definition):
    tokens = torch.randint(0, tcp_flows.VOCAB_SIZE, (400,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = definition.Model(tiny)(tokens)
        assert torch.allclose(model(tokens), expected, atol=1e-4)
        pieces, state = [], None
        for piece in tokens.split([1, 1, 130, 268]):
            scores, state = model.step(piece[None], state)
            pieces.append(scores[0])
        assert torch.allclose(torch.cat(pieces), expected, atol=1e-4)
        packed = model(tokens, torch.tensor([0, 3, 150, 400]))
        alone = torch.cat([model(piece) for piece in tokens.split([3, 147, 250])])
        assert torch.allclose(packed, alone, atol=1e-4)


def test_bits_are_those_of_tcp_train(model, tiny, dataset):
    program = os.environ.get("TCP_TRAIN")
    if not program:
        pytest.skip("TCP_TRAIN names no tcp-train")
    command = [program, "score", "-q", "--checkpoint-path", tiny, "--input-dir", dataset, "--flows", "40"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 40
    flows = tcp_flows.Flows.of_model(dataset, tiny)._flows
    for line in map(json.loads, lines):
        assert model.bits(flows.tokens(line["flow"])) == pytest.approx(line["bits"], rel=1e-5)


def test_generated_flows_are_sessions_by_their_seed(model):
    def flow(seed):
        grammar = tcp_flows.Grammar(max_packets=20)
        return list(model.generate(grammar=grammar, generator=torch.Generator().manual_seed(seed)))

    flows = [flow(seed) for seed in range(3)]
    assert flow(0) == flows[0] != flows[1]
    again = tcp_flows.encode(tcp_flows.decode(tcp_flows.table(flows)))
    assert again.num_rows == 3


def test_a_saved_model_is_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    again = tcp_flows.Model.load(tmp_path / "model")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "model")


def test_fine_tuning_lowers_the_loss(model, dataset, tiny, tmp_path):
    example = pathlib.Path(__file__).parents[1] / "examples/fine_tune.py"
    said = subprocess.run(
        [sys.executable, example, str(dataset), str(tiny), str(tmp_path / "tuned"), "8"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    losses = [float(line.split()[-1]) for line in said.stdout.splitlines() if line.startswith("validation")]
    assert losses[-1] < losses[0], said.stdout
