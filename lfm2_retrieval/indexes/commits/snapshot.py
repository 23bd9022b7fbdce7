"""What one commit holds, in memory: the segments, opened, and which of their documents are alive."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...datatypes import TokenEmbeddings
from ...errors import DamagedIndexError
from ...platform.forks import cached_property
from ..access import access, refused
from ..catalogue.rows import check_whole, checksum, load_json
from ..catalogue.schema import read_settings
from ..catalogue.tombstones import dead_positions
from ..segments.arrays import REMEDY, parse_files
from ..segments.fp16 import FP16, HalfSegment, Segment, SegmentInfo
from .pins import Pin

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue
    from ..segments.compressed import OpenCodec

__all__ = ["Part", "Places", "Snapshot", "load", "newest_commit", "pin"]


class Places(NamedTuple):
    """Living documents: int64 keys, rising; the numbers of their parts, and positions in these."""

    keys: NDArray[np.int64]
    parts: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A segment as one commit sees it.

    Parameters
    ----------
    segment
        The segment.
    keys
        int64 ``[n_documents]``: the documents' keys in the catalogue, 0 for those that are dead.
    """

    segment: Segment
    keys: NDArray[np.int64]

    @property
    def compressed(self) -> bool:
        """Whether the segment needs a trained codec."""
        return self.segment.info.codec_id is not None

    @cached_property
    def n_alive(self) -> int:
        """How many of its documents are alive."""
        return int(np.count_nonzero(self.keys))

    @cached_property
    def n_tokens(self) -> int:
        """How many vectors these have."""
        if self.n_alive == len(self.keys):
            return self.segment.info.n_tokens
        return int(np.diff(self.segment.offsets)[self.keys > 0].sum())

    @cached_property
    def found(self) -> NDArray[np.bool_]:
        """bool ``[n_documents]``: those that a search can find, alive and not empty."""
        return (self.keys > 0) & (self.segment.offsets[1:] > self.segment.offsets[:-1])

    def narrowed(self, chosen: NDArray[np.bool_]) -> Part:
        """The same with some of its documents alone, bool ``[n_documents]``."""
        part = Part(self.segment, np.where(chosen, self.keys, 0))
        part.__dict__["found"] = self.found & chosen  # without a look at all lengths
        return part


@dataclass(frozen=True)
class Snapshot:
    """The state of an index at one commit. ``settings`` has the key ``dim`` at least.

    As long as it, or a copy of it, is referenced, its ``pin`` keeps what it needs from being swept.
    """

    commit: int
    settings: dict[str, Any]
    parts: tuple[Part, ...]
    codecs: tuple[OpenCodec, ...] = ()
    pin: Pin | None = None

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return int(self.settings["dim"])

    @property
    def fields(self) -> list[str]:
        """The declared fields of the metadata."""
        return list(self.settings.get("fields") or [])

    @property
    def has_passages(self) -> bool:
        """Whether its documents are passages of whole documents."""
        return self.settings.get("passages") is not None

    def vectors(self, keys: Sequence[int]) -> TokenEmbeddings:
        """The vectors of some documents as stored, float32, in the order of their keys.

        Raises
        ------
        DamagedIndexError
            If no segment has one of them.
        """
        places = self.locate(np.array(keys, np.int64))
        if len(places.keys) < len(keys):
            raise DamagedIndexError(f"index.db names a document that no segment has; {REMEDY}")
        pieces = [np.empty((0, self.dim), np.float32)]
        for number, position in zip(places.parts, places.positions, strict=True):
            segment = self.parts[number].segment
            start, end = segment.offsets[position : position + 2]
            decoded = np.empty((int(end - start), self.dim), np.float32)
            segment.decode(np.array([start]), np.array([end]), decoded)
            pieces.append(decoded)
        return TokenEmbeddings(np.concatenate(pieces), np.cumsum([*map(len, pieces)]).astype(np.int64))

    @cached_property
    def places(self) -> Places:
        """Where the living documents are."""
        numbers = [np.full(len(part.keys), number) for number, part in enumerate(self.parts)]
        positions = [np.arange(len(part.keys)) for part in self.parts]
        nothing = [np.zeros(0, np.int64)]
        columns = [[part.keys for part in self.parts], numbers, positions]
        keys, parts, places = (np.concatenate(nothing + column) for column in columns)
        alive = np.flatnonzero(keys)
        order = alive[np.argsort(keys[alive], kind="stable")]
        return Places(keys[order], parts[order], places[order])

    @cached_property
    def _ranks(self) -> tuple[NDArray[np.int64], ...]:
        """Of each part's documents, where they are among ``places``; of the dead ones, behind the last."""
        found = tuple(np.full(len(part.keys), len(self.places.keys)) for part in self.parts)
        for number, ranks in enumerate(found):
            mine = np.flatnonzero(self.places.parts == number)
            ranks[self.places.positions[mine]] = mine
        return found

    def narrowed(self, chosen: NDArray[np.bool_]) -> Snapshot:
        """The same with some of its living documents alone, bool of each of ``places``."""
        either = np.append(chosen, False)
        parts = tuple(
            part.narrowed(either[ranks]) for part, ranks in zip(self.parts, self._ranks, strict=True)
        )
        return replace(self, parts=parts)

    def locate(self, keys: NDArray[np.int64]) -> Places:
        """Those of these documents that are alive, in their order."""
        known = self.places
        if not len(known.keys):
            return known
        at = np.minimum(np.searchsorted(known.keys, keys), len(known.keys) - 1)
        at = at[known.keys[at] == keys]
        return Places._make(column[at] for column in known)

    @cached_property
    def count(self) -> int:
        """How many documents are alive."""
        return sum(part.n_alive for part in self.parts)

    @cached_property
    def n_loose(self) -> int:
        """How many vectors are in segments that aren't compressed."""
        return sum(part.segment.info.n_tokens for part in self.parts if not part.compressed)

    @cached_property
    def n_tokens(self) -> int:
        """How many vectors the living documents have."""
        return sum(part.n_tokens for part in self.parts)


