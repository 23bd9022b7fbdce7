"""An index as a collection of Qdrant, a shard of Qdrant Edge, a table of LanceDB, or a Parquet file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from ...errors import IndexExistsError, IndexWriteError, InvalidInputError, MissingExtraError, RetrievalError
from ...indexes import Index, refuse_inside
from .rows import Rows, rows_of

__all__ = ["ENCODER", "TARGETS", "Target", "export_index"]

VECTORS = "colbert"
"""What the multivector is called in a collection of Qdrant."""
ENCODER = b"lfm2_retrieval.encoder"
"""Where a Parquet file says which model made the vectors."""


class Target(StrEnum):
    """Where to."""

    QDRANT = "qdrant"
    QDRANT_EDGE = "qdrant-edge"
    LANCEDB = "lancedb"
    PARQUET = "parquet"


TARGETS = tuple(one.value for one in Target)


def export_index(
    index: Index,
    to: Target | str,
    destination: str | Path,
    *,
    name: str = "documents",
    on_progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write what an index finds, documents or passages, with ids, texts, metadata and decoded vectors.

    They are those of one commit, read a few at a time. What is written gets its name when it is complete; a
    collection on a server grows as it is written.

    Parameters
    ----------
    index
        An open one.
    to
        ``"qdrant"``, ``"qdrant-edge"``, ``"lancedb"`` or ``"parquet"``.
    destination
        A folder, or of Parquet a file, that isn't there; of Qdrant also the address of a server.
    name
        Of the collection, or the table; a shard of Qdrant Edge has none.
    on_progress
        Called with the number of rows written so far.

    Returns
    -------
    int
        How many rows were written.

    Raises
    ------
    MissingExtraError
        If the client isn't installed.
    IndexExistsError
        If something is there already.
    InvalidInputError
        If there is no such target, or an id or a text is no Unicode.
    IndexWriteError
        If the destination can't be written.
    """
    if to not in set(Target):
        raise InvalidInputError(f"to must be one of {', '.join(Target)}, not {to!r}")
    write = {
        Target.QDRANT: _to_qdrant,
        Target.QDRANT_EDGE: _to_qdrant_edge,
        Target.LANCEDB: _to_lancedb,
        Target.PARQUET: _to_parquet,
    }[Target(to)]

    def run(held: Index) -> int:
        count = 0

        def counted() -> Iterator[Rows]:
            nonlocal count
            for rows in rows_of(held):
                yield rows
                count += len(rows.ids)
                on_progress(count)

        write(held, str(destination), name, counted())
        return count

    return index.at_once(run)


def _to_qdrant(index: Index, destination: str, name: str, batches: Iterator[Rows]) -> None:
    try:
        from qdrant_client import QdrantClient
        from qdrant_client.models import (
            Distance,
            MultiVectorComparator,
            MultiVectorConfig,
            PointStruct,
            VectorParams,
        )
    except ImportError as error:
        raise MissingExtraError("writing to Qdrant", "qdrant") from error

    def fill(client: QdrantClient) -> None:
        if client.collection_exists(name):
            raise IndexExistsError(f"the collection {name!r} is there: choose another name, or delete it")
        late = MultiVectorConfig(comparator=MultiVectorComparator.MAX_SIM)
        params = VectorParams(size=index.dim, distance=Distance.DOT, multivector_config=late)
        client.create_collection(name, vectors_config={VECTORS: params})
        for rows in batches:
            if points := [
                PointStruct(id=id, vector=vector, payload=told) for id, vector, told in _points(rows)
            ]:
                client.upsert(name, points)

    if urlsplit(destination).scheme in ("http", "https"):
        client = QdrantClient(url=destination, api_key=os.environ.get("QDRANT_API_KEY"))
        try:
            fill(client)
        finally:
            client.close()
        return
    with _made_whole(index, Path(destination)) as folder:
        client = QdrantClient(path=str(folder))
        try:
            fill(client)
        finally:
            client.close()


