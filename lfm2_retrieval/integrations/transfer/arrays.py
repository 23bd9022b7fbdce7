"""Vectors in NumPy's files, and ids, texts and metadata beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datatypes import TokenEmbeddings
from ...errors import InvalidInputError
from .rows import MOST_TOKENS, Rows

__all__ = ["Described", "batches_of", "described", "rows_of_arrays"]

Described = tuple[str, str | None, Mapping[str, Any]]
"""An id, a text and metadata."""


def rows_of_arrays(source: Path, ids: Path | None) -> tuple[int, Iterator[Rows]]:
    """Documents of a ``.npy`` or ``.npz``; pickled arrays are refused.

    Parameters
    ----------
    source
        ``FILE.npy`` ``[n_tokens, dim]`` beside ``FILE.offsets.npy`` ``[n_documents + 1]``, as ``lfm2-retrieve
        export --embeddings`` writes them; or a ``.npz`` with ``embeddings``, ``offsets`` and perhaps ``ids``;
        or one with an array ``[n_tokens, dim]`` a document, under its id.
    ids
        See `described`.

    Raises
    ------
    InvalidInputError
        If it isn't of this form.
    """
    if source.suffix == ".npy":
        vectors = _load(source, mapped=True)
        return _end_to_end(source, vectors, _load(source.with_suffix(".offsets.npy")), described(ids))
    archive = _load(source)
    if {"embeddings", "offsets"} <= set(archive.files):
        names = described(ids)
        if ids is None and "ids" in archive.files:
            names = ((str(name), None, {}) for name in _member(source, archive, "ids"))
        vectors, offsets = (_member(source, archive, name) for name in ("embeddings", "offsets"))
        return _end_to_end(source, vectors, offsets, names)
    if not archive.files:
        raise InvalidInputError(f"{source} holds no arrays")
    dim = _width(source, _member(source, archive, archive.files[0]))
    names = described(ids) if ids is not None else ((name, None, {}) for name in archive.files)
    texts = (_member(source, archive, name) for name in archive.files)
    return dim, batches_of(texts, names, f"{source} has {len(archive.files):,} arrays")


def described(ids: Path | None) -> Iterator[Described]:
    """Id, text and metadata of each document: from lines of a file, plain or JSON objects, or numbers.

    Raises
    ------
    InvalidInputError
        If a line is a JSON object without an id.
    """
    if ids is None:
        yield from ((str(number), None, {}) for number in count())
        return
    with ids.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text.startswith("{"):
                yield text, None, {}
                continue
            try:
                row = json.loads(text)
                yield str(row.get("id", row.get("_id", ""))), row.get("text"), row.get("metadata") or {}
            except ValueError as error:
                raise InvalidInputError(f"{ids}, line {number} is no JSON: {error}") from error


def batches_of(
    texts: Iterator[NDArray[Any]], names: Iterator[Described], told: str, most_tokens: int = MOST_TOKENS
) -> Iterator[Rows]:
    """Vectors of each document with what describes it, in batches; as many of the one as of the other.

    Raises
    ------
    InvalidInputError
        If there are fewer ids, or, unless these are numbers, more.
    """
    found: list[Described] = []
    held: list[NDArray[Any]] = []
    for vectors in texts:
        described = next(names, None)
        if described is None:
            raise InvalidInputError(f"{told}, and there are fewer ids: give one for each")
        held.append(vectors)
        found.append(described)
        if sum(map(len, held)) >= most_tokens or len(held) == 256:
            yield _rows(found, held)
            found, held = [], []
    if held:
        yield _rows(found, held)
    if (more := next(names, None)) is not None and not more[0].isdecimal():
        raise InvalidInputError(f"{told}, and there are more ids, such as {more[0]!r}: give one for each")


def _rows(found: list[Described], held: list[NDArray[Any]]) -> Rows:
    ids, texts, metadata = (list(column) for column in zip(*found, strict=True))
    return Rows(ids, texts, metadata, TokenEmbeddings.of(held))


def _end_to_end(
    source: Path, vectors: NDArray[Any], offsets: NDArray[Any], names: Iterator[Described]
) -> tuple[int, Iterator[Rows]]:
    dim = _width(source, vectors)
    whole = offsets.ndim == 1 and len(offsets) > 0 and offsets.dtype.kind in "iu"
    if not whole or offsets[0] != 0 or offsets[-1] != len(vectors) or np.any(np.diff(offsets) < 0):
        raise InvalidInputError(
            f"{source}: offsets must be whole numbers that rise from 0 to {len(vectors)}, as many as vectors"
        )
    texts = (np.array(vectors[offsets[i] : offsets[i + 1]]) for i in range(len(offsets) - 1))
    return dim, batches_of(texts, names, f"{source} has {len(offsets) - 1:,} documents")


def _width(source: Path, vectors: NDArray[Any]) -> int:
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        raise InvalidInputError(
            f"{source}: vectors must be floats of the shape [n_tokens, dim], not {vectors.dtype} of "
            f"{list(vectors.shape)}"
        )
    return int(vectors.shape[1])


def _load(path: Path, *, mapped: bool = False) -> Any:
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInputError(
            f"{path} can't be read as NumPy's: {error}; save arrays of numbers"
        ) from error


def _member(source: Path, archive: Any, name: str) -> NDArray[Any]:
    try:
        member: NDArray[Any] = archive[name]
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInputError(
            f"{source}: {name!r} can't be read: {error}; save arrays of numbers"
        ) from error
    return member
