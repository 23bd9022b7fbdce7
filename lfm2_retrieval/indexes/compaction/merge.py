"""Merging: segments are copied into fewer ones, as they are, without what is dead.

As in a build (see `build`) the copying needs no lock that a reader or another writer waits for; a commit then
exchanges the segments. An interrupted merge has lost the segment at which it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError
from ...platform.forks import busy
from ..catalogue.connections import storing
from ..catalogue.lock import WriterLock
from ..commits.vacuum import vacuum
from ..segments.fp16 import HalfBuilder, HalfSegment
from .exchange import Built, Compressor

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..commits.snapshot import Part, Snapshot

__all__ = ["Groups", "empty_building", "merge", "reclaim"]

_BLOCK_TOKENS = 1 << 16

Groups = Iterable[Sequence["Part"]]
"""Segments, of which each group is to become one."""


def merge(
    catalogue: Catalogue,
    load: Callable[[], Snapshot],
    choose: Callable[[Snapshot], Groups],
    timeout: float,
    wait: float,
) -> bool:
    """Put one segment in the place of each group, until there is none to merge.

    Parameters
    ----------
    catalogue
        Of the index.
    load
        Gives the newest snapshot.
    choose
        What to merge, of one codec or none in each group; whatever it says is carried out.
    timeout
        Seconds to wait for another writer, at each commit.
    wait
        Seconds to wait for another merge or build.

    Returns
    -------
    bool
        Whether anything was merged.

    Raises
    ------
    IndexLockedError, IndexWriteError
        If another takes longer than that; if the disk is full. What was committed stays.
    """
    done = False
    with WriterLock(catalogue.folder / "build.lock", wait):
        # One after another: a snapshot keeps what it holds on the disk, and that would be everything.
        while (parts := next(iter(choose(load())), None)) is not None:
            empty_building(catalogue.folder)
            try:
                built = _copy(parts, catalogue.folder)
                with Compressor(catalogue, timeout) as compressor:
                    if not compressor.exchange([part.segment.info.id for part in parts], built, {}):
                        return done
            finally:
                empty_building(catalogue.folder)
            done = True
        if done:
            load()
            with Compressor(catalogue, timeout):
                pass  # deletes what was replaced
    return done


def reclaim(catalogue: Catalogue, timeout: float) -> None:
    """Delete everything dead that no reader reads, and give its space back to the disk."""
    with (
        WriterLock(catalogue.folder / "lock", timeout),
        storing(catalogue.folder),
        catalogue.writing() as connection,
        busy,
    ):
        vacuum(connection, catalogue.folder, None, catalogue.check_place)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def empty_building(folder: Path) -> None:
    """Remove ``building/``, if it is there; for the holder of the build lock.

    Raises
    ------
    DamagedIndexError
        If it is a link, or no folder.
    """
    building = folder / "building"
    if os.path.lexists(building):
        if building.is_symlink() or not building.is_dir():
            raise DamagedIndexError(f"{building} is no folder; remove it")
        with storing(folder):
            shutil.rmtree(building)


def _copy(parts: Sequence[Part], folder: Path) -> Built | None:
    """Write a segment of the living documents of some parts; None if there is none."""
    if not any(part.keys.any() for part in parts):
        return None
    for part in parts:
        part.segment.check()
    with storing(folder):
        (folder / "building").mkdir()
        copy = _copy_codes if parts[0].compressed else _copy_half
        return copy(parts, folder / "building" / "segment")


def _copy_half(parts: Sequence[Part], building: Path) -> Built:
    first = cast(HalfSegment, parts[0].segment)
    builder = HalfBuilder(building, first.vectors.shape[1])
    try:
        for part in parts:
            segment = cast(HalfSegment, part.segment)
            for begin, end in _blocks(part):
                alive = part.keys[begin:end] > 0
                lengths = np.diff(segment.offsets[begin : end + 1])
                tokens = slice(int(segment.offsets[begin]), int(segment.offsets[end]))
                kept = np.repeat(alive, lengths)
                builder.append(
                    segment.vectors[tokens][kept],
                    lengths[alive],
                    segment.token_ids[tokens][kept],
                    part.keys[begin:end][alive],
                )
            segment.release()
        return Built(builder, builder.finish(), _sources(parts))
    except BaseException:
        builder.abandon()
        raise


def _copy_codes(parts: Sequence[Part], building: Path) -> Built:
    from ..segments.compressed import CompressedBuilder, CompressedSegment

    first = cast(CompressedSegment, parts[0].segment)
    builder = CompressedBuilder(building, first.codec, first.layout.int8)
    try:
        for part in parts:
            segment = cast(CompressedSegment, part.segment)
            for begin, end in _blocks(part):
                alive = part.keys[begin:end] > 0
                lengths = np.diff(segment.offsets[begin : end + 1])
                kept = np.repeat(alive, lengths)
                builder.append(
                    segment.copy(int(segment.offsets[begin]), int(segment.offsets[end])).select(kept)
                )
                builder.end_documents(lengths[alive], part.keys[begin:end][alive])
            segment.release()
        return Built(builder, builder.finish(), _sources(parts))
    except BaseException:
        builder.abandon()
        raise


def _blocks(part: Part) -> Iterator[tuple[int, int]]:
    """Ranges of documents, each of some tokens or of one document."""
    offsets = part.segment.offsets
    begin, n = 0, len(offsets) - 1
    while begin < n:
        end = int(np.searchsorted(offsets, offsets[begin] + _BLOCK_TOKENS, "right")) - 1
        end = min(max(end, begin + 1), n)
        yield begin, end
        begin = end


def _sources(parts: Sequence[Part]) -> list[tuple[int, NDArray[np.int64]]]:
    return [(part.segment.info.id, np.flatnonzero(part.keys > 0)) for part in parts]
