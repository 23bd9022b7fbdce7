"""The documents of an index as one of its commits has them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from ..errors import IndexNotFoundError, IndexReplacedError, InvalidInputError, StoredIndexError
from ..forks import Lock, busy
from .catalogue import Catalogue, SweptError
from .filters import Condition, Where, parse_where
from .matching import Filter
from .rows import COLUMNS, Entry, decode_row, decode_text, encode_ids, name_some
from .schema import CATALOGUE
from .searching import Searcher
from .segment import SegmentInfo
from .settings import CONTENT
from .snapshot import Snapshot, load

if TYPE_CHECKING:
    from types import TracebackType

    from ..datatypes import TokenEmbeddings

__all__ = ["StoredDocuments", "TemporaryFolder"]

T = TypeVar("T")
_PAGE = 100
"""Of the documents that meet a filter, so many are read at a time."""

_GAP_SECONDS = 0.5
"""So long an index may be away while another is put in its place."""


class View(NamedTuple):
    """A commit of an index, and what answers from it."""

    catalogue: Catalogue
    filter: Filter
    searcher: Searcher
    snapshot: Snapshot


class TemporaryFolder:
    """A folder that is removed with this object, or at the end of the process that made it, no fork of it."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="lfm2-retrieval-")
        self.cleanup = weakref.finalize(self, _remove, self.name, os.getpid())


