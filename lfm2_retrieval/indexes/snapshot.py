"""What one commit holds, in memory: the segments, opened, and which of their documents are alive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..errors import DamagedIndexError
from .arrays import REMEDY, parse_files
from .catalogue import read_settings
from .segment import FP16, HalfSegment, Segment, SegmentInfo

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .compressed_segment import OpenCodec

__all__ = ["Part", "Places", "Snapshot", "load", "newest_commit"]


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
    def found(self) -> NDArray[np.bool_]:
        """bool ``[n_documents]``: those that a search can find, alive and not empty."""
        return (self.keys > 0) & (self.segment.offsets[1:] > self.segment.offsets[:-1])


@dataclass(frozen=True)
class Snapshot:
    """The state of an index at one commit. ``settings`` has the key ``dim`` at least."""

    commit: int
    settings: dict[str, Any]
    parts: tuple[Part, ...]
    codecs: tuple[OpenCodec, ...] = ()

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return int(self.settings["dim"])

    def vectors(self, keys: Sequence[int]) -> TokenEmbeddings | None:
        """The vectors of some documents as stored, float32, in the order of their keys; None if one lacks."""
        wanted = np.array(keys, np.int64)
        pieces = [np.empty((0, self.dim), np.float32)] * len(keys)
        found = np.zeros(len(keys), bool)
        for part in self.parts:
            for position in np.flatnonzero(np.isin(part.keys, wanted[~found]) & (part.keys > 0)):
                start, end = part.segment.offsets[position : position + 2]
                decoded = np.empty((int(end - start), self.dim), np.float32)
                part.segment.decode(np.array([start]), np.array([end]), decoded)
                for place in np.flatnonzero(wanted == part.keys[position]):
                    pieces[place], found[place] = decoded, True
        if not found.all():
            return None
        offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
        return TokenEmbeddings(np.concatenate([np.empty((0, self.dim), np.float32), *pieces]), offsets)

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
        return sum(int(np.count_nonzero(part.keys)) for part in self.parts)

    @cached_property
    def n_loose(self) -> int:
        """How many vectors are in segments that aren't compressed."""
        return sum(part.segment.info.n_tokens for part in self.parts if not part.compressed)

    @cached_property
    def n_tokens(self) -> int:
        """How many vectors the living documents have."""
        return sum(int(np.diff(part.segment.offsets)[part.keys > 0].sum()) for part in self.parts)


