"""Tombstones: which places of segments hold no living document any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError
from ..segments.arrays import REMEDY
from .rows import checksum

__all__ = ["dead_positions", "write_tombstones"]

_MOST_ROWS = 16
"""So many rows of a segment become one, so that readers needn't read a row for each single delete."""


def write_tombstones(
    connection: sqlite3.Connection, commit: int, places: Mapping[int, NDArray[np.int64]]
) -> None:
    """Write tombstones, in the commit that is being made: segment → positions."""
    for segment, positions in places.items():
        marked = np.unique(positions)
        (n_rows,) = connection.execute(
            "SELECT count(*) FROM tombstones WHERE segment = ?", (segment,)
        ).fetchone()
        if n_rows >= _MOST_ROWS:
            marked = np.union1d(marked, dead_positions(connection, segment))
            connection.execute("DELETE FROM tombstones WHERE segment = ?", (segment,))
        data = marked.astype("<u4").tobytes()
        connection.execute(
            "INSERT INTO tombstones (segment, born, positions, crc32) VALUES (?, ?, ?, ?)",
            (segment, commit, data, checksum(segment, commit, data)),
        )


def dead_positions(connection: sqlite3.Connection, segment: int) -> NDArray[np.int64]:
    """All dead positions of a segment, in no order and some of them repeatedly.

    Raises
    ------
    DamagedIndexError
        If a row isn't what was written.
    """
    found = [np.empty(0, np.int64)]
    for born, positions, crc32 in connection.execute(
        "SELECT born, positions, crc32 FROM tombstones WHERE segment = ?", (segment,)
    ):
        try:
            if checksum(segment, born, positions) != crc32:
                raise ValueError
            found.append(np.frombuffer(positions, "<u4").astype(np.int64))
        except (TypeError, ValueError) as error:
            raise DamagedIndexError(
                f"index.db: the tombstones of segment {segment!r} are damaged; {REMEDY}"
            ) from error
    return np.concatenate(found)
