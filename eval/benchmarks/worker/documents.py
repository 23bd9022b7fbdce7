"""The documents of a workload, as a worker reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DRAWN", "Vectors", "draw"]

_BATCH = 1000
DRAWN = 1 << 32


def draw(documents: Any) -> Any:
    """A number below `DRAWN` for each document, evenly spread over any portion of them: multiples of the
    golden section.
    """
    return documents.astype(np.uint64) * np.uint64(2654435769) % np.uint64(DRAWN)


class Vectors:
    """Documents in two .npy files, read and not mapped: a map's pages would count as the system's memory."""

    def __init__(self, vectors: str, offsets: str, token_ids: str | None = None) -> None:
        self.offsets = np.load(offsets)
        self.token_ids: Any = None if token_ids is None else np.load(token_ids)
        self._mapped = np.load(vectors, mmap_mode="r")  # for its header; no page of it is touched
        self._path = vectors

    def read(self, start: int, stop: int) -> Any:
        """float32 ``[n_tokens, dim]`` of the documents ``start`` to ``stop``."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        dim = self._mapped.shape[1]
        with Path(self._path).open("rb") as file:
            file.seek(self._mapped.offset + low * dim * self._mapped.itemsize)
            rows = np.fromfile(file, self._mapped.dtype, (high - low) * dim)
        return rows.reshape(-1, dim).astype(np.float32, copy=False)

    def batches(self, size: int = _BATCH) -> Iterator[tuple[int, Any, Any]]:
        """First document, vectors and offsets of one batch after the other."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield start, self.read(start, stop), self.offsets[start : stop + 1] - self.offsets[start]

    def __len__(self) -> int:
        return len(self.offsets) - 1
