"""The exact index: every search scores every document by MaxSim."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .. import __version__
from ..datatypes import Hit, SearchParams, TokenEmbeddings
from ..errors import IndexExistsError, InvalidInputError
from .catalogue import CATALOGUE, Catalogue, is_index, is_vacant
from .filters import Filter, Where, parse_where
from .lock import WriterLock
from .rows import Entry, decode_text, encode_text, name_some
from .search import Found, search
from .snapshot import Snapshot, load
from .verify import verify
from .writer import Writer

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ExactIndex"]

_RESERVED = ("dim", "tier", "created_by", "uuid", "seed", "recall", "tuned", "errors")


class ExactIndex:
    """Documents and their token vectors (float16) in a folder, searched exactly.

    Any number of threads and processes may read while one writes: each search sees one commit, the newest
    when it began. Use `create` or `open`.
    """

    def __init__(
        self, catalogue: Catalogue, temporary: tempfile.TemporaryDirectory[str] | None = None
    ) -> None:
        self._catalogue = catalogue
        self._temporary = temporary
        self._guard = threading.Lock()
        self._filter = Filter(catalogue)
        self._current: Snapshot | None = None
        try:
            self._snapshot()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        dim: int = 128,
        *,
        if_exists: Literal["error", "overwrite"] = "error",
        settings: Mapping[str, Any] | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """Make an empty index.

        Parameters
        ----------
        path
            A folder that is empty or doesn't exist; None for a temporary one, which `close` removes.
        dim
            The width of a vector.
        if_exists
            Where there is an index: ``"error"`` refuses, ``"overwrite"`` empties it in one commit. A folder
            that holds anything else is always refused.
        settings
            JSON values to keep with the index, such as the identity of the encoder.
        timeout
            Seconds to wait for another writer.

        Raises
        ------
        IndexExistsError
            If something is there.
        InvalidInputError
            If ``dim`` is not positive, or a setting is reserved or not JSON.
        """
        return cls._create(path, make_settings(dim, settings), if_exists, timeout)

    @classmethod
    def _create(
        cls, path: str | os.PathLike[str] | None, values: dict[str, Any], if_exists: str, timeout: float
    ) -> Self:
        if if_exists not in ("error", "overwrite"):
            raise InvalidInputError(f"if_exists must be 'error' or 'overwrite', not {if_exists!r}")
        temporary = None
        if path is None:
            temporary = tempfile.TemporaryDirectory(prefix="lfm2-retrieval-")
            path = temporary.name
        folder = Path(path).absolute()
        if is_vacant(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with WriterLock(folder / "lock", timeout):
                if is_vacant(folder):
                    Catalogue.create(folder, values)
                    return cls(Catalogue(folder), temporary)
        if not is_index(folder):
            raise IndexExistsError(
                f"{folder} holds something that is not an index; it is left alone: choose another folder"
            )
        if if_exists == "error":
            raise IndexExistsError(
                f"{folder} already holds an index: choose if_exists='append' to add to it, 'overwrite' to "
                "replace it, or keep 'error' and choose another folder"
            )
        catalogue = Catalogue(folder)
        try:
            with Writer(catalogue, timeout, replace=values):
                pass
        except BaseException:
            catalogue.close()
            raise
        return cls(catalogue)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an index, also in a folder that can only be read. Checks sizes and headers, not every byte.

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        return cls(Catalogue(Path(path).absolute()))

    def writer(
        self,
        *,
        timeout: float = 30.0,
        replace: Mapping[str, Any] | None = None,
    ) -> Writer:
        """Begin a transaction: ``with index.writer() as w: w.add(…)``.

        Parameters
        ----------
        timeout
            Seconds to wait for another writer.
        replace
            New settings, ``dim`` among them: the first commit retires everything the index held, which stays
            readable and safe until then.
        """
        if replace is None:
            return Writer(self._catalogue, timeout)
        others = {key: value for key, value in replace.items() if key != "dim"}
        return Writer(self._catalogue, timeout, self._renewed(replace.get("dim", self.dim), others))

    def _renewed(self, dim: int, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings after the content was replaced."""
        return make_settings(dim, settings)

    def add(
        self,
        ids: Sequence[str],
        embeddings: TokenEmbeddings,
        texts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        *,
        timeout: float = 30.0,
    ) -> None:
        """Add documents in one commit; see `Writer.add`. For many batches use `writer`."""
        with self.writer(timeout=timeout) as writer:
            writer.add(ids, embeddings, texts, metadata)

    def search(
        self, queries: TokenEmbeddings, k: int | SearchParams = 10, *, where: Where | None = None
    ) -> list[list[Hit]]:
        """The best documents of each query.

        The score is the sum, over the query's vectors, of the largest inner product with a vector of the
        document, computed in float64 on the stored vectors and rounded to float32. Equal scores are in order
        of insertion. Documents and queries without vectors find nothing.

        Parameters
        ----------
        queries
            As wide as the index; all of them share one pass over the vectors.
        k
            How many hits a query gets at most, or the parameters that say so.
        where
            Look only at documents whose metadata meets this filter; see `filters`. It is applied before
            anything is scored, and which documents it leaves is remembered until the next commit.

        Raises
        ------
        InvalidInputError
            If the width differs, a vector holds NaN, infinity or a value beyond float16 (±65504), or the
            filter isn't understood.
        MissingExtraError
            If the filter is in SQL and sqlglot is not installed.
        """
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        condition = None if where is None else parse_where(where)
        while True:
            snapshot = self._snapshot()
            seen = snapshot if condition is None else self._filter.apply(snapshot, condition)
            if seen is None:  # there has been a commit since
                continue
            found = search(seen, queries, self._resolve(params, snapshot))
            entries = self._catalogue.fetch("key", sorted({hit.key for hits in found for hit in hits}))
            try:
                return [
                    [_hit(entries[hit.key], hit, rank) for rank, hit in enumerate(hits, 1)] for hits in found
                ]
            except KeyError:  # a writer swept what this snapshot still held: search the newer one
                if self._snapshot() is snapshot:
                    raise

    def get(self, id: str) -> Entry | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Entry | None]:
        """The documents under some ids, in their order; None where there is none."""
        encoded = [encode_text(id) for id in ids]
        found = self._catalogue.fetch("id", list(dict.fromkeys(encoded)))
        return [found.get(id) for id in encoded]

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def __len__(self) -> int:
        return self.count

    def ids(self) -> list[str]:
        """The ids of all documents, in order of insertion."""
        with self._catalogue.reading() as connection:
            rows = connection.execute("SELECT id FROM documents WHERE died IS NULL ORDER BY key")
            return [decode_text(id) for (id,) in rows]

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._catalogue.folder

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self._snapshot().dim

    @property
    def count(self) -> int:
        """How many documents there are."""
        return self._snapshot().count

    def embeddings(self, ids: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some documents as stored, float32, in the order of ``ids``.

        Raises
        ------
        InvalidInputError
            If one of the ids is not in the index.
        """
        while True:
            snapshot = self._snapshot()
            keys = self._catalogue.keys([encode_text(id) for id in ids])
            if missing := [id for id, key in zip(ids, keys, strict=True) if key is None]:
                raise InvalidInputError(f"not in the index: {name_some(missing)}")
            found = snapshot.vectors([key for key in keys if key is not None])
            if found is not None:
                return found

    @property
    def n_tokens(self) -> int:
        """How many vectors the documents have."""
        return self._snapshot().n_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """What the index was made with: ``dim``, ``tier``, ``created_by``, ``uuid`` and others' settings."""
        return dict(self._snapshot().settings)

    def size_bytes(self) -> dict[str, int]:
        """Bytes on disk by part: each kind of segment file, and the catalogue with its journal."""
        sizes: dict[str, int] = {}
        for part in self._snapshot().parts:
            for name, facts in part.segment.info.files.items():
                kind = name.removesuffix(".npy")
                sizes[kind] = sizes.get(kind, 0) + facts["bytes"]
        files = [self.path / (CATALOGUE + suffix) for suffix in ("", "-wal")]
        return {**sizes, "catalogue": sum(file.stat().st_size for file in files if file.exists())}

    def verify(self) -> None:
        """Read every byte and hold it to its checksum.

        Raises
        ------
        DamagedIndexError
            Naming everything that is damaged.
        """
        verify(self._catalogue, self._snapshot())

    def close(self) -> None:
        """Close the index; remove it if it is temporary. Closing again does nothing."""
        self._catalogue.close()
        self._current = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resolve(self, params: SearchParams, snapshot: Snapshot) -> SearchParams:
        """The parameters, with what the caller left open."""
        return replace(params, exact=True)

    def _snapshot(self) -> Snapshot:
        """The newest commit; the guard makes threads wait for one of them to load it."""
        with self._guard:
            self._current = load(self._catalogue, self._current)
            return self._current


def make_settings(dim: int, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of a new index.

    Raises
    ------
    InvalidInputError
        If ``dim`` is not a positive whole number, or a setting is reserved or not JSON.
    """
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise InvalidInputError(f"dim must be a positive whole number, not {dim!r}")
    if reserved := sorted(set(settings or {}) & set(_RESERVED)):
        raise InvalidInputError(f"these settings are the index's own: {', '.join(reserved)}")
    values = dict(settings or {})
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the settings are not JSON: {error}") from error
    return {"dim": int(dim), "tier": "exact", "created_by": f"lfm2-retrieval {__version__}", **values}


def _hit(entry: Entry, found: Found, rank: int) -> Hit:
    return Hit(entry.id, found.score, rank, found.kind, entry.text, entry.metadata)
