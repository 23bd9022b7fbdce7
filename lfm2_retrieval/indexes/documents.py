"""The documents of an index as one of its commits has them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import InvalidInputError, StoredIndexError
from .catalogue import Catalogue, SweptError
from .filters import Condition, Filter, Where, parse_where, with_columns
from .rows import COLUMNS, Entry, decode_row, decode_text, encode_ids, name_some
from .schema import CATALOGUE
from .searching import Searcher
from .segment import SegmentInfo
from .settings import CONTENT
from .snapshot import Snapshot, load

if TYPE_CHECKING:
    from types import TracebackType

    from ..datatypes import TokenEmbeddings

__all__ = ["StoredDocuments"]

T = TypeVar("T")


class StoredDocuments:
    """An open index, read at one commit: that of `refresh`, of its own last change, or of its opening.

    With ``auto_refresh`` it looks for a newer commit before each call.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
        auto_refresh: bool = False,
    ) -> None:
        self._catalogue = catalogue
        self._temporary = temporary
        self._auto_refresh = auto_refresh
        self._guard = threading.Lock()
        self._filter = Filter(catalogue)
        self._searcher = Searcher(catalogue, self._filter)
        self._current: Snapshot | None = None
        self._stale = False
        try:
            self._snapshot()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> bool:
        """Go on to the newest commit; whether there was a newer one."""
        before = self._current
        return self._newest() is not before

    def get(self, id: str) -> Entry | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Entry | None]:
        """The documents under some ids, in their order; None where there is none."""
        encoded = encode_ids(ids)
        wanted = list(dict.fromkeys(encoded))
        found = self._read(lambda snapshot: self._catalogue.fetch(snapshot.commit, "id", wanted))
        return [found.get(id) for id in encoded]

    def newest_ids(self, ids: Sequence[str]) -> set[str]:
        """Those of some ids that the newest commit has, whatever this index reads."""
        return set(map(decode_text, self._catalogue.living(encode_ids(ids))))

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def __len__(self) -> int:
        return self._snapshot().count

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter; see `filters`."""
        if where is None:
            return len(self)
        condition = parse_where(where)
        return self._read(lambda snapshot: self._filter.apply(snapshot, condition).count)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        condition = None if where is None else parse_where(where)

        def read(snapshot: Snapshot) -> list[str]:
            test = None if condition is None else with_columns(condition, snapshot.fields)
            pages = self._catalogue.pages(snapshot.commit, "id", test)
            return [decode_text(id) for page in pages for (id,) in page]

        return self._read(read)

    def documents(self, where: Where | None = None) -> Iterator[Entry]:
        """All documents, or those that meet a filter, in order of insertion, read some at a time.

        They are those of one commit, whatever happens until the last one is read.

        Raises
        ------
        StoredIndexError
            If a writer deleted the rest of them, as it may where this process can't write to the index's
            folder: begin anew.
        """
        snapshot = self._snapshot()
        return self._stream(snapshot, None if where is None else parse_where(where, snapshot.fields))

    def _stream(self, snapshot: Snapshot, condition: Condition | None) -> Iterator[Entry]:
        try:
            for page in self._catalogue.pages(snapshot.commit, COLUMNS, condition):
                yield from map(decode_row, page)
        except SweptError:
            raise StoredIndexError(
                f"{self.path}: what was being read was deleted meanwhile, which a reader that can't write to "
                "the folder can't prevent: begin anew"
            ) from None

    def __iter__(self) -> Iterator[Entry]:
        return self.documents()

    def embeddings(self, ids: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some documents as stored, float32, in the order of ``ids``.

        Raises
        ------
        InvalidInputError
            If one of the ids is not in the index.
        """
        encoded = encode_ids(ids)

        def read(snapshot: Snapshot) -> TokenEmbeddings:
            keys = self._catalogue.keys(snapshot.commit, list(dict.fromkeys(encoded)))
            if missing := [id for id, name in zip(ids, encoded, strict=True) if name not in keys]:
                raise InvalidInputError(f"not in the index: {name_some(missing)}")
            return snapshot.vectors([keys[name] for name in encoded])

        return self._read(read)

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._catalogue.folder

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self._snapshot().dim

    @property
    def n_tokens(self) -> int:
        """How many vectors the documents have."""
        return self._snapshot().n_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """What the index was made with: ``dim``, ``tier``, ``created_by``, ``uuid`` and others' settings."""
        hidden = ("horizon", CONTENT)
        return {key: value for key, value in self._snapshot().settings.items() if key not in hidden}

    @property
    def content_id(self) -> str | None:
        """What is another whenever all that the index held was replaced; None where that never was."""
        return self._snapshot().settings.get(CONTENT)

    def size_bytes(self) -> dict[str, int]:
        """Bytes on disk by part: each kind of segment file, and the catalogue with its journal."""
        sizes: dict[str, int] = {}
        for part in self._snapshot().parts:
            for name, facts in part.segment.info.files.items():
                kind = name.removesuffix(".npy")
                sizes[kind] = sizes.get(kind, 0) + facts["bytes"]
        files = [self.path / (CATALOGUE + suffix) for suffix in ("", "-wal")]
        return {**sizes, "catalogue": sum(file.stat().st_size for file in files if file.exists())}

    @property
    def segments(self) -> list[SegmentInfo]:
        """What the catalogue says of each segment."""
        return [part.segment.info for part in self._snapshot().parts]

    def close(self) -> None:
        """Close the index; remove it if it is temporary. Closing again does nothing."""
        self._catalogue.close()
        self._filter.clear()
        self._current = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, read: Callable[[Snapshot], T]) -> T:
        """What some function finds in the snapshot; if that was swept, for want of a pin, in a newer one."""
        while True:
            try:
                return read(self._snapshot())
            except SweptError:
                self._newest()

    def _snapshot(self) -> Snapshot:
        """What is read."""
        current = self._current
        return self._newest() if current is None or self._stale or self._auto_refresh else current

    def _newest(self) -> Snapshot:
        """The newest commit, which is read from now on; the guard makes threads wait for one to load it."""
        with self._guard:
            self._stale = False
            newest = load(self._catalogue, self._current)
            if newest is not self._current:
                self._filter.clear()  # its answers keep the older snapshot pinned
            self._current = newest
            return newest

    def _committed(self) -> None:
        """After a commit of its own, still under the writer lock: what is read from now on is this commit."""
        self._stale = True
        with suppress(StoredIndexError):  # the next read tells
            self._newest()
