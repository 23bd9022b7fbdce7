"""How long an evaluation will take, before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..encoder import Encoder
from ..errors import RetrievalError
from .datasets import DatasetRef

__all__ = ["forecast"]

_SAMPLE = 16
_TRIED = 3
"""Sets to look for documents in: what can't be read says so soon enough."""


def forecast(
    refs: Sequence[DatasetRef],
    encoder: Encoder,
    *,
    cells: int,
    documents_per_language: int = 0,
) -> str:
    """A line for people: cells, documents, and the time that encoding them takes, from a sample of documents.

    Parameters
    ----------
    refs
        The corpora to encode.
    cells
        How many cells there are to measure.
    documents_per_language
        Taken where sets can't be counted because they aren't here yet.
    """
    known = sum(ref.count() for ref in refs)
    total = known or documents_per_language * len({ref.language for ref in refs})
    head = f"{cells:,} cells; {len(refs):,} corpora"
    if not total:
        return head
    rate = _rate(refs, encoder)
    about = "" if known else "about "
    time_ = f", about {_duration(total / rate)} at {rate:,.1f} documents/s" if rate else ""
    return f"{head}, {about}{total:,} documents to encode{time_}"


def _rate(refs: Sequence[DatasetRef], encoder: Encoder) -> float:
    """Documents a second, of some of the first set that can be read; 0 where none can."""
    for ref in refs[:_TRIED]:
        try:
            texts = [text for text in ref.read().documents.values() if text.strip()]
        except RetrievalError:
            continue
        sample = texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE]
        encoder.encode_documents(sample[:1], on_cut=_ignore)
        began = time.perf_counter()
        encoder.encode_documents(sample, on_cut=_ignore)
        return len(sample) / (time.perf_counter() - began)
    return 0.0


def _ignore(_: int) -> None:
    """Cut texts are counted later."""


def _duration(seconds: float) -> str:
    for limit, unit, size in ((90, "seconds", 1), (5400, "minutes", 60)):
        if seconds < limit:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{seconds / 3600:.1f} hours"
