"""Asking several shards at once: those that are open in this process, or, see `actors`, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..encoder import Encoder
from ..errors import (
    IndexNotFoundError,
    ShardMismatchError,
    StoredIndexError,
    remedy,
)
from ..platform.concurrency import each
from ..platform.threads import thread_count
from .manifest import Manifest
from .shard import OpenShard, ShardState

__all__ = ["LocalShards", "Shards", "check_states", "lost_shard", "named"]

_DECISIVE = ("fingerprint", "long_documents", "document_length", "pool_factor", "protected_tokens")
"""What of an encoder's identity decides its vectors of documents."""


class Shards(Protocol):
    """The shards of a collection, to be called by number."""

    def ask(
        self, method: str, args: Mapping[int, tuple[Any, ...]], lost: set[int] | None = None
    ) -> dict[int, Any]:
        """Call a method of several shards at once.

        Parameters
        ----------
        method
            Of `OpenShard`.
        args
            Its arguments, by number of the shard.
        lost
            Where shards may be missing: gets the numbers of those that don't answer.

        Returns
        -------
        dict
            What they return, by number.
        """

    def close(self) -> None:
        """Let go of them."""


class LocalShards:
    """Shards that are searched in this process, by its threads.

    Parameters
    ----------
    folder, manifest
        Of the collection.
    load
        Loads the model, for changes.
    allow_partial
        Whether shards that can't be opened may be missing.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, load: Callable[[], Encoder], *, allow_partial: bool = False
    ) -> None:
        self._open: dict[int, OpenShard] = {}
        self._failed: dict[int, StoredIndexError] = {}
        try:
            for number, entry in enumerate(manifest.shards):
                path = folder / entry.path
                try:
                    self._open[number] = OpenShard(path, load)
                except StoredIndexError as error:
                    self._failed[number] = named(error, number, path)
                    if not allow_partial:
                        raise self._failed[number] from error
        except BaseException:
            self.close()
            raise

    def ask(
        self, method: str, args: Mapping[int, tuple[Any, ...]], lost: set[int] | None = None
    ) -> dict[int, Any]:
        """See `Shards.ask`."""
        numbers = [number for number in args if number in self._open]
        for number in args.keys() - self._open.keys():
            if lost is None:
                raise self._failed[number]
            lost.add(number)
        threads = min(thread_count(alone=False), max(len(numbers), 1))
        results = each(
            lambda i: getattr(self._open[numbers[i]], method)(*args[numbers[i]]), len(numbers), threads
        )
        return dict(zip(numbers, results, strict=True))

    def close(self) -> None:
        """Close the shards."""
        for shard in self._open.values():
            shard.close()


def named(error: StoredIndexError, number: int, path: Path) -> StoredIndexError:
    """The error of a shard that can't be opened, with its number."""
    if isinstance(error, IndexNotFoundError):
        return lost_shard(number, path)
    return type(error)(f"shard {number} ({path}): {error}")


def lost_shard(number: int, path: Path) -> IndexNotFoundError:
    """The error for a shard that isn't there."""
    partial = remedy("allow_partial=True searches", "--allow-partial serves")
    return IndexNotFoundError(
        f"shard {number} is missing: there is no index at {path}: restore it from a backup; until then "
        f"{partial} the others"
    )


def check_states(folder: Path, manifest: Manifest, states: Mapping[int, ShardState]) -> None:
    """Refuse shards that don't belong together.

    Raises
    ------
    ShardMismatchError
        Naming the shard, what differs, and what to do.
    """
    for number, state in states.items():
        entry, settings = manifest.shards[number], state.settings
        where = f"shard {number} ({folder / entry.path})"
        if settings["uuid"] != entry.uuid:
            raise ShardMismatchError(
                f"{where} is another index than the manifest names (uuid {settings['uuid']}, not "
                f"{entry.uuid}): put the right folder in its place"
            )
        if state.commit < entry.commit:
            raise ShardMismatchError(
                f"{where} is at commit {state.commit}, older than the manifest's {entry.commit}: somebody "
                "put an old copy in its place; restore a newer backup"
            )
        own, common = settings.get("encoder") or {}, manifest.encoder
        if differing := [name for name in _DECISIVE if own.get(name) != common.get(name)]:
            again = remedy("Retriever.reindex", "lfm2-retrieve reindex")
            raise ShardMismatchError(
                f"{where} was made with another model than the others: {differing[0]} is "
                f"{own.get(differing[0])!r}, not {common.get(differing[0])!r}: {again} on the shard, with "
                "the model of the others, makes it one of them"
            )
        for name in ("dim", "tier", "passages"):
            if settings.get(name) != getattr(manifest, name):
                raise ShardMismatchError(
                    f"{where} has {name} {settings.get(name)!r}, and the manifest says "
                    f"{getattr(manifest, name)!r}: put the right folder in its place"
                )
        if manifest.codec is not None and state.codec != manifest.codec:
            share = remedy("lfm2_retrieval.distributed.reshard", "lfm2-retrieve reshard")
            raise ShardMismatchError(
                f"{where} has a codec of its own, so that it isn't searched as the others are (it was "
                f"trained anew by itself): {share} gives all shards one"
            )
