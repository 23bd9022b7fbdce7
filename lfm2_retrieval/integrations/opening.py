"""An index that a component opens, or makes, when it is first used, and closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..documents import Passages
from ..encoder import Encoder
from ..errors import InvalidInputError
from ..indexes import is_vacant
from ..keywords import refuse_unknown
from ..platform.forks import Lock
from ..retriever import Retriever
from ..searchable import Searchable

__all__ = ["Opening", "name_of"]


class Opening:
    """What searches, where a component names it by path: opened, or made, at first use.

    Parameters
    ----------
    path
        The index's folder; None for a temporary one.
    given
        What is open already, instead; it isn't closed here.
    reading
        Keywords of :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`, also of a new index.
    making
        Further ones of :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`; ``passages`` also as a
        mapping, which can be saved.

    Raises
    ------
    InvalidInputError
        If both path and retriever are given, or ``passages`` can't be used.
    """

    def __init__(
        self,
        path: str | Path | None,
        given: Searchable | None = None,
        reading: dict[str, Any] | None = None,
        making: dict[str, Any] | None = None,
    ) -> None:
        if path is not None and given is not None:
            raise InvalidInputError("path and retriever are two ways to name an index: give one of them")
        self.given, self.opened = given, given
        self._path, self._reading, self._making = path, reading or {}, dict(making or {})
        if isinstance(passages := self._making.get("passages"), Mapping):
            refuse_unknown("Passages", passages, tuple(one.name for one in fields(Passages)))
            self._making["passages"] = Passages(**passages)
        self._lock = Lock()

    def retriever(self) -> Searchable:
        """What searches.

        Raises
        ------
        StoredIndexError, CheckpointError
            If it can't be opened, or made.
        """
        with self._lock:
            if self.opened is None:
                self.opened = self._open()
            return self.opened

    def warm_up(self) -> None:
        """Open the index, and load what the first search would wait for."""
        retriever = self.retriever()
        if isinstance(retriever, Retriever):
            retriever.warm_up()

    def close(self) -> None:
        """Close what was opened here; a later use opens it again."""
        with self._lock:
            if self.opened is not None and self.given is None:
                self.opened.close()
                self.opened = None

    def _open(self) -> Searchable:
        if self._path is not None and not is_vacant(Path(self._path)):
            return Retriever.open(self._path, **self._reading)
        return Retriever.index([], self._path, if_exists="append", **self._reading, **self._making)


def name_of(model: str | Path | Encoder | None) -> str | None:
    """A model's name or path, to be saved."""
    return model.name if isinstance(model, Encoder) else None if model is None else str(model)
