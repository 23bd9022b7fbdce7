"""What one commit holds, in memory: the segments, opened, and which of their documents are alive."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedIndexError
from .catalogue import read_settings
from .segment import Segment, SegmentInfo, parse_files

if TYPE_CHECKING:
    from .catalogue import Catalogue

__all__ = ["Part", "Snapshot", "load", "newest_commit"]


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


@dataclass(frozen=True)
class Snapshot:
    """The state of an index at one commit. ``settings`` has the key ``dim`` at least."""

    commit: int
    settings: dict[str, Any]
    parts: tuple[Part, ...]

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return int(self.settings["dim"])

    @cached_property
    def count(self) -> int:
        """How many documents are alive."""
        return sum(int(np.count_nonzero(part.keys)) for part in self.parts)

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
                "SELECT id, name, codec, n_documents, n_tokens, files FROM segments "
                "WHERE died IS NULL ORDER BY id"
            ).fetchall()
            stale = {row[0] for row in rows}
            if known is not None:
                stale -= {part.segment.info.id for part in known.parts} - _touched(connection, known.commit)
            places = {segment: _read_places(connection, segment) for segment in stale}
        try:
            parts = _open(catalogue.folder, settings, rows, places, known)
            return Snapshot(commit, settings, parts)
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


def _open(
    folder: Path,
    settings: dict[str, Any],
    rows: list[tuple[Any, ...]],
    places: dict[int, NDArray[np.int64]],
    known: Snapshot | None,
) -> tuple[Part, ...]:
    dim = settings.get("dim")
    if not isinstance(dim, int) or dim < 1:
        raise DamagedIndexError(f"{folder / 'index.db'}: the setting dim is {dim!r}; restore a backup")
    opened = {part.segment.info.id: part for part in known.parts} if known else {}
    parts = []
    for id, name, codec, n_documents, n_tokens, files in rows:
        if id not in places:
            parts.append(opened[id])
            continue
        try:
            info = SegmentInfo(
                id, str(name), str(codec), int(n_documents), int(n_tokens), parse_files(json.loads(files))
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedIndexError(
                f"{folder / 'index.db'}: the row of segment {name!r} is damaged"
            ) from error
        segment = opened[id].segment if id in opened else Segment(folder / "segments", info, dim)
        positions, keys = places[id].T
        if np.any((positions < 0) | (positions >= info.n_documents)):
            raise DamagedIndexError(f"{folder / 'index.db'}: documents lie outside segment {name!r}")
        all_keys = np.zeros(info.n_documents, np.int64)
        all_keys[positions] = keys
        parts.append(Part(segment, all_keys))
    return tuple(parts)
