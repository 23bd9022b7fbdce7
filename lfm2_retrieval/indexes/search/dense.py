"""Searching a snapshot: which documents, with which scores.

Segments of fp16 are scanned (`scanned`); of compressed ones a short list is made (`shortlist`), unless the
search is to be exact. Either way the few documents that matter are scored again in float64 on the best
vectors stored (`rerank`), so that a document's score doesn't depend on how it was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...datatypes import ScoreKind, SearchParams, TokenEmbeddings
from ...errors import InvalidInputError
from ...platform.concurrency import each
from ...platform.threads import thread_count
from ..commits.snapshot import Part, Snapshot
from .plan import error_growth, plan
from .scan import best, passes
from .scanned import NOTHING, Candidates, scanned

__all__ = ["Found", "rescore", "search"]


class Found(NamedTuple):
    """A hit before it has an id."""

    score: float
    key: int
    kind: ScoreKind


def search(snapshot: Snapshot, queries: TokenEmbeddings, params: SearchParams) -> list[list[Found]]:
    """For each query up to ``params.k`` documents, best first, equal scores in order of insertion.

    Raises
    ------
    InvalidInputError
        If the queries' width is wrong, or a vector holds NaN, infinity or a value beyond float16.
    """
    vectors = _check_queries(queries, snapshot.dim)
    asked = np.flatnonzero(queries.lengths)
    found: list[list[Found]] = [[] for _ in range(len(queries))]
    if not len(asked):
        return found
    # Empty queries own no rows, so the others' lanes are where their offsets say.
    lanes = np.append(queries.offsets[asked], len(vectors))
    numbered = list(enumerate(snapshot.parts))
    compressed = [] if params.exact else [(number, part) for number, part in numbered if part.compressed]
    to_scan = numbered if params.exact else [(n, part) for n, part in numbered if not part.compressed]
    # One query is a matter of milliseconds, so that more threads pay only where they are asked for.
    threads = thread_count(params.threads, alone=len(asked) == 1)
    candidates: list[Candidates] = []
    for first, last in passes(lanes):
        candidates += scanned(to_scan, vectors, lanes[first : last + 1], params.k, threads)
    inner = 1 if len(asked) > 1 else threads
    wider = error_growth(snapshot)

    def one(i: int) -> list[Found]:
        query = vectors[lanes[i] : lanes[i + 1]]
        listed = _shortlist(compressed, query, params, inner, wider) if compressed else NOTHING
        return _settle(snapshot.parts, query, candidates[i].joined(listed), params.k, inner)

    for i, some in enumerate(each(one, len(asked), threads if len(asked) > 1 else 1)):
        found[asked[i]] = some
    return found


def rescore(
    snapshot: Snapshot, queries: TokenEmbeddings, keys: Sequence[NDArray[np.int64]]
) -> list[list[Found]]:
    """Score documents found elsewhere, some a query, each once; best first.

    Those that are dead or without vectors are left out; a query without vectors finds nothing.

    Raises
    ------
    InvalidInputError
        As for `search`.
    """
    vectors = _check_queries(queries, snapshot.dim)
    results = []
    for number, some in enumerate(keys):
        query = vectors[queries.offsets[number] : queries.offsets[number + 1]]
        places = snapshot.locate(some)
        found = [snapshot.parts[part].found for part in places.parts]
        full = np.array([one[at] for one, at in zip(found, places.positions, strict=True)], bool)
        listed = Candidates(np.zeros(int(full.sum()), np.float32), *(column[full] for column in places))
        results.append(_settle(snapshot.parts, query, listed, max(len(some), 1), 1) if len(query) else [])
    return results


def _check_queries(queries: TokenEmbeddings, dim: int) -> NDArray[np.float32]:
    if queries.dim != dim:
        raise InvalidInputError(f"the queries' vectors are {queries.dim} wide, those of the index {dim}")
    largest = float(np.finfo(np.float16).max)
    if not np.abs(queries.embeddings).max(initial=0) <= largest:  # nor is NaN
        bad = np.flatnonzero(~(np.abs(queries.embeddings) <= largest).all(axis=1))
        query = int(np.searchsorted(queries.offsets, bad[0], "right")) - 1
        raise InvalidInputError(
            f"query {query}: its vector {bad[0] - queries.offsets[query]} holds NaN, infinity or a value "
            "beyond float16 (±65504)"
        )
    return np.ascontiguousarray(queries.embeddings, np.float32)


def _shortlist(
    parts: Sequence[tuple[int, Part]],
    query: NDArray[np.float32],
    params: SearchParams,
    threads: int,
    wider: float,
) -> Candidates:
    """The short list of one query; its scores are yet to be found."""
    from .shortlist import shortlist

    precise = any(part.segment.score_kind is ScoreKind.MAXSIM for _, part in parts)
    n_documents = sum(part.segment.info.n_documents for _, part in parts)
    numbers, positions = shortlist(parts, query, plan(params, precise, n_documents), threads, wider)
    keys = np.empty(len(numbers), np.int64)
    for number, part in parts:
        mine = numbers == number
        keys[mine] = part.keys[positions[mine]]
    return Candidates(np.zeros(len(numbers), np.float32), keys, numbers, positions)


def _settle(
    parts: Sequence[Part], query: NDArray[np.float32], candidates: Candidates, k: int, threads: int
) -> list[Found]:
    """Score documents in float64, and take the best."""
    from .rerank import columns, score, turned_by

    laid_out: dict[int | None, Any] = {}
    scores = np.empty(len(candidates.keys), np.float32)
    numbers = set(candidates.parts.tolist())
    for number in numbers:  # all of it before any is waited for
        parts[number].segment.call_for(candidates.positions[candidates.parts == number])
    for number in numbers:
        mine, segment = candidates.parts == number, parts[number].segment
        codec = turned_by(segment)
        id = None if codec is None else codec.id
        if id not in laid_out:
            laid_out[id] = columns(query if codec is None else codec.turn(query))
        scores[mine] = score(segment, laid_out[id], candidates.positions[mine], threads)
    return [
        Found(float(scores[i]), int(candidates.keys[i]), parts[candidates.parts[i]].segment.score_kind)
        for i in best(scores, candidates.keys, k)
    ]
