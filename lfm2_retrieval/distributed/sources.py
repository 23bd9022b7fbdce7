"""Where a build's documents come from: files, folders, tables by URL, data sets of Ray, or any iterable."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..datatypes import Document
from ..errors import DuplicateIdError, InvalidInputError, MissingExtraError
from ..frames import collected, iter_records, length
from ..indexes import encode_metadata
from ..records import Columns, Draft, Source, draft_of
from ..retriever.batches import parsed, refuse_one
from .parts import Part, digest_of

__all__ = ["documents_of", "parts_of", "size_of"]

PART_DOCUMENTS = 1024
PART_CHARACTERS = 1 << 20
"""A part ends with the document that reaches either: so much is lost when a worker dies."""
_AHEAD = 256
_TABLES = (".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def documents_of(source: Any) -> Iterable[Source]:
    """What a build reads, as documents in a fixed order.

    Parameters
    ----------
    source
        A path or URL, or several: local files and folders as :func:`lfm2_retrieval.documents.read` reads
        them; of what pyarrow's file systems read (``s3://``, ``gs://`` …) Parquet and JSON Lines. Or a data
        set of Ray, or documents as :meth:`Retriever.index` takes them.

    Raises
    ------
    InvalidInputError
        If there is nothing there, or nothing that can be read.
    MissingExtraError
        If pyarrow is needed and not installed.
    """
    named = isinstance(source, (str, os.PathLike))
    places = [source] if named else source
    if named or (isinstance(source, (list, tuple)) and source and all(map(_is_place, source))):
        urls = [os.fspath(one) for one in places]
        if not any("://" in url for url in urls):
            return _local(urls)
        return (row for url in urls for row in _remote(url))
    if type(source).__module__.startswith("ray.data"):
        rows: Iterable[Source] = source.iter_rows()
        return rows
    refuse_one(source)
    found: Iterable[Source] = source
    return found


def size_of(source: Any) -> int | None:
    """How many documents a source has, if that is told without reading it."""
    if isinstance(source, (str, os.PathLike)) or type(source).__module__.startswith("ray.data"):
        return None
    if isinstance(source, (list, tuple)) and source and all(map(_is_place, source)):
        return None
    return length(collected(source))


def parts_of(documents: Iterable[Source], columns: Columns) -> Iterator[Part]:
    """Documents by the part, each with an id: its own, or its place in the source.

    Raises
    ------
    InvalidInputError
        If a document can't be used, or two of a part have one id.
    """
    stream = parsed(
        iter_records(collected(documents)), lambda place, one: _checked(one, place, columns), _AHEAD
    )
    first = 0
    for number in count():
        some: list[Document] = []
        characters = 0
        for draft in stream:
            some.append(_named(draft, first + len(some)))
            characters += len(draft.text)
            if len(some) == PART_DOCUMENTS or characters >= PART_CHARACTERS:
                break
        if not some:
            return
        ids: set[str] = set()
        for one in some:
            if one.id in ids:
                raise DuplicateIdError(f"the document id {one.id[:80]!r} comes twice; ids must be unique")
            ids.add(one.id)
        yield Part(number, first, some, digest_of(some))
        first += len(some)


def _checked(source: Source, place: int, columns: Columns) -> Draft:
    draft = draft_of(source, place, columns)
    encode_metadata(str(place) if draft.id is None else draft.id, draft.metadata)
    return draft


def _named(draft: Draft, place: int) -> Document:
    if draft.document is not None and draft.id is not None:
        return draft.document
    return Document(str(place) if draft.id is None else draft.id, draft.text, draft.metadata)


def _is_place(one: object) -> bool:
    """Whether something in a list names a file, rather than being a document."""
    if isinstance(one, os.PathLike):
        return True
    if not isinstance(one, str) or len(one) > 4096 or "\n" in one:
        return False
    return "://" in one[:32] or (("/" in one or "." in one) and Path(one).exists())


def _local(paths: Sequence[str]) -> Iterator[Source]:
    from ..documents import read

    for path in paths:
        if not Path(path).exists():
            raise InvalidInputError(f"there is no {path}")
    with read(paths) as reader:
        yield from reader


def _remote(url: str) -> Iterator[Source]:
    """The rows of a table, or of all tables of a folder, by URL."""
    if "://" not in url:
        yield from _local([url])
        return
    try:
        from pyarrow import fs
    except ImportError as error:
        raise MissingExtraError("reading by URL", "ray") from error
    try:
        system, path = fs.FileSystem.from_uri(url)
        found = system.get_file_info(path)
        infos = (
            system.get_file_info(fs.FileSelector(path, recursive=True)) if found.is_file is False else [found]
        )
        names = sorted(info.path for info in infos if info.type == fs.FileType.File)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{url} can't be read: {error}") from error
    tables = [name for name in names if name.lower().endswith(_TABLES)]
    if not tables:
        raise InvalidInputError(
            f"there is no Parquet or JSON Lines file at {url}; other files are read from folders of this "
            "machine"
        )
    for name in tables:
        yield from _rows(system, name)


def _rows(system: Any, name: str) -> Iterator[dict[str, Any]]:
    if name.lower().endswith(".parquet"):
        from pyarrow import parquet

        with system.open_input_file(name) as opened:
            for batch in parquet.ParquetFile(opened).iter_batches(batch_size=PART_DOCUMENTS):
                yield from batch.to_pylist()
        return
    with system.open_input_stream(name, compression=None) as opened:
        stream: Any = gzip.GzipFile(fileobj=opened) if name.lower().endswith(".gz") else opened
        for number, line in enumerate(io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8"), 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise InvalidInputError(f"{name}: line {number} is no JSON: {error}") from error
