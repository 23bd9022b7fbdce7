"""The compressed index: exact while it is small, compressed once that pays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from ..datatypes import Hit, SearchParams, TokenEmbeddings
from ..errors import DamagedIndexError, IndexLockedError, InvalidInputError, StoredIndexError
from .codec import Tier
from .drift import has_drifted, misfits
from .exact import ExactIndex
from .policy import (
    Estimate,
    Limits,
    Progress,
    estimate,
    is_due,
    is_outgrown,
    parse_memory,
    worth_compressing,
)
from .recall import Recall, Trials, draw_queries
from .searching import Question
from .settings import CONTENT, make_settings
from .snapshot import Snapshot
from .tuning import Tuning, find_fastest

__all__ = ["CompressedIndex"]

_ENOUGH_RECALL = 0.95
_QUERIES_FOR_DRIFT = 50
_NUMBERS = ("nprobe", "candidates", "rerank")
"""What is tuned."""


class CompressedIndex(ExactIndex):
    """Documents and their token vectors in a folder, compressed to a tier.

    It begins as an `ExactIndex`: what is added is stored as float16 and searched exactly. Past 2¹⁸ vectors a
    codec is trained from them and they are compressed; later additions are, too, once they are many.
    """

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | None,
        dim: int = 128,
        *,
        if_exists: Literal["error", "overwrite"] = "error",
        settings: Mapping[str, Any] | None = None,
        timeout: float = 30.0,
        lexical: bool = True,
        fields: Sequence[str] = (),
        tier: Tier | str = Tier.BALANCED,
        seed: int = 0,
    ) -> Self:
        """Make an empty index.

        Parameters
        ----------
        path, dim, if_exists, settings, timeout, lexical, fields
            As for `ExactIndex.create`.
        tier
            What to compress to: ``"compact"``, ``"balanced"``, ``"accurate"``, or ``"exact"`` for never.
        seed
            Of everything drawn at random.

        Raises
        ------
        IndexExistsError
            If something is there.
        InvalidInputError
            If an argument can't be used.
        """
        values = make_settings(dim, settings, lexical=lexical, fields=fields)
        return cls._create(path, values | _settings(tier, seed), if_exists, timeout)

    @property
    def tier(self) -> Tier:
        """What the index is compressed to."""
        return _tier(self.settings["tier"])

    def merge(self, *, retrain: bool | None = None, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """As `ExactIndex.merge`; and compress what is due, and train another codec if that is called for.

        It is if some of what was compressed lost half as much again as what the codec was trained on, and a
        measurement (50 queries made from such documents) finds less than the recall that the index was tuned
        for, or than .95. A compact index keeps no vectors to encode anew.

        Parameters
        ----------
        retrain
            True trains another codec in any case, False in none.
        memory, timeout
            As for `build`.

        Raises
        ------
        InvalidInputError
            If ``retrain`` is asked of a compact index, which keeps no vectors to encode anew.
        """
        self._refuse_in_transaction("merge()")
        built = self.build(retrain=retrain is True, memory=memory, timeout=timeout)
        if retrain is None:
            built |= self.renew_codec(memory=memory, timeout=timeout)
        return super().merge(memory=memory, timeout=timeout) or built

    def renew_codec(
        self, *, memory: str | int = "2GB", progress: Progress | None = None, timeout: float = 30.0
    ) -> bool:
        """Train another codec where data drifted away from it and a measurement says that it matters."""
        if not self.tier.int8 or not self._drifted or not self._loses_recall():
            return False
        return self.build(retrain=True, memory=memory, progress=progress, timeout=timeout)

    @property
    def _drifted(self) -> bool:
        """Whether what the newest codec encoded fits it badly."""
        facts, errors = self.at_once(lambda held: (held.codec_facts, held.settings.get("errors")))
        return facts is not None and errors is not None and has_drifted(facts, errors)

    def _loses_recall(self) -> bool:
        """Whether documents that fit the codec badly are found less well than they should be."""
        snapshot = self._snapshot()
        rng = np.random.default_rng(int(snapshot.settings.get("seed", 0)))
        odd = misfits(snapshot, rng)
        if odd is None:
            return False
        target = (snapshot.settings.get("tuned") or {}).get("target_recall", _ENOUGH_RECALL)
        queries = draw_queries(odd, _QUERIES_FOR_DRIFT, rng)
        return self.measure_recall(queries, store=False).recall < float(target)

    def _tidy(self, timeout: float) -> None:
        self.build(timeout=timeout)
        super()._tidy(timeout)

    def build(
        self,
        *,
        force: bool = False,
        retrain: bool = False,
        expected_tokens: int = 0,
        memory: str | int = "2GB",
        progress: Progress | None = None,
        timeout: float = 30.0,
        own: bool = False,
    ) -> bool:
        """Compress what was added since the last time, if it is much.

        Searches go on meanwhile and see the documents throughout; others may add. What is done is committed
        by and by: an interrupted build goes on where it was. An index of fewer than 4,096 vectors or 64
        documents stays exact, forced or not.

        Parameters
        ----------
        force
            Also if it is little.
        retrain
            Train another codec, on everything, and encode everything with it, from float16 or int8 vectors.
        expected_tokens
            How many vectors the index is going to have, if more are to be added: a first codec is made for so
            many.
        memory
            What training and encoding may use: ``"2GB"``, ``"500MB"``, a number of bytes; 64 MiB at least.
            The library itself comes on top. With less than it wants, sample and segments are smaller.
        progress
            Called now and then with a phase, ``"train"`` or ``"encode"``, what is done and what there is to
            do (steps; vectors).
        timeout
            Seconds to wait for another writer, each time something is committed.
        own
            Whether this belongs to the run that the codec was trained in: then nothing warns of drift.

        Returns
        -------
        bool
            Whether anything was compressed. Without ``force`` also False if another build is going on.

        Warns
        -----
        DriftWarning
            If what was compressed loses much more than what the codec was trained on.

        Raises
        ------
        InvalidInputError
            If ``memory`` isn't an amount, or ``retrain`` is asked of a compact index, which keeps no vectors.
        IndexWriteError
            If the disk is full, or fails. What was committed stays.
        IndexLockedError
            If another writer, or with ``force`` another build, takes longer than ``timeout``.
        """
        limits = Limits.of(parse_memory(memory), self.dim)

        def wanted(snapshot: Snapshot) -> bool:
            if _tier(snapshot.settings["tier"]) is Tier.EXACT:
                return False
            if retrain and any(part.compressed for part in snapshot.parts):
                return True
            return worth_compressing(snapshot) if force or retrain else is_due(snapshot, expected_tokens)

        self._refuse_in_transaction("build()")
        if not wanted(self._newest()):
            return False
        from .build import Build

        force = force or retrain
        build = Build(self._catalogue, self._newest, limits, timeout, progress, own=own)
        try:
            return build.run(wanted, retrain=retrain, expected=expected_tokens, wait=timeout * force)
        except IndexLockedError:
            if force:
                raise
            return False  # the other build, or the next, will see to it

    def estimate(self, n_tokens: int, n_documents: int) -> Estimate:
        """What an index of this tier takes with so many vectors of so many documents; rough, and cheap."""
        return estimate(n_tokens, n_documents, self.dim, self.tier)

    @property
    def outgrown(self) -> bool:
        """Whether the codec was made for a sixteenth of the vectors: ``build(retrain=True)`` helps."""
        return is_outgrown(self._snapshot())

    @property
    def codec_facts(self) -> dict[str, Any] | None:
        """How the newest codec was made: ``n_centroids``, mean squared errors …; None without one."""
        codecs = self._snapshot().codecs
        return dict(codecs[-1].codec.facts) if codecs else None

    def measure_recall(
        self,
        queries: TokenEmbeddings | None = None,
        k: int | SearchParams = 10,
        *,
        sample: int = 100,
        store: bool = True,
    ) -> Recall:
        """Compare searches with exact ones.

        Parameters
        ----------
        queries
            What people will ask; without them, pieces of stored documents, which are easier: see
            `draw_queries <lfm2_retrieval.indexes.recall.draw_queries>`.
        k
            How many hits to compare, or how to search.
        sample
            How many queries at most.
        store
            Whether to keep the result in the settings, under ``recall``.

        Raises
        ------
        InvalidInputError
            If there is no query, or the index is empty.
        """
        params = k if isinstance(k, SearchParams) else SearchParams(k)
        content, result = self.at_once(lambda held: (held.content_id, held._measure(queries, sample, params)))
        if store:
            self._store({"recall": result.to_json()}, content)
        return result

    def tune(
        self,
        target_recall: float = 0.98,
        k: int = 10,
        *,
        queries: TokenEmbeddings | None = None,
        sample: int = 100,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> Tuning:
        """Find the fastest way to search that reaches a recall on this machine, and make it the default.

        Where none reaches it, the one with the highest recall is made the default; the result says so. Where
        nothing is compressed there is nothing to tune: every search is exact, and only that is stored.

        Parameters
        ----------
        target_recall
            Above 0, at most 1.
        k, queries, sample
            As for `measure_recall`. A ``k`` beyond the collection asks for all of it.
        on_progress
            Told what goes on.

        Raises
        ------
        InvalidInputError
            If the target isn't above 0 and at most 1, there is no query, or the index is empty.
        """
        if not 0 < target_recall <= 1:
            raise InvalidInputError(f"target_recall must be above 0 and at most 1, not {target_recall!r}")
        content, (best, results) = self.at_once(
            lambda held: (
                held.content_id,
                held._try_out(queries, sample, SearchParams(k), target_recall, on_progress),
            )
        )
        if not results:
            self._store({"recall": best.to_json()}, content)
            return Tuning(best, target_recall)
        tuned = {
            **{name: getattr(best, name) for name in _NUMBERS},
            **{"target_recall": target_recall, "k": k, "n_documents": best.n_documents},
        }
        self._store({"tuned": tuned, "recall": best.to_json()}, content)
        ordered = sorted(results.values(), key=lambda one: (one.milliseconds, -one.recall))
        return Tuning(best, target_recall, tuple(ordered))

    def size_bytes(self) -> dict[str, int]:
        """Bytes on disk by part: kinds of segment files, the codecs, the catalogue with its journal."""
        view = self._seen()
        codecs = sum(
            facts["bytes"] for codec in view.snapshot.codecs for facts in codec.folder.files.values()
        )
        return {**self._sizes(view), **({"codec": codecs} if codecs else {})}

    def _resolve(self, params: SearchParams, snapshot: Snapshot) -> SearchParams:
        """What the caller left open, as it was tuned. Tuned numbers of documents grow with ``k``."""
        tuned = snapshot.settings.get("tuned")
        if not tuned or params.exact:
            return params
        if not _is_tuned(tuned):
            raise DamagedIndexError(f"{self.path}: the setting tuned is damaged; tune the index again")
        more = max(1.0, params.k / tuned["k"])
        candidates, rerank = tuned["candidates"], tuned["rerank"]
        return replace(
            params,
            nprobe=params.nprobe or tuned["nprobe"],
            candidates=params.candidates or (candidates and round(candidates * more)),
            rerank=params.rerank or (rerank and round(rerank * more)),
        )

    def _renewed(self, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings after the content was replaced: the same seed, and tier unless another is given."""
        others = {key: value for key, value in given.items() if key != "tier"}
        tier, seed = given.get("tier", before["tier"]), before.get("seed", 0)
        return super()._renewed(before, others) | _settings(tier, seed)

    @property
    def _compressed(self) -> bool:
        return any(part.compressed for part in self._snapshot().parts)

    def _measure(self, queries: TokenEmbeddings | None, sample: int, params: SearchParams) -> Recall:
        """The recall of one way to search."""
        trials = self._trials(queries, sample, params, as_tuned=True)
        trials.run([params], len(trials))
        return self._recall(trials, params, self._resolve(params, self._snapshot()), queries is None)

    def _try_out(
        self,
        queries: TokenEmbeddings | None,
        sample: int,
        default: SearchParams,
        target_recall: float,
        on_progress: Callable[[str], None],
    ) -> tuple[Recall, dict[SearchParams, Recall]]:
        """The best of the ways to search, and all that were tried; none where nothing is compressed."""
        on_progress("finding the exact hits")
        trials = self._trials(queries, sample, default, as_tuned=False)
        if not self._compressed:
            trials.run([default], len(trials))
            return self._recall(trials, default, default, queries is None), {}
        chosen = find_fastest(trials, target_recall, on_progress)
        results = {one: self._recall(trials, one, one, queries is None) for one in trials.tried}
        return results[chosen], results

    def _trials(
        self, queries: TokenEmbeddings | None, sample: int, reference: SearchParams, *, as_tuned: bool
    ) -> Trials:
        """Queries with their exact hits, ready to be asked."""

        def search(queries: TokenEmbeddings, params: SearchParams) -> list[list[Hit]]:
            if as_tuned:
                return self.search(queries, params)
            question = Question(queries, None, params)
            return self._read(lambda view: view.searcher.answer(view.snapshot, question, _as_said))

        if sample < 1:
            raise InvalidInputError(f"sample must be at least 1, not {sample}")
        chosen = self._choose(queries, sample)
        exact = self.search(chosen, SearchParams(reference.k, exact=True))
        search(chosen.select([0]), reference)  # compiles and reads what is needed
        return Trials(search, chosen, exact, reference)

    def _choose(self, queries: TokenEmbeddings | None, sample: int) -> TokenEmbeddings:
        snapshot = self._snapshot()
        rng = np.random.default_rng(int(snapshot.settings.get("seed", 0)))
        if not snapshot.n_tokens:
            raise InvalidInputError("the index is empty: add documents first")
        if queries is None:
            return draw_queries(snapshot, sample, rng)
        asked = np.flatnonzero(queries.lengths)
        if not len(asked):
            raise InvalidInputError("there is no query with a vector: give some, or None")
        return queries.select(rng.permutation(asked)[:sample])

    def _recall(self, trials: Trials, params: SearchParams, used: SearchParams, drawn: bool) -> Recall:
        return Recall(
            recall=trials.recall(params),
            error=trials.error(params),
            k=params.k,
            n_queries=trials.n_queries(params),
            from_documents=drawn,
            milliseconds=trials.milliseconds(params),
            nprobe=used.nprobe,
            candidates=used.candidates,
            rerank=used.rerank,
            n_documents=len(self),
            n_tokens=self.n_tokens,
        )

    def _store(self, settings: Mapping[str, Any], content: str | None) -> None:
        """Keep what was measured of this content."""
        self._refuse_in_transaction("storing a measurement")
        with self.writer() as writer:
            if writer.settings.get(CONTENT) != content:
                raise StoredIndexError(
                    f"{self.path} was overwritten while it was measured, so nothing was stored: measure again"
                )
            writer.set(settings)


def _as_said(params: SearchParams, snapshot: Snapshot) -> SearchParams:
    """Whatever the index was tuned to."""
    return params


def _is_tuned(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() >= {"k", *_NUMBERS}:
        return False
    counts = [value["k"], *(value[name] for name in _NUMBERS if value[name] is not None)]
    return all(type(count) is int and count > 0 for count in counts)


def _tier(name: object) -> Tier:
    try:
        return Tier(str(name))
    except ValueError:
        raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {name!r}") from None


def _settings(tier: Tier | str, seed: int) -> dict[str, Any]:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 31:
        raise InvalidInputError(f"seed must be a whole number from 0 to 2³¹ - 1, not {seed!r}")
    return {"tier": str(_tier(tier)), "seed": int(seed)}
