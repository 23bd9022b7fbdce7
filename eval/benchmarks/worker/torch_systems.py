"""fast-plaid and WARP, which take torch's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .documents import Vectors

__all__ = ["FastPlaid", "Warp"]


class FastPlaid:
    """fast-plaid; its interface takes all vectors at once, as a list of tensors."""

    packages = ("fast-plaid", "torch")

    def __init__(self) -> None:
        import torch
        from fast_plaid.search import FastPlaid as Index

        torch.set_num_threads(1)
        self._torch, self._make = torch, Index

    def build(self, documents: Vectors, folder: str, **options: Any) -> None:
        """``options`` are those of ``create``."""
        tensors = _tensors(self._torch, documents)
        self._make(index=folder, device="cpu").create(documents_embeddings=tensors, **options)

    def open(self, folder: str, documents: Vectors) -> None:
        """Open the index."""
        self._index = self._make(index=folder, device="cpu")

    def search(self, query: Any, k: int, **options: Any) -> tuple[list[int], list[float]]:
        """``options`` are those of its ``search``."""
        (hits,) = self._index.search(
            self._torch.from_numpy(query[None]), top_k=k, show_progress=False, n_processes=1, **options
        )
        return [int(id) for id, _ in hits], [float(score) for _, score in hits]


class Warp:
    """xtr-warp-rs."""

    packages = ("xtr-warp-rs", "torch")

    def __init__(self) -> None:
        import torch
        from xtr_warp import XTRWarp

        torch.set_num_threads(1)
        self._torch, self._make = torch, XTRWarp

    def build(self, documents: Vectors, folder: str, **options: Any) -> None:
        """``options`` are those of ``create``."""
        tensors = _tensors(self._torch, documents)
        self._make(folder).create(tensors, device="cpu", show_progress=False, **options)

    def open(self, folder: str, documents: Vectors) -> None:
        """Load the index."""
        self._index = self._make(folder)
        self._index.load(device="cpu")

    def search(self, query: Any, k: int, **options: Any) -> tuple[list[int], list[float]]:
        """``options`` are those of its ``search``."""
        (hits,) = self._index.search(
            self._torch.from_numpy(query[None]), top_k=k, num_threads=1, show_progress=False, **options
        )
        return [int(id) for id, _ in hits], [float(score) for _, score in hits]


def _tensors(torch: Any, documents: Vectors) -> list[Any]:
    """One float32 tensor a document, views of one block. Ids of the results are positions in this list."""
    vectors = torch.from_numpy(documents.read(0, len(documents)))
    return list(torch.split(vectors, np.diff(documents.offsets).tolist()))
