"""Transactions on an open index: begun, joined by the calls of their thread, and followed by upkeep."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from ..errors import TransactionError
from .catalogue.settings import CONTENT, replaced_settings
from .commits.writer import Writer
from .upkeep import Upkeep
from .views import Views

__all__ = ["Transactions"]

T = TypeVar("T")


class Transactions:
    """The transactions of one open index.

    Parameters
    ----------
    views, upkeep
        Of the index.
    """

    def __init__(self, views: Views, upkeep: Upkeep) -> None:
        self._views = views
        self._upkeep = upkeep
        self._open: tuple[int, Writer] | None = None

    def begin(self, timeout: float, replace: Mapping[str, Any] | None, unless: str | None) -> Writer:
        """A writer, which holds the lock once it is entered; see `Index.writer`."""
        renew = None
        if replace is not None:
            given = dict(replace)
            view = self._views.seen()
            replaced_settings(view.snapshot.settings, given)  # refuses what can't be used

            def renew(before: Mapping[str, Any]) -> dict[str, Any] | None:
                kept = unless is not None and before.get(CONTENT) == unless
                return None if kept else replaced_settings(before, given)

        view = self._views.seen()
        return Writer(view.catalogue, timeout, renew, known=view.snapshot, on_commit=self._views.committed)

    @contextmanager
    def of_this_thread(self, timeout: float) -> Iterator[None]:
        """One commit of all changes in a ``with`` block; see `Index.transaction`."""
        self.refuse("another transaction")
        with self.begin(timeout, None, None) as writer:
            self._open = threading.get_ident(), writer
            try:
                yield
            finally:
                self._open = None
        self._upkeep.after_commit(timeout)

    def change(self, change: Callable[[Writer], T], timeout: float) -> T:
        """Some changes in one commit, or in that of this thread's transaction; what they return."""
        if (writer := self.joined) is not None:
            return change(writer)
        with self.begin(timeout, None, None) as writer:
            done = change(writer)
        self._upkeep.after_commit(timeout)
        return done

    @property
    def joined(self) -> Writer | None:
        """The writer of this thread's transaction."""
        thread, writer = self._open or (None, None)
        return writer if thread == threading.get_ident() else None

    def refuse(self, what: str) -> None:
        """Refuse what can't be done inside a transaction.

        Raises
        ------
        TransactionError
            If this thread is inside one.
        """
        if self.joined is not None:
            raise TransactionError(f"{what} is not possible inside a transaction: end it first")
