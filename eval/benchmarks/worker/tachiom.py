"""TACHIOM."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .documents import Vectors

__all__ = ["Tachiom"]

_NONE = np.iinfo(np.uint32).max


class Tachiom:
    """TACHIOM, which clusters the vectors of each entry of the vocabulary apart: it needs token ids."""

    packages = ("tachiom",)

    def __init__(self) -> None:
        self._make = import_module("tachiom").Tachiom

    def build(self, documents: Vectors, folder: str, **options: Any) -> None:
        """``options`` are those of its ``build``, which takes files."""
        if documents.token_ids is None:
            raise ValueError("TACHIOM needs token ids, and these vectors have none")
        lengths = np.diff(documents.offsets)
        home = Path(folder)
        home.mkdir()
        np.save(home / "filled.npy", np.flatnonzero(lengths))
        with tempfile.TemporaryDirectory(dir=home) as temporary:
            made = {name: Path(temporary) / f"{name}.npy" for name in ("vectors", "token_ids", "lengths")}
            shape = (len(documents.token_ids), documents.read(0, 1).shape[1])
            stored = np.lib.format.open_memmap(made["vectors"], "w+", np.float16, shape)
            for start, vectors, _ in documents.batches():
                first = documents.offsets[start]
                stored[first : first + len(vectors)] = vectors
            del stored
            np.save(made["token_ids"], documents.token_ids.astype(np.int64))
            np.save(made["lengths"], lengths[lengths > 0].astype(np.int32))
            index = self._make.build(*(str(file) for file in made.values()), **options)
        index.save(str(home / "index.bin"))

    def open(self, folder: str, documents: Vectors) -> None:
        """Load the index."""
        self._index = self._make.load(str(Path(folder) / "index.bin"))
        self._filled = np.load(Path(folder) / "filled.npy")

    def search(self, query: Any, k: int, **options: Any) -> tuple[list[int], list[float]]:
        """``options`` are those of its ``search``; places without a result are left out."""
        scores, found = self._index.search(query, k, **options)
        kept = found != _NONE
        return self._filled[found[kept]].tolist(), scores[kept].tolist()
