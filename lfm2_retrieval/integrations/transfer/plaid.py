"""Folders that fast-plaid, and so PyLate, wrote, or Stanford's ColBERT; their code isn't needed.

A folder has ``centroids.npy`` ``[n, dim]``, ``bucket_weights.npy`` ``[2**bits]``, lengths of documents in
``doclens.N.json``, and, in pieces ``N.codes.npy`` and ``N.residuals.npy`` or, since fast-plaid 1.6, merged in
``merged_codes.npy`` and ``merged_residuals.npy``, whose ends may be unused: a centroid's number a token, and
``dim * bits / 8`` bytes, the bits of a number with the least first. A vector is its centroid plus the weights
of its numbers, normalised. What was lost when it was made is lost.

ColBERT, which PLAID is of, has the same in files of torch: ``centroids.pt``, ``buckets.pt`` (the bounds of
the numbers, and their weights), ``N.codes.pt`` and ``N.residuals.pt``. Tensors are read of these, and nothing
else that a pickle may hold.
"""

from __future__ import annotations

import io
import json
import pickle
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from .arrays import Described, batches_of, described
from .rows import Rows

__all__ = ["is_plaid", "rows_of_plaid"]

_INNER = "fast_plaid_index"
"""Where PyLate keeps fast-plaid's folder, beside its tables of ids."""
_IDS = "plaid_ids_to_documents_ids.sqlite"


def is_plaid(folder: Path) -> bool:
    """Whether a folder is one of fast-plaid's, of PyLate's, or of ColBERT's."""
    return any((_inner(folder) / f"centroids.{ending}").is_file() for ending in ("npy", "pt"))


def rows_of_plaid(folder: Path, ids: Path | None) -> tuple[int, Iterator[Rows]]:
    """Documents of a folder.

    Parameters
    ----------
    folder
        Of fast-plaid or ColBERT, whose documents are numbered, or of PyLate, whose table of ids is read.
    ids
        Instead: see `described`.

    Raises
    ------
    InvalidInputError
        If a file is missing, or not as the others say.
    """
    inner = _inner(folder)
    of_colbert = not (inner / "centroids.npy").is_file()
    centroids = _load(inner, "centroids")
    weights = _load(inner, "buckets", 1) if of_colbert else _load(inner, "bucket_weights")
    bits = int(np.log2(max(len(weights), 1)))
    if centroids.ndim != 2 or weights.ndim != 1 or len(weights) != 1 << bits or 8 % max(bits, 1) or not bits:
        raise InvalidInputError(f"{inner}: centroids and bucket weights are none of PLAID's")
    dim = int(centroids.shape[1])
    parts = sorted(inner.glob("doclens.*.json"), key=lambda one: int(one.name.split(".")[1]))
    lengths = [_lengths(one) for one in parts]
    told = f"{folder} has {sum(map(len, lengths)):,} documents"
    texts = _decoded(inner, lengths, centroids.astype(np.float32), weights.astype(np.float32), bits)
    return dim, batches_of(texts, _names(folder, ids), told)


def _inner(folder: Path) -> Path:
    return folder / _INNER if (folder / _INNER).is_dir() else folder


def _decoded(
    inner: Path, lengths: list[list[int]], centroids: NDArray[Any], weights: NDArray[Any], bits: int
) -> Iterator[NDArray[Any]]:
    """Each document's vectors, in order."""
    merged = (inner / "merged_codes.npy").is_file() and not (inner / "0.codes.npy").is_file()
    at = 0
    for number, some in enumerate(lengths):
        prefix = "merged_" if merged else f"{number}."
        at = at if merged else 0
        codes, residuals = (_load(inner, f"{prefix}{name}") for name in ("codes", "residuals"))
        wide = centroids.shape[1] * bits // 8
        if residuals.ndim != 2 or residuals.shape[1] != wide or residuals.dtype != np.uint8:
            raise InvalidInputError(f"{inner}: {prefix}residuals must have {wide} bytes a vector")
        for length in some:
            here = np.asarray(codes[at : at + length])
            packed = np.asarray(residuals[at : at + length])
            if len(here) != length or len(packed) != length or np.any((here < 0) | (here >= len(centroids))):
                raise InvalidInputError(f"{inner}: {prefix}codes is not as doclens.{number}.json says")
            yield _vectors(here, packed, centroids, weights, bits)
            at += length


def _vectors(
    codes: NDArray[Any], packed: NDArray[Any], centroids: NDArray[Any], weights: NDArray[Any], bits: int
) -> NDArray[Any]:
    single = np.unpackbits(packed, axis=1).reshape(len(packed), centroids.shape[1], bits)
    numbers = (single << np.arange(bits, dtype=np.uint8)).sum(axis=2)
    vectors = centroids[codes] + weights[numbers]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found: NDArray[Any] = vectors.astype(np.float32)
    return found


def _lengths(path: Path) -> list[int]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} can't be read: {error}") from error
    if not isinstance(found, list) or not all(type(one) is int and one >= 0 for one in found):
        raise InvalidInputError(f"{path} must hold whole numbers")
    return found


def _load(folder: Path, name: str, place: int | None = None) -> NDArray[Any]:
    """An array of a folder, of numpy's or torch's file; of several that lie in one, that at a place."""
    path = folder / f"{name}.npy"
    if not path.exists() and (folder / f"{name}.pt").exists():
        return _load_tensor(folder / f"{name}.pt", place)
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInputError(f"{path} can't be read: {error}") from error
    return found


def _load_tensor(path: Path, place: int | None) -> NDArray[Any]:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        tensor = found if place is None else found[place]
        if not isinstance(tensor, torch.Tensor):
            raise TypeError("it holds no tensor")
        tensor = tensor.detach()
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        array: NDArray[Any] = tensor.numpy()
    except Exception as error:  # whatever torch and pickle raise at a strange file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(f"{path} can't be read as tensors: {first[:200]}") from error
    return array


def _names(folder: Path, ids: Path | None) -> Iterator[Described]:
    if ids is not None or not (folder / _IDS).is_file():
        return described(ids)
    return _stored_ids(folder / _IDS)


def _stored_ids(path: Path) -> Iterator[Described]:
    """PyLate's ids, by number; its table keeps them pickled, of which only plain values are read."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT CAST(key AS INTEGER), value FROM unnamed ORDER BY 1")
        for _, value in rows:
            yield str(_Plain(io.BytesIO(value)).load() if isinstance(value, bytes) else value), None, {}
    except (sqlite3.Error, pickle.UnpicklingError, EOFError, ValueError, IndexError) as error:
        raise InvalidInputError(f"{path} can't be read ({error}): give the ids in a file") from error
    finally:
        connection.close()


class _Plain(pickle.Unpickler):
    """Reads strings and numbers, and runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