def newest_commit(connection: sqlite3.Connection) -> int:
    """The number of the last commit, 0 in a new index."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM commits").fetchone()[0])


def load(catalogue: Catalogue, known: Snapshot | None = None) -> Snapshot:
    """The newest snapshot; segments that an older one has open are shared with it.

    It is pinned: as long as it is referenced, nothing of it is swept. Where no pin can be made (in a folder
    that can't be written) later reads may raise `SweptError`.

    Raises
    ------
    DamagedIndexError
        If a segment isn't as the catalogue says.
    IndexReplacedError, IndexNotFoundError
        If another index was put in the place of this one, or none.
    IndexAccessError
        If the system refuses to read something.
    """
    catalogue.check_place()
    with catalogue.reading(limited=True) as connection:
        if known is not None and known.commit == newest_commit(connection):
            return known
    with catalogue.in_place(), access(catalogue.folder):
        return _load(catalogue, known)


def _load(catalogue: Catalogue, known: Snapshot | None) -> Snapshot:
    held = pin(catalogue.folder)
    while True:
        recorded = catalogue.recorded_newest
        with catalogue.reading(limited=True) as connection:
            commit = newest_commit(connection)
            if commit < recorded:
                raise DamagedIndexError(
                    f"{catalogue.folder}: the commits from {commit + 1} to {recorded} are gone: index.db-wal "
                    f"is damaged or missing; {REMEDY}"
                )
            settings = read_settings(connection)
            rows = connection.execute(
                "SELECT id, name, codec, codec_id, n_documents, n_tokens, files, born, crc32 FROM segments "
                "WHERE died IS NULL ORDER BY id"
            ).fetchall()
            codec_rows = connection.execute(
                "SELECT id, name, facts, files, born, crc32 FROM codecs WHERE died IS NULL ORDER BY id"
            ).fetchall()
            dead = _read_tombstones(connection, rows, known)
        if held is not None:
            held.hold(commit)
        try:
            codecs = _open_codecs(catalogue.folder, settings["dim"], codec_rows, known)
            parts = _open(catalogue.folder, settings, rows, dead, codecs, known)
            return Snapshot(commit, settings, parts, codecs, held)
        except DamagedIndexError:
            # Without a pin, a segment may have been swept since: then there is a newer commit without it.
            with catalogue.reading(limited=True) as connection:
                if newest_commit(connection) == commit:
                    raise


def pin(folder: Path) -> Pin | None:
    """A pin, or None where none can be made because the folder can't be written or has no locks.

    Raises
    ------
    IndexAccessError
        If too many files are open, or there is no memory: then the reader would go unprotected for no reason.
    """
    try:
        return Pin(folder)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise refused(folder, error) from error
        return None


def _read_tombstones(
    connection: sqlite3.Connection, rows: list[tuple[Any, ...]], known: Snapshot | None
) -> dict[int, NDArray[np.int64]]:
    """The dead positions of each living segment that has other ones than in the snapshot known.

    Raises
    ------
    DamagedIndexError
        If a row isn't what was written.
    """
    opened = {part.segment.info.id for part in known.parts} if known else set()
    since = known.commit if known else 0
    touched = connection.execute("SELECT segment FROM tombstones WHERE born > ?", (since,))
    stale = {row[0] for row in rows} - opened | {segment for (segment,) in touched}
    return {segment: dead_positions(connection, segment) for segment in stale}


def _open(  # noqa: PLR0917
    folder: Path,
    settings: dict[str, Any],
    rows: list[tuple[Any, ...]],
    dead: dict[int, NDArray[np.int64]],
    codecs: tuple[OpenCodec, ...],
    known: Snapshot | None,
) -> tuple[Part, ...]:
    dim: int = settings["dim"]
    opened = {part.segment.info.id: part for part in known.parts} if known else {}
    parts = []
    for id, name, codec, codec_id, n_documents, n_tokens, files, born, crc32 in rows:
        if id not in dead:
            parts.append(opened[id])
            continue
        try:
            _check_row(crc32, id, name, codec, codec_id, n_documents, n_tokens, files, born)
            check_whole((id, n_documents, n_tokens, born, 0 if codec_id is None else codec_id))
            info = SegmentInfo(
                id,
                str(name),
                str(codec),
                None if codec_id is None else int(codec_id),
                int(n_documents),
                int(n_tokens),
                parse_files(load_json(files)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedIndexError(
                f"{folder / 'index.db'}: the row of segment {name!r} is damaged"
            ) from error
        segment = (
            opened[id].segment if id in opened else _open_segment(folder / "segments", info, dim, codecs)
        )
        if dead[id].max(initial=-1) >= info.n_documents:
            raise DamagedIndexError(f"{folder / 'index.db'}: tombstones lie outside segment {name!r}")
        keys = segment.keys
        if len(dead[id]):
            keys = keys.copy()
            keys[dead[id]] = 0
        parts.append(Part(segment, keys))
    return tuple(parts)


def _check_row(crc32: object, *values: Any) -> None:
    """Refuse a row of a table whose rows carry checksums; TypeError too where a value is of no known type."""
    if checksum(*values) != crc32:
        raise ValueError


def _open_segment(folder: Path, info: SegmentInfo, dim: int, codecs: tuple[OpenCodec, ...]) -> Segment:
    if info.n_documents < 0 or info.n_tokens < 0:
        raise DamagedIndexError(f"index.db: segment {info.name!r} has impossible counts; {REMEDY}")
    if info.codec == FP16:
        return HalfSegment(folder, info, dim)
    found = [opened.codec for opened in codecs if opened.codec.id == info.codec_id]
    if not found:
        raise DamagedIndexError(f"segment {info.name!r} has an unknown codec, {info.codec!r}; {REMEDY}")
    from ..segments.compressed import CompressedSegment

    return CompressedSegment(folder, info, found[0])


def _open_codecs(
    folder: Path, dim: int, rows: list[tuple[Any, ...]], known: Snapshot | None
) -> tuple[OpenCodec, ...]:
    opened = {codec.codec.id: codec for codec in known.codecs} if known else {}
    codecs = []
    for id, name, facts, files, born, crc32 in rows:
        if id not in opened:
            from ..segments.compressed import load_codec

            try:
                _check_row(crc32, id, name, facts, files, born)
                check_whole((id, born))
                checked, parsed = parse_files(load_json(files)), dict(load_json(facts))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DamagedIndexError(
                    f"{folder / 'index.db'}: the row of codec {name!r} is damaged"
                ) from error
            opened[id] = load_codec(folder / "codecs", id, str(name), checked, parsed, dim)
        codecs.append(opened[id])
    return tuple(codecs)
