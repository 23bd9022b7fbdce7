"""One system under test, in an interpreter of its own: JSON lines in, JSON lines out.

Run as a script (``python worker.py SYSTEM``) by whatever interpreter the system is installed in. So it
imports nothing but NumPy and that system, and works on Python 3.9. Requests, each an object with ``do``:

``build``
    ``vectors``, ``offsets``: .npy files of the documents; ``folder``; ``options`` of the build.
    → ``seconds``, ``bytes`` by part.
``open``
    ``folder``, ``options`` and, for systems that keep no files, ``vectors`` and ``offsets``. → ``{}``
``load``
    ``queries`` and ``query_offsets``: .npy files of what will be asked. → ``{}``
``search``
    ``query``: its number; ``k``; ``options`` of the search; of systems that can filter, ``below``: only
    documents whose number, by `draw`, is smaller. → ``seconds``, ``cpu`` (seconds of all threads),
    ``ids`` (positions, best first), ``scores``.
``memory``
    → ``peak``: bytes resident at most since the process began.

The first line out, unasked, is ``{"version": …}`` or ``{"error": …}``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
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
DRAWN = 1 << 32


def draw(documents: Any) -> Any:
    """A number below `DRAWN` for each document, evenly spread over any portion of them: multiples of the
    golden section.
    """
    return documents.astype(np.uint64) * np.uint64(2654435769) % np.uint64(DRAWN)


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
        self._scored: Any = (None, None)

    def search(self, query: Any, k: int, below: int | None = None) -> tuple[list[int], list[float]]:
        """The best documents; equal scores in their order. Filtered searches of a query share its scores."""
        if below is None:
            return self._best(self._score(query), k)
        if self._scored[0] is not query:
            self._scored = query, self._score(query)
        chosen = draw(self._filled) < below
        scores = np.where(chosen, self._scored[1], -np.inf)
        return self._best(scores, min(k, int(chosen.sum())))

    def _score(self, query: Any) -> Any:
        return np.maximum.reduceat(query @ self._vectors.T, self._starts, axis=1).sum(axis=0)

    def _best(self, scores: Any, k: int) -> tuple[list[int], list[float]]:
        kept = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
        kept = kept[np.lexsort((kept, -scores[kept]))]
        return self._filled[kept].tolist(), scores[kept].tolist()


class Lfm2:
    """This library."""

    packages = ("lfm2-retrieval",)

    def __init__(self) -> None:
        self._indexes, self._types = import_module("lfm2_retrieval.indexes"), import_module("lfm2_retrieval")

    def build(self, documents: Vectors, folder: str, tier: str, filtered: bool = False) -> dict[str, int]:
        """Add everything in one commit, then compress; to be filtered, with metadata."""
        dim = documents.read(0, 1).shape[1]
        with self._indexes.Index.create(folder, dim, tier=tier) as index:
            with index.writer() as writer:
                for start, vectors, offsets in documents.batches():
                    numbers = start + np.arange(len(offsets) - 1)
                    metadata = [{"draw": number} for number in draw(numbers).tolist()] if filtered else None
                    embeddings = self._types.TokenEmbeddings(vectors, offsets)
                    writer.add([str(number) for number in numbers], embeddings, metadata=metadata)
            if tier != "exact":
                index.build(force=True)
            return dict(index.size_bytes())

    def open(self, folder: str, documents: Vectors, tier: str) -> None:
        """Open the index."""
        self._index = self._indexes.Index.open(folder)

    def search(
        self, query: Any, k: int, below: int | None = None, **options: Any
    ) -> tuple[list[int], list[float]]:
        """``options`` are those of ``SearchParams``."""
        asked = self._types.TokenEmbeddings(query, np.array([0, len(query)]))
        where = None if below is None else {"draw": {"$lt": below}}
        (hits,) = self._index.search(asked, self._types.SearchParams(k, **options), where=where)
        return [int(hit.id) for hit in hits], [hit.score for hit in hits]


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


class Lance:
    """LanceDB: an IVF_PQ index over the vectors of a multivector column."""

    packages = ("lancedb",)

    def __init__(self) -> None:
        self._lancedb = import_module("lancedb")
        self._arrow = import_module("pyarrow")

    def build(self, documents: Vectors, folder: str, **options: Any) -> None:
        """``options`` are those of ``create_index``; cosine is the only metric it takes."""
        arrow, dim = self._arrow, documents.read(0, 1).shape[1]
        vector = arrow.list_(arrow.list_(arrow.float16(), dim))
        schema = arrow.schema([("id", arrow.int64()), ("vector", vector)])

        def batches() -> Iterator[Any]:
            for start, vectors, offsets in documents.batches():
                values = arrow.array(vectors.astype(np.float16).reshape(-1))
                rows = arrow.FixedSizeListArray.from_arrays(values, dim)
                lists = arrow.ListArray.from_arrays(arrow.array(offsets.astype(np.int32)), rows)
                ids = arrow.array(np.arange(start, start + len(offsets) - 1))
                yield arrow.record_batch([ids, lists], schema=schema)

        reader = arrow.RecordBatchReader.from_batches(schema, batches())
        table = self._lancedb.connect(folder).create_table("documents", reader, schema=schema)
        table.create_index(metric="cosine", vector_column_name="vector", **options)

    def open(self, folder: str, documents: Vectors) -> None:
        """Open the table."""
        self._table = self._lancedb.connect(folder).open_table("documents")

    def search(
        self, query: Any, k: int, nprobes: int = 20, refine_factor: int | None = None
    ) -> tuple[list[int], list[float]]:
        """A distance is one minus a cosine for each vector of the query."""
        asked = self._table.search(query.astype(np.float16), vector_column_name="vector").nprobes(nprobes)
        if refine_factor is not None:
            asked = asked.refine_factor(refine_factor)
        found = asked.select(["id", "_distance"]).limit(k).to_arrow()
        return found["id"].to_pylist(), [-distance for distance in found["_distance"].to_pylist()]


class Muvera:
    """MUVERA (Dhulipala et al., 2024, arXiv:2405.19504), a plain form of it, written for this comparison.

    A text becomes one vector: random hyperplanes cut space into cells; of each cell a document contributes
    the mean of its vectors there, or where it has none the nearest by Hamming distance, and a query their
    sum; both are projected at random, and several such cuts are laid end to end. All documents' vectors are
    scanned, and the best documents scored by MaxSim on float16 vectors.
    """

    packages = ("numpy",)

    def build(self, documents: Vectors, folder: str, seed: int = 0, **shape: int) -> None:
        """``shape``: ``repetitions``, ``bits`` and ``projected``; by default 20, 4 and 16: 5,120 numbers."""
        home = Path(folder)
        home.mkdir()
        dim = documents.read(0, 1).shape[1]
        planes, projections = _muvera(dim, seed, **shape)
        np.savez(home / "random.npz", planes=planes, projections=projections)
        encoded = []
        with (home / "vectors.f16").open("wb") as file:
            for _, vectors, offsets in documents.batches():
                vectors.astype(np.float16).tofile(file)
                encoded += [
                    _fixed(vectors[offsets[i] : offsets[i + 1]], planes, projections, query=False)
                    for i in range(len(offsets) - 1)
                ]
        np.save(home / "encoded.npy", np.stack(encoded))
        np.save(home / "offsets.npy", documents.offsets)

    def open(self, folder: str, documents: Vectors) -> None:
        """Read what is scanned, map the rest."""
        home = Path(folder)
        with np.load(home / "random.npz") as file:
            self._planes, self._projections = file["planes"], file["projections"]
        self._encoded, self._offsets = np.load(home / "encoded.npy"), np.load(home / "offsets.npy")
        dim = self._planes.shape[1]
        self._vectors = np.memmap(home / "vectors.f16", np.float16, "r").reshape(-1, dim)

    def search(self, query: Any, k: int, rerank: int = 100) -> tuple[list[int], list[float]]:
        """``rerank``: how many documents get their MaxSim, at least ``k``."""
        rough = self._encoded @ _fixed(query, self._planes, self._projections, query=True)
        rerank = min(max(rerank, k), len(rough))
        chosen = np.argpartition(-rough, rerank - 1)[:rerank]
        chosen = chosen[self._offsets[chosen + 1] > self._offsets[chosen]]
        starts, ends = self._offsets[chosen], self._offsets[chosen + 1]
        rows = [self._vectors[self._offsets[i] : self._offsets[i + 1]] for i in chosen]
        vectors = np.concatenate(rows).astype(np.float32)
        bounds = np.concatenate([[0], np.cumsum(ends - starts)])[:-1]
        scores = np.maximum.reduceat(query @ vectors.T, bounds, axis=1).sum(axis=0)
        best = np.lexsort((chosen, -scores))[:k]
        return chosen[best].tolist(), scores[best].tolist()


def _muvera(
    dim: int, seed: int, repetitions: int = 20, bits: int = 4, projected: int = 16
) -> tuple[Any, Any]:
    """Hyperplanes ``[repetitions, dim, bits]`` and projections ``[repetitions, dim, projected]``."""
    rng = np.random.default_rng(seed)
    planes = rng.standard_normal((repetitions, dim, bits)).astype(np.float32)
    signs = rng.choice(np.array([-1, 1], np.float32), (repetitions, dim, projected))
    return planes, (signs / np.sqrt(projected)).astype(np.float32)


def _fixed(vectors: Any, planes: Any, projections: Any, query: bool) -> Any:
    """The one vector of a text."""
    repetitions, _, bits = planes.shape
    cells = 1 << bits
    encoded: Any = np.zeros((repetitions, cells, projections.shape[2]), np.float32)
    if not len(vectors):
        return encoded.reshape(-1)
    places: Any = ((vectors @ planes) > 0) @ (1 << np.arange(bits))
    projected = vectors @ projections
    numbers = np.arange(cells)
    for repetition in range(repetitions):
        place, rows = places[repetition], projected[repetition]
        member = (place == numbers[:, None]).astype(np.float32)
        encoded[repetition] = member @ rows
        if query:
            continue
        counts = member.sum(axis=1)
        encoded[repetition] /= np.maximum(counts, 1)[:, None]
        empty = np.flatnonzero(counts == 0)
        differing = place ^ empty[:, None]
        distance: Any = sum((differing >> bit) & 1 for bit in range(bits))
        encoded[repetition, empty] = rows[np.argmin(distance, axis=1)]
    return encoded.reshape(-1)


class Tachiom:
    """TACHIOM: says why it can't be measured."""

    packages = ("tachiom",)

    def __init__(self) -> None:
        library, version = platform.libc_ver()
        found = tuple(int(part) for part in version.split(".")[:2]) if version else (0,)
        if library != "glibc" or found < (2, 39):
            raise ImportError(
                f"tachiom 0.4.0 needs glibc 2.39, and here is {library or 'none'} {version}".strip()
            )
        raise ImportError("no way to call tachiom was written, for want of a system that can run it")


SYSTEMS: dict[str, Any] = {
    "brute": Brute,
    "lfm2": Lfm2,
    "fast-plaid": FastPlaid,
    "warp": Warp,
    "lancedb": Lance,
    "muvera": Muvera,
    "tachiom": Tachiom,
}


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
        options: dict[str, Any],
    ) -> dict[str, Any]:
        self._system.open(folder, Vectors(vectors, offsets), **options)
        return {}

    def load(self, *, queries: str, query_offsets: str) -> dict[str, Any]:
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
