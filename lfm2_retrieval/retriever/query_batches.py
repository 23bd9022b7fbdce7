"""Queries of several threads, encoded together: what waits while one batch is encoded is the next batch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder

__all__ = ["QueryBatches"]

_MOST = 8
"""How many queries make a batch: of more the last would wait longer than it gains."""
_REMEMBERED = 1024
_LONGEST = 512
"""Of so many queries of so many characters the vectors are kept, some 10 MB of them."""


class _Asked:
    """Some queries of a thread, until their vectors are there or it is the thread's turn to encode."""

    def __init__(self, encoder: Encoder, texts: Sequence[str]) -> None:
        self.encoder = encoder
        self.texts = texts
        self.told = threading.Event()
        self.leads = False
        self.found: TokenEmbeddings | None = None


class QueryBatches:
    """Encodes queries for several threads at a time.

    Nobody waits for a batch to fill: who finds nobody encoding begins at once, and what comes meanwhile is
    the next batch, which the first of those that wait encodes. So a lone query is as fast as ever.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._waiting: list[_Asked] = []
        self._busy = False
        self._encoder: Encoder | None = None
        self._recent: OrderedDict[str, TokenEmbeddings] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> TokenEmbeddings:
        """The vectors of some queries, as :meth:`Encoder.encode_queries` gives them; raises what it does."""
        if self._process != os.getpid():  # the threads that held what was copied are the parent's
            self._begin()
        asked = _Asked(encoder, texts)
        with self._lock:
            if encoder is not self._encoder:
                self._encoder, self._recent = encoder, OrderedDict()
            recent = self._recent
            if len(texts) == 1 and (found := recent.get(texts[0])) is not None:
                recent.move_to_end(texts[0])
                return found
            self._waiting.append(asked)
            asked.leads, self._busy = not self._busy, True
        if not asked.leads:
            asked.told.wait()
        if asked.leads:
            self._lead(asked)
        found = asked.found
        if found is None:  # the batch failed, for this query or for another
            found = encoder.encode_queries(texts)
        if len(texts) == 1 and len(texts[0]) <= _LONGEST:
            with self._lock:
                recent[texts[0]] = found
                if len(recent) > _REMEMBERED:
                    recent.popitem(last=False)
        return found

    def _lead(self, own: _Asked) -> None:
        """Encode what waits, beginning with one's own, and pass the turn on."""
        batch = [own]
        try:
            with self._lock:
                self._waiting.remove(own)
                n_texts = len(own.texts)
                for one in list(self._waiting):
                    if one.encoder is own.encoder and n_texts + len(one.texts) <= _MOST:
                        self._waiting.remove(one)
                        batch.append(one)
                        n_texts += len(one.texts)
            if len(batch) > 1:
                self._encode(batch)
            else:
                own.found = own.encoder.encode_queries(own.texts)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._busy = following is not None
            for one in batch[1:]:
                one.told.set()
            if following is not None:
                following.leads = True
                following.told.set()

    @staticmethod
    def _encode(batch: list[_Asked]) -> None:
        try:
            found = batch[0].encoder.encode_queries([text for one in batch for text in one.texts])
        except Exception:  # noqa: BLE001  (each meets it again by itself, if it is its own)
            return
        first = 0
        for one in batch:
            one.found = found.select(np.arange(first, first + len(one.texts)))
            first += len(one.texts)
