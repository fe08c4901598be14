"""TCP captures to tokens, and tokens to captures.

`encode` makes a table of flows from a capture, `decode` packets from a table, `read` opens a dataset of any writer.
`Grammar` tells which tokens may come next. `Flows` and `Model` need torch, `to_datasets` needs Hugging Face's datasets.
docs/python.md of the repository has examples; docs/dataset.md has the columns, docs/tokens.md the tokens.
"""

from ._flows import LeftOut, Packet, decode, encode, evaluate, read, stream, table, to_datasets
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


def __getattr__(name):
    # torch takes seconds to import, and most uses need none of it.
    if name == "Flows":
        from .training import Flows

        return Flows
    if name == "Model":
        from .model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