def newest_commit(connection: sqlite3.Connection) -> int:
    """The number of the last commit, 0 in a new index."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM commits").fetchone()[0])


def load(catalogue: Catalogue, known: Snapshot | None = None) -> Snapshot:
    """The newest snapshot; segments that an older one has open are shared with it.

    Raises
    ------
    DamagedIndexError
        If a segment isn't as the catalogue says.
    """
    while True:
        with catalogue.reading() as connection:
            commit = newest_commit(connection)
            if known is not None and known.commit == commit:
                return known
            settings = read_settings(connection)
            rows = connection.execute(
                "SELECT id, name, codec, codec_id, n_documents, n_tokens, files FROM segments "
                "WHERE died IS NULL ORDER BY id"
            ).fetchall()
            codec_rows = connection.execute(
                "SELECT id, name, facts, files FROM codecs WHERE died IS NULL ORDER BY id"
            ).fetchall()
            stale = {row[0] for row in rows}
            if known is not None:
                stale -= {part.segment.info.id for part in known.parts} - _touched(connection, known.commit)
            places = {segment: _read_places(connection, segment) for segment in stale}
        try:
            codecs = _open_codecs(catalogue.folder, _dim(catalogue.folder, settings), codec_rows, known)
            parts = _open(catalogue.folder, settings, rows, places, codecs, known)
            return Snapshot(commit, settings, parts, codecs)
        except DamagedIndexError:
            # A writer may have retired and swept a segment since: then there is a newer commit without it.
            with catalogue.reading() as connection:
                if newest_commit(connection) == commit:
                    raise


def _touched(connection: sqlite3.Connection, commit: int) -> set[int]:
    """The segments of which documents died after a commit."""
    rows = connection.execute("SELECT DISTINCT segment FROM documents WHERE died > ?", (commit,))
    return {segment for (segment,) in rows}


def _read_places(connection: sqlite3.Connection, segment: int) -> NDArray[np.int64]:
    """int64 ``[n_alive, 2]``: position and key, from the index ``places`` alone."""
    rows = connection.execute(
        "SELECT position, key FROM documents WHERE segment = ? AND died IS NULL", (segment,)
    ).fetchall()
    try:
        return np.array(rows, np.int64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise DamagedIndexError(f"index.db: documents of segment {segment!r} are damaged") from error


def _open(  # noqa: PLR0917
    folder: Path,
    settings: dict[str, Any],
    rows: list[tuple[Any, ...]],
    places: dict[int, NDArray[np.int64]],
    codecs: tuple[OpenCodec, ...],
    known: Snapshot | None,
) -> tuple[Part, ...]:
    dim = _dim(folder, settings)
    opened = {part.segment.info.id: part for part in known.parts} if known else {}
    parts = []
    for id, name, codec, codec_id, n_documents, n_tokens, files in rows:
        if id not in places:
            parts.append(opened[id])
            continue
        try:
            info = SegmentInfo(
                id,
                str(name),
                str(codec),
                None if codec_id is None else int(codec_id),
                int(n_documents),
                int(n_tokens),
                parse_files(json.loads(files)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedIndexError(
                f"{folder / 'index.db'}: the row of segment {name!r} is damaged"
            ) from error
        segment = (
            opened[id].segment if id in opened else _open_segment(folder / "segments", info, dim, codecs)
        )
        positions, keys = places[id].T
        if np.any((positions < 0) | (positions >= info.n_documents)):
            raise DamagedIndexError(f"{folder / 'index.db'}: documents lie outside segment {name!r}")
        all_keys = np.zeros(info.n_documents, np.int64)
        all_keys[positions] = keys
        parts.append(Part(segment, all_keys))
    return tuple(parts)


def _dim(folder: Path, settings: dict[str, Any]) -> int:
    dim = settings.get("dim")
    if not isinstance(dim, int) or dim < 1:
        raise DamagedIndexError(f"{folder / 'index.db'}: the setting dim is {dim!r}; restore a backup")
    return dim


def _open_segment(folder: Path, info: SegmentInfo, dim: int, codecs: tuple[OpenCodec, ...]) -> Segment:
    if info.n_documents < 0 or info.n_tokens < 0:
        raise DamagedIndexError(f"index.db: segment {info.name!r} has impossible counts; {REMEDY}")
    if info.codec == FP16:
        return HalfSegment(folder, info, dim)
    found = [opened.codec for opened in codecs if opened.codec.id == info.codec_id]
    if not found:
        raise DamagedIndexError(f"segment {info.name!r} has an unknown codec, {info.codec!r}; {REMEDY}")
    from .compressed_segment import CompressedSegment

    return CompressedSegment(folder, info, found[0])


def _open_codecs(
    folder: Path, dim: int, rows: list[tuple[Any, ...]], known: Snapshot | None
) -> tuple[OpenCodec, ...]:
    opened = {codec.codec.id: codec for codec in known.codecs} if known else {}
    codecs = []
    for id, name, facts, files in rows:
        if id not in opened:
            from .compressed_segment import load_codec

            try:
                checked, parsed = parse_files(json.loads(files)), dict(json.loads(facts))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DamagedIndexError(
                    f"{folder / 'index.db'}: the row of codec {name!r} is damaged"
                ) from error
            opened[id] = load_codec(folder / "codecs", id, str(name), checked, parsed, dim)
        codecs.append(opened[id])
    return tuple(codecs)
