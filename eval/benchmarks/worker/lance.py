"""LanceDB."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from .documents import Vectors

__all__ = ["Lance"]


class Lance:
    """LanceDB: an IVF_PQ index over the float32 vectors of a multivector column. With float16 it builds for
    minutes what takes seconds.
    """

    packages = ("lancedb",)

    def __init__(self) -> None:
        self._lancedb = import_module("lancedb")
        self._arrow = import_module("pyarrow")

    def build(self, documents: Vectors, folder: str, **options: Any) -> None:
        """``options`` are those of ``create_index``; cosine is the only metric it takes."""
        arrow, dim = self._arrow, documents.read(0, 1).shape[1]
        vector = arrow.list_(arrow.list_(arrow.float32(), dim))
        schema = arrow.schema([("id", arrow.int64()), ("vector", vector)])

        def batches() -> Iterator[Any]:
            for start, vectors, offsets in documents.batches():
                values = arrow.array(vectors.reshape(-1))
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
        asked = self._table.search(query, vector_column_name="vector").nprobes(nprobes)
        if refine_factor is not None:
            asked = asked.refine_factor(refine_factor)
        found = asked.select(["id", "_distance"]).limit(k).to_arrow()
        return found["id"].to_pylist(), [-distance for distance in found["_distance"].to_pylist()]