def _to_qdrant_edge(index: Index, destination: str, name: str, batches: Iterator[Rows]) -> None:
    try:
        edge: Any = import_module("qdrant_edge")
    except ImportError as error:
        raise MissingExtraError("writing to Qdrant Edge", "qdrant-edge") from error
    late = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
    params = edge.EdgeVectorParams(index.dim, edge.Distance.Dot, multivector_config=late)
    with _made_whole(index, Path(destination)) as folder:
        folder.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={VECTORS: params}))
        try:
            for rows in batches:
                if points := [edge.Point(*one) for one in _points(rows)]:
                    shard.update(edge.UpdateOperation.upsert_points(points))
            shard.flush()
        finally:
            shard.close()


def _points(rows: Rows) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Id, vectors and payload of each, as Qdrant has them; it takes none without vectors."""
    for id, text, metadata, vectors in zip(rows.ids, rows.texts, rows.metadata, rows.vectors, strict=True):
        if len(vectors):
            payload = {"id": id, "text": text, "metadata": dict(metadata)}
            yield str(uuid5(NAMESPACE_URL, id)), {VECTORS: vectors.tolist()}, payload


def _to_lancedb(index: Index, destination: str, name: str, batches: Iterator[Rows]) -> None:
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError("writing to LanceDB", "lancedb") from error
    schema = _schema(index, "writing to LanceDB", "lancedb")
    with _made_whole(index, Path(destination)) as folder:
        records = (_record(rows, schema) for rows in batches)
        lancedb.connect(folder).create_table(name, data=records, schema=schema)


def _to_parquet(index: Index, destination: str, name: str, batches: Iterator[Rows]) -> None:
    schema = _schema(index, "writing Parquet", "parquet")
    from pyarrow import parquet

    if encoder := index.settings.get("encoder"):
        schema = schema.with_metadata({ENCODER: json.dumps(encoder)})
    with _made_whole(index, Path(destination)) as path, parquet.ParquetWriter(path, schema) as writer:
        for rows in batches:
            writer.write_batch(_record(rows, schema))


def _schema(index: Index, feature: str, extra: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError(feature, extra) from error
    vectors = pa.list_(pa.list_(pa.float32(), index.dim))
    text = pa.string()
    return pa.schema([("id", text), ("text", text), ("metadata", text), ("vectors", vectors)])


def _record(rows: Rows, schema: Any) -> Any:
    """A batch as Arrow has it; metadata as JSON."""
    import pyarrow as pa

    vectors = rows.vectors
    kind = schema.field("vectors").type
    flat = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.embeddings.reshape(-1), pa.float32()), vectors.dim
    )
    lists = pa.ListArray.from_arrays(pa.array(vectors.offsets, pa.int32()), flat).cast(kind)
    try:
        columns = [pa.array(rows.ids, pa.string()), pa.array(rows.texts, pa.string())]
    except UnicodeEncodeError as error:
        raise InvalidInputError("an id or a text holds a lone surrogate, which Arrow can't") from error
    columns += [pa.array([json.dumps(dict(one)) for one in rows.metadata], pa.string()), lists]
    return pa.record_batch(columns, schema=schema)


@contextmanager
def _made_whole(index: Index, path: Path) -> Iterator[Path]:
    """A file or folder that gets its name when it is complete; nothing is left of one that isn't."""
    refuse_inside(index.path, path)
    if path.exists() or path.is_symlink():
        raise IndexExistsError(f"{path} is there already: choose another name, or remove it")
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        partial.rename(path)
    except BaseException as error:
        _remove(partial)
        if isinstance(error, OSError) and not isinstance(error, RetrievalError):
            raise IndexWriteError(
                f"{path} can't be written: {error}; make room, or choose another"
            ) from error
        raise


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        shutil.rmtree(path)
    with suppress(FileNotFoundError):
        path.unlink()
