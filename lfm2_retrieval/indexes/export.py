"""What an index holds, as files that others read: documents as JSON Lines, vectors as ``.npy`` or Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import IndexWriteError, InvalidInputError, MissingExtraError, RetrievalError
from .segments.files import fsync_folder, refuse_inside

if TYPE_CHECKING:
    from ..datatypes import TokenEmbeddings
    from .catalogue.rows import Entry
    from .catalogue.sources import StoredDocument
    from .index import Index

__all__ = ["export_documents", "export_embeddings", "json_line"]

_AT_ONCE = 256


def json_line(entry: Entry | StoredDocument) -> str:
    """A document as a line of JSON in ASCII, which indexing reads again."""
    line = json.dumps({"id": entry.id, "text": entry.text or "", "metadata": dict(entry.metadata)})
    return line.replace("\x7f", "\\u007f") + "\n"  # a terminal may be where it goes


def export_documents(index: Index, path: Path) -> int:
    """Write all documents to a JSON Lines file, in order of insertion; how many there are.

    Raises
    ------
    InvalidInputError
        If the file would lie in the index.
    IndexWriteError
        If the file can't be written; what had its name before is still there.
    """
    refuse_inside(index.path, path)

    def write(held: Index) -> int:
        count = 0
        with _replacing(path) as file:
            for count, entry in enumerate(held.sources.documents(), 1):  # noqa: B007
                file.write(json_line(entry).encode("ascii"))
        return count

    return index.at_once(write)


def export_embeddings(index: Index, path: Path) -> int:
    """Write all vectors as stored, in float32 and in the order of the documents; how many there are.

    Parameters
    ----------
    index
        An open index; what is written is of one commit.
    path
        With ``.npy``: float32 ``[n_tokens, dim]``, and beside it ``….offsets.npy``, int64
        ``[n_documents + 1]``: document ``i`` has the vectors ``offsets[i]`` to ``offsets[i + 1]``. With
        ``.parquet``: a row a document, ``id`` and ``embeddings``, a list of lists of ``dim`` float32.

    Raises
    ------
    InvalidInputError
        If the name ends otherwise, the file would lie in the index, or an id is no Unicode that Parquet can
        hold.
    MissingExtraError
        If pyarrow is needed and not installed.
    IndexWriteError
        If the file can't be written; what had its name before is still there.
    """
    refuse_inside(index.path, path)
    if path.suffix == ".npy":
        return index.at_once(lambda held: _export_npy(held, path))
    if path.suffix == ".parquet":
        return index.at_once(lambda held: _export_parquet(held, path))
    raise InvalidInputError(f"{path}: its name must end in .npy or .parquet, which says how to write it")


def _pages(index: Index) -> Iterator[tuple[list[str], TokenEmbeddings]]:
    stream = (entry.id for entry in index.documents())
    while ids := list(islice(stream, _AT_ONCE)):
        yield ids, index.embeddings(ids)


def _export_npy(index: Index, path: Path) -> int:
    offsets = np.zeros(len(index) + 1, np.int64)
    at = 0
    with _replacing(path.with_suffix(".offsets.npy")) as second:
        with _replacing(path) as first:
            np.lib.format.write_array_header_1_0(
                first, {"descr": "<f4", "fortran_order": False, "shape": (index.n_tokens, index.dim)}
            )
            for ids, vectors in _pages(index):
                first.write(vectors.embeddings.astype("<f4").tobytes())
                offsets[at + 1 : at + len(ids) + 1] = offsets[at] + vectors.offsets[1:]
                at += len(ids)
        np.lib.format.write_array(second, offsets, allow_pickle=False)
    return int(offsets[-1])


def _export_parquet(index: Index, path: Path) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("writing Parquet", "eval") from error
    kind = pa.list_(pa.list_(pa.float32(), index.dim))
    schema = pa.schema([("id", pa.string()), ("embeddings", kind)])
    count = 0
    with _replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for ids, vectors in _pages(index):
            flat = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.embeddings.reshape(-1), pa.float32()), index.dim
            )
            lists = pa.ListArray.from_arrays(pa.array(vectors.offsets, pa.int32()), flat)
            try:
                names = pa.array(ids, pa.string())
            except UnicodeEncodeError as error:
                raise InvalidInputError(
                    "an id holds a lone surrogate, which Parquet can't: export to .npy"
                ) from error
            writer.write_batch(pa.record_batch([names, lists.cast(kind)], schema=schema))
            count += len(vectors.embeddings)
    return count


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on the disk; a device or a pipe as it is."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as file:
                yield file
            return
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        fsync_folder(path.absolute().parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and not isinstance(error, RetrievalError):
            raise IndexWriteError(
                f"{path} can't be written: {error}; make room, or choose another"
            ) from error
        raise