def _remove(path: str, process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


class StoredDocuments:
    """An open index, read at one commit: that of `refresh`, of its own last change, or of its opening.

    With ``auto_refresh`` it looks for a newer commit before each call. Going on, it also goes on to another
    index that was put in the place of this one, whatever that holds.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        temporary: TemporaryFolder | None = None,
        auto_refresh: bool = False,
    ) -> None:
        self._catalogue = catalogue
        self._temporary = temporary
        self._auto_refresh = auto_refresh
        self._guard = Lock()
        self._filter = Filter(catalogue)
        self._searcher = Searcher(catalogue, self._filter)
        self._view: View | None = None
        self._stale = False
        self._is_held = False
        self._gone_since: float | None = None
        try:
            self._snapshot()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> bool:
        """Go on to the newest commit, or to the index that was put in the place of this one.

        Returns
        -------
        bool
            Whether there was something newer.

        Raises
        ------
        IndexNotFoundError
            If the index was moved or deleted, and no other is in its place.
        """
        before = self._view
        return self._renewed_view() is not before

    def get(self, id: str) -> Entry | None:
        """The document under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Entry | None]:
        """The documents under some ids, in their order; None where there is none."""
        encoded = encode_ids(ids)
        wanted = list(dict.fromkeys(encoded))
        found = self._read(lambda view: view.catalogue.fetch(view.snapshot.commit, "id", wanted))
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
        return self._read(lambda view: view.filter.apply(view.snapshot, condition).count)

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter, in order of insertion."""
        condition = None if where is None else parse_where(where)

        def read(view: View) -> list[str]:
            if condition is not None:
                return [decode_text(id) for (id,) in view.filter.select(view.snapshot, condition, "id")]
            pages = view.catalogue.pages(view.snapshot.commit, "id")
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
        return self._stream(self._seen(), None if where is None else parse_where(where))

    def _stream(self, view: View, condition: Condition | None) -> Iterator[Entry]:
        try:
            if condition is None:
                for page in view.catalogue.pages(view.snapshot.commit, COLUMNS):
                    yield from map(decode_row, page)
                return
            keys = [key for (key,) in view.filter.select(view.snapshot, condition, "key")]
            for first in range(0, len(keys), _PAGE):
                found = view.catalogue.fetch(view.snapshot.commit, "key", keys[first : first + _PAGE])
                yield from (found[key] for key in sorted(found))
        except SweptError:
            if self._is_held:
                raise
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

        def read(view: View) -> TokenEmbeddings:
            keys = view.catalogue.keys(view.snapshot.commit, list(dict.fromkeys(encoded)))
            if missing := [id for id, name in zip(ids, encoded, strict=True) if name not in keys]:
                raise InvalidInputError(f"not in the index: {name_some(missing)}")
            return view.snapshot.vectors([keys[name] for name in encoded])

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
        return self._sizes(self._seen())

    def _sizes(self, view: View) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for part in view.snapshot.parts:
            for name, facts in part.segment.info.files.items():
                kind = name.removesuffix(".npy")
                sizes[kind] = sizes.get(kind, 0) + facts["bytes"]
        sizes["catalogue"] = 0
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                sizes["catalogue"] += (self.path / (CATALOGUE + suffix)).stat().st_size
        return sizes

    @property
    def segments(self) -> list[SegmentInfo]:
        """What the catalogue says of each segment."""
        return [part.segment.info for part in self._snapshot().parts]

    def close(self) -> None:
        """Close the index; remove it if it is temporary. Closing again does nothing."""
        self._catalogue.close()
        self._filter.clear()
        self._view = None
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def at_once(self, read: Callable[[Self], T]) -> T:
        """What some function reads in several calls, all of it of one commit.

        Parameters
        ----------
        read
            Is given this index as it is now, whatever is committed meanwhile; only to read from it, and not
            to keep. It is called anew where what it reads was swept, as it may be where nothing can pin it.
        """
        return self._read(lambda view: read(self._held_at(view)))

    def _held_at(self, view: View) -> Self:
        if self._is_held:
            return self
        held = object.__new__(type(self))
        held.__dict__.update(self.__dict__)
        held._view, held._is_held = view, True
        held._catalogue, held._filter, held._searcher = view.catalogue, view.filter, view.searcher
        return held

    def _read(self, read: Callable[[View], T]) -> T:
        """What some function finds in the snapshot.

        If that was swept, for want of a pin, it is asked of a newer one; if the index was replaced so that
        it can't be read on, of the other one, if this one goes on by itself.
        """
        while True:
            try:
                with busy:
                    return read(self._seen())
            except (SweptError, IndexReplacedError, IndexNotFoundError) as error:
                if self._is_held or not (self._auto_refresh or isinstance(error, SweptError)):
                    raise
                self._newest()

    def _seen(self) -> View:
        """What is read, and what answers from it."""
        view = self._view
        fresh = self._is_held or not (self._stale or self._auto_refresh)
        return view if view is not None and fresh else self._renewed_view()

    def _snapshot(self) -> Snapshot:
        """What is read."""
        return self._seen().snapshot

    def _newest(self) -> Snapshot:
        """The newest commit, which is read from now on."""
        return self._renewed_view().snapshot

    def _renewed_view(self) -> View:
        """The newest commit; the guard makes threads wait for one to load it."""
        with busy, self._guard:
            before = self._view
            snapshot = self._load(None if before is None else before.snapshot)
            if before is None or before.snapshot is not snapshot:
                self._filter.clear()  # its answers keep the older snapshot pinned
                self._view = View(self._catalogue, self._filter, self._searcher, snapshot)
            self._stale = False
            return self._view or View(self._catalogue, self._filter, self._searcher, snapshot)

    def _load(self, known: Snapshot | None) -> Snapshot:
        """The newest snapshot, of whatever index lies in the folder now.

        An exchange may take two steps, with nothing there in between: that is waited for, once.
        """
        while True:
            try:
                snapshot = load(self._catalogue, known)
            except IndexReplacedError:
                self._open_other()
                known = None
            except IndexNotFoundError:
                now = time.monotonic()
                self._gone_since = self._gone_since or now
                if now > self._gone_since + _GAP_SECONDS:
                    raise
                time.sleep(_GAP_SECONDS / 50)
            else:
                self._gone_since = None
                return snapshot

    def _open_other(self) -> None:
        """Go on to the index that was put in the place of this one; threads finish on that as they began."""
        catalogue = Catalogue(self._catalogue.folder)
        self._filter.clear()
        self._catalogue, self._filter = catalogue, Filter(catalogue)
        self._searcher = Searcher(catalogue, self._filter)

    def _committed(self) -> None:
        """After a commit of its own, still under the writer lock: what is read from now on is this commit."""
        self._stale = True
        with suppress(StoredIndexError):  # the next read tells
            self._newest()
