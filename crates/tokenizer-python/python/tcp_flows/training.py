"""Flows for training with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ._flows import corpus
from ._native import Rows


class Flows(IterableDataset):
    """The distinct flows of a part of a dataset, packed into rows: batches without padding.

    dataset: path of a dataset, or a table of flows.
    part: "train", "validation" or "test". Whole captures are held out as long as they fit.
    row_tokens: most tokens in a row. A flow that is longer is cut, and goes on in the next rows.
    seed, validation, test, max_repeats: seed of split and order, shares held out, number of flows kept that differ in time
        alone. For the same values the parts are those of tcp-train; of_model takes them from a model's folder.
    rank, world_size: this process and their number, where several train together. Each has every world_size-th row.

    A row is a dict of tensors: `tokens` and `targets`, int64 [N], the tokens read and the next ones to predict; `cu_seqlens`,
    int32 [B + 1], the offsets of the B sequences in them; `flow`, int64 [B], the index of each sequence's flow; `start`, int64
    [B], the index in the flow of its first token, above 0 where a row goes on with a flow.

    The rows of part "train" come in an order drawn from the seed, another one for each iteration; those of the other parts
    in the order of the dataset.
    """

    def __init__(
        self, dataset: Any, part: str = "train", *, row_tokens: int = 8192, rank: int = 0, world_size: int = 1, **split: Any
    ) -> None:
        with corpus(dataset, **split) as flows:
            self._flows = flows
        self._part, self._row_tokens = part, row_tokens
        self._rank, self._world_size = rank, world_size
        self._epoch = 0
        self._rows = self._pack()

    @classmethod
    def of_model(cls, dataset: Any, folder: str | os.PathLike[str], part: str = "train", **options: Any) -> Flows:
        """The flows as the model in a folder was trained on them: with the split of its config.json."""
        from .model import read_config

        settings = read_config(folder)["settings"]
        split = {
            "seed": settings["seed"],
            "validation": settings["validation_share"],
            "test": settings["test_share"],
            "max_repeats": settings["max_repeats"],
        }
        return cls(dataset, part, **{**split, **options})

    def _pack(self) -> Rows:
        epoch = self._epoch if self._part == "train" else None
        return self._flows.rows(self._part, self._row_tokens, epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration: the same for all processes that train together."""
        self._epoch = epoch
        self._rows = self._pack()

    def __len__(self) -> int:
        """Number of rows of this process."""
        return len(range(self._rank, len(self._rows), self._world_size))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        rank, step = self._rank, self._world_size
        if worker is not None:  # each worker of a DataLoader has its own rows
            rank, step = rank + step * worker.id, step * worker.num_workers
        rows = self._rows
        for row in range(rank, len(rows), step):
            names = ("tokens", "targets", "cu_seqlens", "flow", "start")
            yield {name: torch.from_numpy(array) for name, array in zip(names, rows[row])}
        if worker is None:
            self.set_epoch(self._epoch + 1)
