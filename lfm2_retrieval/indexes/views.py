"""Which commit an open index reads, and when it goes on to a newer one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..errors import IndexNotFoundError, IndexReplacedError, StoredIndexError
from ..platform.forks import Lock, busy
from .catalogue.catalogue import Catalogue, SweptError
from .commits.matching import Filter
from .commits.snapshot import Snapshot, load
from .search.searcher import Searcher

__all__ = ["View", "Views"]

T = TypeVar("T")

_GAP_SECONDS = 0.5
"""So long an index may be away while another is put in its place."""


class View(NamedTuple):
    """A commit of an index, and what answers from it."""

    catalogue: Catalogue
    filter: Filter
    searcher: Searcher
    snapshot: Snapshot


class Views:
    """The commit that an open index reads: that of its opening, of its own last change, or of a `renew`.

    Going on, it also goes on to another index that was put in the place of this one, whatever that holds.

    Parameters
    ----------
    catalogue
        Of the index.
    auto_refresh
        Whether to look for a newer commit before each read.
    """

    def __init__(self, catalogue: Catalogue, auto_refresh: bool = False) -> None:
        self.catalogue = catalogue
        self.auto_refresh = auto_refresh
        self.is_held = False
        self._guard = Lock()
        self._filter = Filter(catalogue)
        self._searcher = Searcher(catalogue, self._filter)
        self._view: View | None = None
        self._stale = False
        self._gone_since: float | None = None

    def held_at(self, view: View) -> Views:
        """The same index, read at one commit whatever happens."""
        if self.is_held:
            return self
        held = object.__new__(Views)
        held.__dict__.update(self.__dict__)
        held._view, held.is_held = view, True
        held.catalogue, held._filter, held._searcher = view.catalogue, view.filter, view.searcher
        return held

    def read(self, read: Callable[[View], T]) -> T:
        """What some function finds in the snapshot.

        If that was swept, for want of a pin, it is asked of a newer one; if the index was replaced so that
        it can't be read on, of the other one, if this one goes on by itself.
        """
        while True:
            try:
                with busy:
                    return read(self.seen())
            except (SweptError, IndexReplacedError, IndexNotFoundError) as error:
                if self.is_held or not (self.auto_refresh or isinstance(error, SweptError)):
                    raise
                self.renew()

    def seen(self) -> View:
        """What is read, and what answers from it."""
        view = self._view
        fresh = self.is_held or not (self._stale or self.auto_refresh)
        return view if view is not None and fresh else self.renew()[0]

    def newest(self) -> Snapshot:
        """The newest commit, which is read from now on."""
        return self.renew()[0].snapshot

    def renew(self) -> tuple[View, bool]:
        """Go on to the newest commit, and whether it is another; threads wait for one to load it.

        Raises
        ------
        IndexNotFoundError
            If the index was moved or deleted, and no other is in its place.
        """
        with busy, self._guard:
            before = self._view
            snapshot = self._load(None if before is None else before.snapshot)
            view = before
            if view is None or view.snapshot is not snapshot:
                self._filter.clear()  # its answers keep the older snapshot pinned
                view = self._view = View(self.catalogue, self._filter, self._searcher, snapshot)
            self._stale = False
            return view, view is not before

    def committed(self) -> None:
        """After a commit of its own, still under the writer lock: what is read from now on is this commit."""
        self._stale = True
        with suppress(StoredIndexError):  # the next read tells
            self.renew()

    def close(self) -> None:
        """Let go of all that is held open."""
        self.catalogue.close()
        self._filter.clear()
        self._view = None

    @property
    def folder(self) -> Path:
        """That of the index."""
        return self.catalogue.folder

    def _load(self, known: Snapshot | None) -> Snapshot:
        """The newest snapshot, of whatever index lies in the folder now.

        An exchange may take two steps, with nothing there in between: that is waited for, once.
        """
        while True:
            try:
                snapshot = load(self.catalogue, known)
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
        catalogue = Catalogue(self.catalogue.folder)
        self._filter.clear()
        self.catalogue, self._filter = catalogue, Filter(catalogue)
        self._searcher = Searcher(catalogue, self._filter)
