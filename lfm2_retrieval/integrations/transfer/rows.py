"""What is handed over: rows with their vectors, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datatypes import Hit, TokenEmbeddings
from ...hits import Place
from ...indexes import Entry, Index
from ..places import PLACE, place_values

__all__ = ["MOST_TOKENS", "Rows", "rows_of"]

MOST_TOKENS = 1 << 15
"""So many vectors are in memory at once, 16 MiB of 128 dimensions; a longer document is alone."""
_MOST_ROWS = 256


@dataclass(frozen=True)
class Rows:
    """Documents, or passages, of one batch.

    Parameters
    ----------
    ids, texts, metadata
        One a row; a text may be None. Of a passage the metadata say under ``lfm2`` where it lies.
    vectors
        float32, of each row.
    """

    ids: Sequence[str]
    texts: Sequence[str | None]
    metadata: Sequence[Mapping[str, Any]]
    vectors: TokenEmbeddings


def rows_of(index: Index) -> Iterator[Rows]:
    """All that an index finds, in order of insertion, with its vectors as they are decoded."""
    batch: list[Entry] = []
    n_tokens = 0
    for entry in index.documents():
        if batch and (len(batch) == _MOST_ROWS or n_tokens + entry.n_tokens > MOST_TOKENS):
            yield _rows(index, batch)
            batch, n_tokens = [], 0
        batch.append(entry)
        n_tokens += entry.n_tokens
    if batch:
        yield _rows(index, batch)


def _rows(index: Index, batch: list[Entry]) -> Rows:
    ids = [entry.id for entry in batch]
    return Rows(
        ids, [entry.text for entry in batch], [_metadata(one) for one in batch], index.embeddings(ids)
    )


def _metadata(entry: Entry) -> Mapping[str, Any]:
    if (passage := entry.passage) is None:
        return entry.metadata
    hit = Hit(
        entry.id,
        0.0,
        1,
        document_id=passage.document_id,
        number=passage.number,
        span=(passage.start, passage.end),
        headings=passage.headings,
        place=Place.from_dict(passage.place),
        source=passage.origin,
    )
    return {**entry.metadata, PLACE: place_values(hit)}
