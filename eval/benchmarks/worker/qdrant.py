"""Qdrant, in the process: qdrant-edge."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .documents import Vectors
from .muvera import encode, make_random

__all__ = ["Qdrant"]

_BATCH = 200


class Qdrant:
    """qdrant-edge: documents are found by one vector each, MUVERA's of 5,120 numbers, in a graph, and scored
    by MaxSim with their multivector, float16 and int8.

    A graph of the multivectors themselves is not built: of 100 passages it took half a minute.
    """

    packages = ("qdrant-edge-py",)

    def __init__(self) -> None:
        self._edge = import_module("qdrant_edge")

    def build(self, documents: Vectors, folder: str, m: int = 16) -> None:
        """``m``: links of a document in the graph."""
        edge, dim = self._edge, documents.read(0, 1).shape[1]
        home = Path(folder) / "shard"
        home.mkdir(parents=True)
        random = make_random(dim, 0)
        np.savez(Path(folder) / "random.npz", planes=random[0], projections=random[1])
        numbers = len(encode(np.zeros((0, dim), np.float32), *random, query=False))
        half, dot = edge.VectorStorageDatatype.Float16, edge.Distance.Dot

        def graph(links: int) -> Any:
            return edge.HnswIndexConfig(
                m=links, ef_construct=100, full_scan_threshold=10, max_indexing_threads=1
            )

        vectors = {
            "one": edge.EdgeVectorParams(numbers, dot, datatype=half, hnsw_config=graph(m)),
            "tokens": edge.EdgeVectorParams(
                dim,
                dot,
                multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
                datatype=half,
                quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True),
                hnsw_config=graph(0),
            ),
        }
        optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1)
        config = edge.EdgeConfig(vectors=vectors, max_search_threads=1, optimizers=optimizers)
        shard = edge.EdgeShard.create(str(home), config)
        for start, rows, offsets in documents.batches(_BATCH):
            texts = [rows[offsets[i] : offsets[i + 1]] for i in range(len(offsets) - 1)]
            points = [
                edge.Point(
                    start + i,
                    {"tokens": text.tolist(), "one": encode(text, *random, query=False).tolist()},
                )
                for i, text in enumerate(texts)
                if len(text)
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self, folder: str, documents: Vectors) -> None:
        """Load the shard."""
        self._shard = self._edge.EdgeShard.load(str(Path(folder) / "shard"))
        with np.load(Path(folder) / "random.npz") as file:
            self._random = file["planes"], file["projections"]

    def search(
        self, query: Any, k: int, rerank: int | None = None, int8: bool = True
    ) -> tuple[list[int], list[float]]:
        """``rerank``: how many documents get their MaxSim, at least ``k``, None for all."""
        edge = self._edge
        params = edge.SearchParams(exact=True, quantization=edge.QuantizationSearchParams(ignore=not int8))
        asked = edge.Query.Nearest(query.tolist(), using="tokens")
        first = []
        if rerank is not None:
            wide, one = max(k, rerank), encode(query, *self._random, query=True)
            nearest = edge.Query.Nearest(one.tolist(), using="one")
            first = [edge.Prefetch(wide, query=nearest, params=edge.SearchParams(hnsw_ef=max(wide, 128)))]
        request = edge.QueryRequest(k, query=asked, prefetches=first, params=params)
        found = self._shard.query(request)
        return [point.id for point in found], [point.score for point in found]
