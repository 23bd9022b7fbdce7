"""Upkeep: what is done, after each commit and when it is asked for, so that an index stays small and fast."""

from __future__ import annotations

import warnings

import numpy as np

from ..errors import IndexLockedError, StoredIndexError, callers_level
from .catalogue.settings import parse_tier
from .commits.snapshot import Snapshot
from .compaction.drift import has_drifted, misfits
from .compaction.merge import Groups, merge, reclaim
from .compaction.policy import (
    MERGED_IN_PASSING,
    BuildProgress,
    Limits,
    all_to_merge,
    is_due,
    is_outgrown,
    parse_memory,
    to_merge,
    worth_compressing,
)
from .quantization.codec import Tier
from .search.searcher import Searcher
from .tuning.measuring import loses_recall
from .views import Views

__all__ = ["RunUpkeep", "Upkeep"]

_UNKNOWN_TOKENS = 1 << 20
"""Of a run of unknown length, a first codec waits for so many vectors, so that it fits longer."""


class Upkeep:
    """Compressing what is not, merging what is small, training another codec where the old one fits no more.

    Each commits by and by what it has done; searches and additions go on meanwhile.

    Parameters
    ----------
    views
        Of the index.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def after_commit(self, timeout: float) -> None:
        """After a change was committed: compress what is due, merge what is small.

        Whatever comes of it, the commit stands, and a caller who got an error would do the change again.
        """
        try:
            self.compress(timeout=timeout)
            self._merge_small(timeout)
        except IndexLockedError:
            pass  # the next commit will see to it
        except StoredIndexError as error:
            warnings.warn(f"the change is committed, but {error}", RuntimeWarning, stacklevel=callers_level())

    def compress(
        self,
        *,
        force: bool = False,
        retrain: bool = False,
        expected_tokens: int = 0,
        memory: str | int = "2GB",
        progress: BuildProgress | None = None,
        timeout: float = 30.0,
        own: bool = False,
    ) -> bool:
        """Compress what was added, if it is much; see `Index.build`."""
        limits = Limits.of(parse_memory(memory), self._views.seen().snapshot.dim)

        def wanted(snapshot: Snapshot) -> bool:
            if parse_tier(snapshot.settings["tier"]) is Tier.EXACT:
                return False
            if retrain and any(part.compressed for part in snapshot.parts):
                return True
            return worth_compressing(snapshot) if force or retrain else is_due(snapshot, expected_tokens)

        if not wanted(self._views.newest()):
            return False
        from .compaction.compress import Build

        force = force or retrain
        build = Build(self._views.catalogue, self._views.newest, limits, timeout, progress, own=own)
        try:
            return build.run(wanted, retrain=retrain, expected=expected_tokens, wait=timeout * force)
        except IndexLockedError:
            if force:
                raise
            return False  # the other build, or the next, will see to it

    def renew_codec(
        self, *, memory: str | int = "2GB", progress: BuildProgress | None = None, timeout: float = 30.0
    ) -> bool:
        """Train another codec where the index outgrew it, or data drifted away from it and a measurement says
        that it matters."""
        if not self._views.read(
            lambda view: (
                _is_outgrown(view.snapshot)
                or (_is_worn(view.snapshot) and _loses(view.searcher, view.snapshot))
            )
        ):
            return False
        return self.compress(retrain=True, memory=memory, progress=progress, timeout=timeout)

    def merge(self, *, memory: str | int = "2GB", timeout: float = 30.0) -> bool:
        """Few large segments, nothing dead on disk; see `Index.merge`."""
        views = self._views
        limits = Limits.of(parse_memory(memory), views.seen().snapshot.dim)

        def choose(snapshot: Snapshot) -> Groups:
            return all_to_merge(snapshot, limits)

        done = merge(views.catalogue, views.newest, choose, timeout, timeout)
        views.newest()
        reclaim(views.catalogue, timeout)
        return done

    def _merge_small(self, timeout: float) -> None:
        def choose(snapshot: Snapshot) -> Groups:
            return to_merge(snapshot, MERGED_IN_PASSING)

        if choose(self._views.newest()):
            merge(self._views.catalogue, self._views.newest, choose, timeout, wait=0)


class RunUpkeep:
    """Upkeep while one run adds many documents, in many commits.

    Parameters
    ----------
    upkeep, views
        Of the index.
    replaces
        Whether the run replaces what the index held.
    memory
        What compressing may use.
    """

    def __init__(self, upkeep: Upkeep, views: Views, *, replaces: bool, memory: str | int) -> None:
        self._upkeep = upkeep
        self._views = views
        self._memory = memory
        snapshot = views.seen().snapshot
        self._had_codec = bool(snapshot.codecs) and not replaces
        self._n_before = 0 if replaces else snapshot.n_tokens

    def between_commits(
        self, n_tokens: int, expected_tokens: int, is_known: bool, progress: BuildProgress | None
    ) -> None:
        """After a commit that others follow: compress what is due.

        Parameters
        ----------
        n_tokens, expected_tokens
            How many vectors the run has added, and how many it will have, 0 if nobody knows.
        is_known
            Whether the run's length is known.
        progress
            As for `Upkeep.compress`.
        """
        if is_known or self._views.seen().snapshot.codecs or n_tokens >= _UNKNOWN_TOKENS:
            self._compress(progress, expected_tokens=self._n_before + expected_tokens)

    def at_the_end(self, n_tokens: int, progress: BuildProgress | None) -> None:
        """After the last commit: compress what is due, and train anew if the run outgrew its first codec."""
        self._compress(progress)
        if self._views.read(
            lambda view: _is_outgrown(view.snapshot) and 2 * n_tokens >= view.snapshot.n_tokens
        ):
            self._compress(progress, retrain=True)
        elif not self._had_codec:  # it saw only what came first: if the rest suffers from that, have another
            self._upkeep.renew_codec(memory=self._memory, progress=progress)

    def _compress(
        self, progress: BuildProgress | None, *, expected_tokens: int = 0, retrain: bool = False
    ) -> None:
        self._upkeep.compress(
            retrain=retrain,
            expected_tokens=expected_tokens,
            memory=self._memory,
            progress=progress,
            own=not self._had_codec,
        )


def _is_outgrown(snapshot: Snapshot) -> bool:
    """Whether the newest codec was made for a much smaller index, and another could encode all anew."""
    return is_outgrown(snapshot) and parse_tier(snapshot.settings["tier"]).int8


def _is_worn(snapshot: Snapshot) -> bool:
    """Whether what the newest codec encoded fits it badly, and another could encode it anew."""
    errors = snapshot.settings.get("errors")
    if not parse_tier(snapshot.settings["tier"]).int8 or errors is None or not snapshot.codecs:
        return False
    return has_drifted(snapshot.codecs[-1].codec.facts, errors)


def _loses(searcher: Searcher, snapshot: Snapshot) -> bool:
    """Whether documents that fit the codec badly are found less well than they should be."""
    rng = np.random.default_rng(int(snapshot.settings.get("seed", 0)))
    odd = misfits(snapshot, rng)
    return odd is not None and loses_recall(searcher, snapshot, odd, rng)
