"""Captures, tables of flows, and what is between them."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import pyarrow

from . import _native

if TYPE_CHECKING:
    from datasets import DatasetDict

Path = Union[str, "os.PathLike[str]"]
"""Path of a file or a folder."""


class LeftOut(UserWarning):
    """A warning of a program, or what it left out: the programs say the same on stderr."""


class Packet(NamedTuple):
    """An Ethernet frame."""

    time_ns: int
    """Time, in nanoseconds since 1970."""
    octets: bytes
    """Octets of the frame that are there, from the Ethernet header on."""
    length: int
    """Length on the wire, in octets: that of `octets` or more."""


def encode(packets: Path | list[Path] | Iterable[tuple], output: Path | None = None, **options: Any) -> pyarrow.Table | dict[str, Any]:
    """Find the TCP conversations of captures and encode each as a row of tokens.

    packets: path of a capture or of a folder of them, or a list of paths; or packets: tuples of the time (int, nanoseconds since 1970), the
        octets of an Ethernet frame, and optionally its length on the wire in octets.
    output: path of a new dataset, as tcp-encode's OUTPUT.
    options: those of tcp-encode with _ for -, such as keep="all", dedup=True or vxlan_port=[4789, 8472].

    Without output, returns a pyarrow.Table with the columns of docs/dataset.md, whose memory is that of the encoder. With
    output, writes the dataset and returns tcp-encode's summary as a dict.
    """
    if packets is None:
        raise TypeError("expected captures or packets, found None")
    paths, packets = ([packets], None) if _is_path(packets) else ([], packets)
    if isinstance(packets, (list, tuple)) and packets and all(map(_is_path, packets)):
        paths, packets = list(packets), None
    paths = paths or ["-"]
    if output is not None:
        return _call("tcp-encode", [*paths, output], options, packets)
    rows, _, messages = _native.encode(_words("tcp-encode", [*paths, "-"], options), packets)
    _warn(messages)
    return pyarrow.RecordBatchReader.from_stream(rows).read_all()


def decode(flows: Any, output: Path | None = None, **options: Any) -> list[Packet] | dict[str, Any]:
    """Decode rows of tokens to packets.

    flows: path of a dataset, or a table of flows: of pyarrow, Polars, or any library with __arrow_c_stream__.
    output: path of a new capture, as tcp-decode's OUTPUT.
    options: those of tcp-decode with _ for -, such as payload="zero" or seed=7.

    Without output, returns a list of Packet in the order of time. With output, writes the capture and returns
    tcp-decode's summary as a dict.
    """
    with _as_dataset(flows) as path:
        if output is not None:
            return _call("tcp-decode", [path, output], options)
        with _without_collection():
            options = {"format": "pcapng", "resolution": "ns", **options}
            packets, messages = _native.decode(_words("tcp-decode", [path, "-"], options))
            _warn(messages)
            return list(map(tuple.__new__, itertools.repeat(Packet), packets))


def evaluate(real: Any, generated: Any, **options: Any) -> dict[str, Any]:
    """Measure how far generated flows are from real ones.

    real, generated: paths of captures or datasets, or tables of flows.
    options: those of tcp-eval with _ for -, such as repeats=10 or output="report".

    Returns tcp-eval's summary as a dict.
    """
    with _as_dataset(real) as real_path, _as_dataset(generated) as generated_path:
        return _call("tcp-eval", [real_path, generated_path], options)


def stream(dataset: Path, token_code: str | None = None) -> _native.Stream:
    """Open a dataset of any writer for a library with Arrow streams: pyarrow, Polars, DuckDB, nanoarrow.

    dataset: path of a file or of a folder of shards.
    token_code: that of files whose metadata name none; without it, their first tokens tell it.

    Returns an object with __arrow_c_stream__, which one consumer takes once. Memory is that of a record batch. A row or a
    file that cannot be read ends the stream with an error.
    """
    return _native.read(dataset, token_code)


def read(dataset: Path, token_code: str | None = None) -> pyarrow.Table:
    """Read a dataset of any writer as a pyarrow.Table, in the columns and types of docs/dataset.md.

    dataset: path of a file or of a folder of shards.
    token_code: that of files whose metadata name none; without it, their first tokens tell it.
    """
    rows = pyarrow.RecordBatchReader.from_stream(stream(dataset, token_code))
    try:
        return rows.read_all()
    except (pyarrow.ArrowException, OSError) as error:
        # pyarrow makes an error of input and output of whatever ends a stream.
        raise ValueError(str(error).splitlines()[0]) from None


def table(flows: Iterable[Iterable[int]]) -> pyarrow.Table:
    """Make a table of flows from lists of tokens, such as a model generates.

    flows: iterable of the tokens of a flow each, ints below VOCAB_SIZE.

    Returns a pyarrow.Table that decode, evaluate and tcp-decode take.
    """
    metadata = {
        "token_code": _native.TOKEN_CODE,
        "token_version": str(_native.TOKEN_VERSION),
        "vocab_size": str(_native.VOCAB_SIZE),
        "tool": f"tcp-flows {_native.__version__}",
    }
    kind = pyarrow.list_(pyarrow.field("item", pyarrow.uint16(), nullable=False))
    schema = pyarrow.schema([pyarrow.field("tokens", kind, nullable=False)], metadata=metadata)
    return pyarrow.table([pyarrow.array([list(flow) for flow in flows], kind)], schema=schema)


@contextlib.contextmanager
def corpus(
    dataset: Any, *, seed: int = 1, validation: float = 0.1, test: float = 0.0, max_repeats: int = 16
) -> Iterator[_native.Corpus]:
    """The distinct flows of a dataset or a table, split as tcp-train splits them."""
    with _as_dataset(dataset) as path:
        yield _native.Corpus(path, seed=seed, validation=validation, test=test, max_repeats=max_repeats)


def to_datasets(dataset: Any, **split: Any) -> DatasetDict:
    """Make a DatasetDict of Hugging Face's datasets: the distinct flows of a dataset, split by capture.

    dataset: path of a dataset, or a table of flows.
    split: seed, validation, test and max_repeats, as for Flows.

    Each of train, validation and test has the columns tokens (list of uint16) and source (name of the capture).
    """
    import datasets

    parts = {}
    with corpus(dataset, **split) as flows:
        for part in ("train", "validation", "test"):
            tokens, offsets = flows.ragged(part)
            columns = {
                "tokens": pyarrow.ListArray.from_arrays(offsets, tokens),
                "source": pyarrow.array(flows.sources(part), pyarrow.string()),
            }
            parts[part] = datasets.Dataset(datasets.table.InMemoryTable(pyarrow.table(columns)))
    return datasets.DatasetDict(parts)


def _words(program: str, paths: list[Path], options: dict[str, Any]) -> list[str]:
    """The command line of a program, as its words."""
    words = [program]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [f"{option}={os.fspath(v) if isinstance(v, os.PathLike) else v}" for v in values]
    return [*words, "--", *map(os.fspath, paths)]


def _call(program: str, paths: list[Path], options: dict[str, Any], packets: Iterable[tuple] | None = None) -> dict[str, Any]:
    summary, messages = _native.call(_words(program, paths, options), packets)
    _warn(messages)
    return json.loads(summary)


def _warn(messages: list[str]) -> None:
    for message in messages:
        warnings.warn(message, LeftOut, stacklevel=3)


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Put the collector of cycles off: it looks through all packets again and again while they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _as_dataset(flows: Any) -> Iterator[Path]:
    if _is_path(flows):
        yield flows
        return
    if not hasattr(flows, "__arrow_c_stream__"):
        raise TypeError(f"expected a path or a table with __arrow_c_stream__, found {type(flows).__name__}")
    rows = pyarrow.RecordBatchReader.from_stream(flows)
    with tempfile.TemporaryDirectory(prefix="tcp-flows-") as folder:
        path = pathlib.Path(folder, "flows.arrows")
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as to:
            for batch in rows:
                to.write_batch(batch)
        yield path
