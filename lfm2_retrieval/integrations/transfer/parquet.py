"""Documents with vectors in Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...datatypes import TokenEmbeddings
from ...errors import InvalidInputError, MissingExtraError, remedy
from .exporting import ENCODER
from .rows import Rows

__all__ = ["encoder_of", "rows_of_parquet"]

_ROWS = 64
"""So many are read at a time."""


def rows_of_parquet(source: Path, vectors: str) -> tuple[int, Iterator[Rows]]:
    """Documents of a file; see `import_index`.

    Raises
    ------
    InvalidInputError
        If a column is missing, or isn't what it should be.
    """
    file = _open(source)
    names = file.schema_arrow.names
    id = next((name for name in ("id", "_id") if name in names), None)
    if id is None or vectors not in names:
        raise InvalidInputError(
            f"{source} has no column {'id' if id is None else vectors!r}; it has {', '.join(names)}; "
            f"{remedy('vectors=', '--vectors')} names the one with vectors"
        )
    first = next(_batches(file, source, id, vectors), None)
    if first is None:
        raise InvalidInputError(f"{source} holds no documents")
    return first.vectors.dim, _batches(file, source, id, vectors)


def encoder_of(source: Path) -> dict[str, Any] | None:
    """Which model made the vectors, where `export_index` wrote it."""
    held = (_open(source).schema_arrow.metadata or {}).get(ENCODER)
    try:
        encoder = None if held is None else json.loads(held)
    except ValueError:
        return None
    return encoder if isinstance(encoder, dict) else None


def _open(source: Path) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("reading Parquet", "parquet") from error
    try:
        return parquet.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(f"{source} can't be read as Parquet: {error}") from error


def _batches(file: Any, source: Path, id: str, vectors: str) -> Iterator[Rows]:
    for batch in file.iter_batches(_ROWS):
        columns = {name: batch.column(name) for name in batch.schema.names}
        embeddings = _vectors(source, columns.pop(vectors), vectors)
        ids = [str(one) for one in columns.pop(id).to_pylist()]
        texts = columns.pop("text").to_pylist() if "text" in columns else [None] * len(ids)
        metadata = [_metadata(source, row) for row in _as_rows(columns, len(ids))]
        yield Rows(ids, texts, metadata, embeddings)


def _as_rows(columns: dict[str, Any], count: int) -> list[dict[str, Any]]:
    listed = {name: column.to_pylist() for name, column in columns.items()}
    return [{name: column[i] for name, column in listed.items()} for i in range(count)]


def _metadata(source: Path, row: dict[str, Any]) -> dict[str, Any]:
    """That of the column ``metadata``, JSON or a struct, and all other columns."""
    held = row.pop("metadata", None)
    if isinstance(held, str):
        try:
            held = json.loads(held)
        except ValueError as error:
            raise InvalidInputError(f"{source}: metadata are no JSON: {error}") from error
    if held is not None and not isinstance(held, (dict, list)):
        raise InvalidInputError(f"{source}: metadata must be JSON, or a struct, not {held!r:.80}")
    return {**row, **dict(held or {})}


def _vectors(source: Path, column: Any, name: str) -> TokenEmbeddings:
    """A column of lists of lists of floats, of any of Arrow's kinds of lists."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        return bool(
            pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        )

    wanted = InvalidInputError(f"{source}: the column {name!r} must hold lists of vectors, a list a token")
    if not is_list(column.type) or not is_list(column.type.value_type) or column.null_count:
        raise wanted
    tokens = column.flatten()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    values = tokens.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)) or tokens.null_count:
        raise wanted
    widths = set(tokens.value_lengths().to_pylist())
    if len(widths) > 1 or values.null_count:
        raise InvalidInputError(
            f"{source}: vectors must be of one width, without nulls, not {sorted(widths)[:5]}"
        )
    dim = widths.pop() if widths else 1
    flat = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return TokenEmbeddings(flat.reshape(-1, dim), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
