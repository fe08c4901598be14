"""TCP captures to tokens, and tokens to captures.

`encode` makes a table of flows from a capture, `decode` packets from a table, `read` opens a dataset of any writer.
`Grammar` tells which tokens may come next. `Flows` and `Model` need torch, `to_datasets` needs Hugging Face's datasets.
docs/python.md of the repository has examples; docs/dataset.md has the columns, docs/tokens.md the tokens.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._native import (
    BOS,
    END,
    TOKEN_CODE,
    TOKEN_VERSION,
    VOCAB_SIZE,
    Corpus,
    Grammar,
    __version__,
    columns,
    describe,
)

__all__ = [
    "BOS",
    "END",
    "TOKEN_CODE",
    "TOKEN_VERSION",
    "VOCAB_SIZE",
    "Corpus",
    "Flows",
    "Grammar",
    "LeftOut",
    "Model",
    "Packet",
    "__version__",
    "columns",
    "decode",
    "describe",
    "encode",
    "evaluate",
    "read",
    "stream",
    "table",
    "to_datasets",
]


if TYPE_CHECKING:
    from ._flows import LeftOut, Packet, decode, encode, evaluate, read, stream, table, to_datasets
    from .model import Model
    from .training import Flows

# pyarrow and torch are imported where they are used: the programs and the grammar start without them.
_PLACES = {
    **dict.fromkeys(
        ("LeftOut", "Packet", "decode", "encode", "evaluate", "read", "stream", "table", "to_datasets"), "._flows"
    ),
    "Flows": ".training",
    "Model": ".model",
}


def __getattr__(name):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name], __name__), name)


def __dir__():
    return __all__
