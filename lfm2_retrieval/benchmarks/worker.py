"""One system under test, in an interpreter of its own: JSON lines in, JSON lines out.

Run as a script (``python worker.py SYSTEM``) by whatever interpreter the system is installed in. So it
imports nothing but NumPy and that system, and works on Python 3.9. Requests, each an object with ``do``:

``build``
    ``vectors``, ``offsets``: .npy files of the documents; ``folder``; ``options`` of the build.
    → ``seconds``, ``bytes`` by part.
``open``
    ``folder``, ``options`` and, for systems that keep no files, ``vectors`` and ``offsets``; ``queries`` and
    ``query_offsets``. → ``{}``
``search``
    ``query``: its number; ``k``; ``options`` of the search. → ``seconds``, ``cpu`` (seconds of all threads),
    ``ids`` (positions, best first), ``scores``.
``memory``
    → ``peak``: bytes resident at most since the process began.

The first line out, unasked, is ``{"version": …}`` or ``{"error": …}``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SYSTEMS", "main"]

_BATCH = 1000


class Vectors:
    """Documents in two .npy files, read and not mapped: a map's pages would count as the system's memory."""

    def __init__(self, vectors: str, offsets: str) -> None:
        self.offsets = np.load(offsets)
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

    def batches(self) -> Iterator[tuple[int, Any, Any]]:
        """First document, vectors and offsets of one batch after the other."""
        for start in range(0, len(self), _BATCH):
            stop = min(start + _BATCH, len(self))
            yield start, self.read(start, stop), self.offsets[start : stop + 1] - self.offsets[start]

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Brute:
    """MaxSim of all documents by NumPy in float32: what the others are compared with."""

    packages = ("numpy",)

    def build(self, documents: Vectors, folder: str) -> None:
        """Nothing: it searches the vectors themselves."""

    def open(self, folder: str, documents: Vectors) -> None:
        """Read the vectors."""
        self._vectors = documents.read(0, len(documents))
        self._filled = np.flatnonzero(np.diff(documents.offsets))
        self._starts = documents.offsets[:-1][self._filled]

    def search(self, query: Any, k: int) -> tuple[list[int], list[float]]:
        """The best documents; equal scores in their order."""
        scores = np.maximum.reduceat(query @ self._vectors.T, self._starts, axis=1).sum(axis=0)
        kept = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        kept = kept[np.lexsort((kept, -scores[kept]))]
        return self._filled[kept].tolist(), scores[kept].tolist()


class Lfm2:
    """This library."""

    packages = ("lfm2-retrieval",)

    def __init__(self) -> None:
        self._indexes, self._types = import_module("lfm2_retrieval.indexes"), import_module("lfm2_retrieval")

    def build(self, documents: Vectors, folder: str, tier: str) -> dict[str, int]:
        """Add everything in one commit, then compress."""
        dim = documents.read(0, 1).shape[1]
        with self._kind(tier).create(folder, dim, **({} if tier == "exact" else {"tier": tier})) as index:
            with index.writer() as writer:
                for start, vectors, offsets in documents.batches():
                    ids = [str(start + i) for i in range(len(offsets) - 1)]
                    writer.add(ids, self._types.TokenEmbeddings(vectors, offsets))
            if tier != "exact":
                index.build(force=True)
            return dict(index.size_bytes())

    def open(self, folder: str, documents: Vectors, tier: str) -> None:
        """Open the index."""
        self._index = self._kind(tier).open(folder)

    def search(self, query: Any, k: int, **options: Any) -> tuple[list[int], list[float]]:
        """``options`` are those of ``SearchParams``."""
        asked = self._types.TokenEmbeddings(query, np.array([0, len(query)]))
        (hits,) = self._index.search(asked, self._types.SearchParams(k, **options))
        return [int(hit.id) for hit in hits], [hit.score for hit in hits]

    def _kind(self, tier: str) -> Any:
        return self._indexes.ExactIndex if tier == "exact" else self._indexes.CompressedIndex


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


SYSTEMS: dict[str, Any] = {"brute": Brute, "lfm2": Lfm2, "fast-plaid": FastPlaid, "warp": Warp}


def _tensors(torch: Any, documents: Vectors) -> list[Any]:
    """One float32 tensor a document, views of one block. Ids of the results are positions in this list."""
    vectors = torch.from_numpy(documents.read(0, len(documents)))
    return list(torch.split(vectors, np.diff(documents.offsets).tolist()))


def _bytes(folder: str) -> dict[str, int]:
    """Sizes of the files in a folder, added up over names that differ in their numbers only."""
    sizes: dict[str, int] = {}
    for file in Path(folder).rglob("*"):
        if file.is_file():
            name = re.sub(r"\d+", "N", file.name)
            sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return sizes


def _peak() -> int:
    """ru_maxrss would count the process that this one was forked from; VmHWM doesn't."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Session:
    def __init__(self, system: str) -> None:
        self._system = SYSTEMS[system]()

    def build(self, *, vectors: str, offsets: str, folder: str, options: dict[str, Any]) -> dict[str, Any]:
        documents = Vectors(vectors, offsets)
        started = time.perf_counter()
        sizes = self._system.build(documents, folder, **options)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "bytes": sizes or _bytes(folder)}

    def open(
        self,
        *,
        folder: str,
        vectors: str,
        offsets: str,
        queries: str,
        query_offsets: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        self._system.open(folder, Vectors(vectors, offsets), **options)
        asked = Vectors(queries, query_offsets)
        self._queries = [asked.read(i, i + 1) for i in range(len(asked))]
        return {}

    def search(self, query: int, k: int, options: dict[str, Any]) -> dict[str, Any]:
        cpu, started = time.process_time(), time.perf_counter()
        ids, scores = self._system.search(self._queries[query], k, **options)
        return {
            "seconds": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "ids": ids,
            "scores": scores,
        }

    def memory(self) -> dict[str, Any]:
        return {"peak": _peak()}


def main(system: str) -> None:
    """Answer requests until the input ends."""
    # Systems print; what they print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        session = _Session(system)
        package = SYSTEMS[system].packages[0]
        answer({"version": _version(package), "python": sys.version.split()[0]})
        for line in sys.stdin:
            request = json.loads(line)
            answer(getattr(session, request.pop("do"))(**request))
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        if not isinstance(error, ImportError):  # which says it all
            raise
        sys.exit(1)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"


if __name__ == "__main__":
    main(sys.argv[1])
