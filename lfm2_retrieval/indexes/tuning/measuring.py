"""Measuring how much of the exact result the searches of one commit find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...datatypes import Hit, SearchParams, TokenEmbeddings
from ...errors import InvalidInputError
from ..commits.snapshot import Snapshot
from ..search.searcher import Question, Searcher
from ..search.tuned import NUMBERS
from .recall import Recall, Trials, draw_queries
from .tune import Tuning, find_fastest

__all__ = ["Measurement", "loses_recall"]

_ENOUGH_RECALL = 0.95
_QUERIES_FOR_DRIFT = 50


class Measurement(NamedTuple):
    """What is measured: searches of one commit.

    Parameters
    ----------
    searcher, snapshot
        What answers, and from which commit.
    queries
        What people will ask; None: pieces of stored documents, see `draw_queries`.
    sample
        How many queries at most.
    """

    searcher: Searcher
    snapshot: Snapshot
    queries: TokenEmbeddings | None
    sample: int

    def recall(self, params: SearchParams) -> Recall:
        """The recall of one way to search, which the index completes as it was tuned.

        Raises
        ------
        InvalidInputError
            If there is no query, or the index is empty.
        """
        trials = self._trials(params, as_tuned=True)
        trials.run([params], len(trials))
        used = self.searcher.completed(params, self.snapshot)
        return self._recall(trials, params, used)

    def tune(
        self, k: int, target_recall: float, on_progress: Callable[[str], None]
    ) -> tuple[Tuning, dict[str, Any]]:
        """Find the fastest way to search that reaches a recall; see `Index.tune`.

        Returns
        -------
        tuple
            What was found, and the index's settings that say so: no ``tuned`` where nothing is compressed, so
            that there is nothing to choose.

        Raises
        ------
        InvalidInputError
            As for `recall`.
        """
        default = SearchParams(k)
        on_progress("finding the exact hits")
        trials = self._trials(default, as_tuned=False)
        if not any(part.compressed for part in self.snapshot.parts):
            trials.run([default], len(trials))
            best = self._recall(trials, default, default)
            return Tuning(best, target_recall), {"recall": best.to_json()}
        chosen = find_fastest(trials, target_recall, on_progress)
        results = {one: self._recall(trials, one, one) for one in trials.tried}
        best = results[chosen]
        tuned = {
            **{name: getattr(best, name) for name in NUMBERS},
            **{"target_recall": target_recall, "k": k, "n_documents": best.n_documents},
        }
        ordered = sorted(results.values(), key=lambda one: (one.milliseconds, -one.recall))
        return Tuning(best, target_recall, tuple(ordered)), {"tuned": tuned, "recall": best.to_json()}

    def _trials(self, reference: SearchParams, *, as_tuned: bool) -> Trials:
        """Queries with their exact hits, ready to be asked."""

        def search(queries: TokenEmbeddings, params: SearchParams) -> list[list[Hit]]:
            return self.searcher.answer(self.snapshot, Question(queries, None, params), as_tuned=as_tuned)

        if self.sample < 1:
            raise InvalidInputError(f"sample must be at least 1, not {self.sample}")
        chosen = self._choose()
        exact = search(chosen, SearchParams(reference.k, exact=True))
        search(chosen.select([0]), reference)  # compiles and reads what is needed
        return Trials(search, chosen, exact, reference)

    def _choose(self) -> TokenEmbeddings:
        rng = np.random.default_rng(int(self.snapshot.settings.get("seed", 0)))
        if not self.snapshot.n_tokens:
            raise InvalidInputError("the index is empty: add documents first")
        if self.queries is None:
            return draw_queries(self.snapshot, self.sample, rng)
        asked = np.flatnonzero(self.queries.lengths)
        if not len(asked):
            raise InvalidInputError("there is no query with a vector: give some, or None")
        return self.queries.select(rng.permutation(asked)[: self.sample])

    def _recall(self, trials: Trials, params: SearchParams, used: SearchParams) -> Recall:
        return Recall(
            recall=trials.recall(params),
            error=trials.error(params),
            k=params.k,
            n_queries=trials.n_queries(params),
            from_documents=self.queries is None,
            milliseconds=trials.milliseconds(params),
            nprobe=used.nprobe,
            candidates=used.candidates,
            rerank=used.rerank,
            n_documents=self.snapshot.count,
            n_tokens=self.snapshot.n_tokens,
        )


def loses_recall(searcher: Searcher, snapshot: Snapshot, misfits: Snapshot, rng: np.random.Generator) -> bool:
    """Whether documents that fit the codec badly are found less well than they should be.

    That is as well as the index was tuned for, or .95.

    Parameters
    ----------
    searcher, snapshot
        What answers, and from which commit.
    misfits
        The same commit with nothing but those documents.
    rng
        What draws 50 queries from them.
    """
    queries = draw_queries(misfits, _QUERIES_FOR_DRIFT, rng)
    target = (snapshot.settings.get("tuned") or {}).get("target_recall", _ENOUGH_RECALL)
    measured = Measurement(searcher, snapshot, queries, _QUERIES_FOR_DRIFT).recall(SearchParams(10))
    return measured.recall < float(target)
