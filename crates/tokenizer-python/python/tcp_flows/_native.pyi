"""The extension module: what its Rust sources say of each name holds here."""

import os
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__version__: str
TOKEN_CODE: str
TOKEN_VERSION: int
VOCAB_SIZE: int
BOS: int
END: int

Part = Literal["train", "validation", "test"]
Path = str | os.PathLike[str]

class Grammar:
    """Follows a flow token by token, and computes which tokens may come next."""

    def __new__(
        cls,
        constraint: Literal["session", "syntax"] = "session",
        *,
        max_packets: int | None = None,
        min_packets: int = 0,
        steady_clock: bool = False,
        steady_windows: bool = False,
        advisory_length: bool = False,
    ) -> Grammar: ...
    def allowed_mask(self) -> npt.NDArray[np.bool_]:
        """[VOCAB_SIZE]: whether each token may come next."""
    def allowed_tokens(self) -> list[int]:
        """The tokens that may come next, in ascending order."""
    def push(self, token: int) -> None: ...
    def copy(self) -> Grammar: ...
    @property
    def is_done(self) -> bool: ...
    @property
    def packets(self) -> int: ...
    def __len__(self) -> int: ...

class Stream:
    """Rows of a dataset that one consumer takes, through the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any: ...

class Corpus:
    """Distinct flows of a dataset, split into training, validation and test by capture."""

    def __new__(cls, path: Path, *, seed: int, validation: float, test: float, max_repeats: int) -> Corpus: ...
    def __len__(self) -> int: ...
    def part(self, part: Part) -> npt.NDArray[np.uint32]:
        """Indices of the flows of a part."""
    def tokens(self, flow: int) -> npt.NDArray[np.uint16]:
        """Tokens of a flow."""
    def ragged(self, part: Part) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
        """Tokens of all flows of a part, and their offsets, [flows + 1]."""
    def sources(self, part: Part) -> list[str]:
        """Capture of each flow of a part."""
    def rows(self, part: Part, row_tokens: int, epoch: int | None = None) -> Rows:
        """Flows of a part packed into rows of at most row_tokens tokens."""

class Rows:
    """Flows packed into rows, each for one step of training."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int) -> list[npt.NDArray[Any]]:
        """Input and target tokens, int64 [N]; offsets, int32 [B + 1]; flow and first token of each sequence, int64 [B]."""

def call(words: list[str], packets: object = None) -> tuple[str, list[str]]: ...
def decode(words: list[str]) -> tuple[list[tuple[int, bytes, int]], list[str]]: ...
def encode(words: list[str], packets: object = None) -> tuple[Stream, str, list[str]]: ...
def main(words: list[str]) -> int: ...
def columns() -> list[tuple[str, str, str, str]]:
    """Name, Arrow type, unit and meaning of each column of a dataset."""
def describe(token: int) -> str:
    """Name of a token: its field, and its number within the field."""
def read(path: Path, token_code: str | None = None) -> Stream: ...
