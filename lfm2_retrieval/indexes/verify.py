"""Holding every byte of an index to its checksum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import DamagedIndexError
from .rows import Row

if TYPE_CHECKING:
    import sqlite3

    from .catalogue import Catalogue
    from .snapshot import Part, Snapshot

__all__ = ["verify"]


def verify(catalogue: Catalogue, snapshot: Snapshot) -> None:
    """Read everything.

    Raises
    ------
    DamagedIndexError
        Naming everything that is damaged.
    """
    problems: list[str] = []
    for folder in (*(part.segment for part in snapshot.parts), *(codec.folder for codec in snapshot.codecs)):
        problems += folder.problems()
    with catalogue.reading() as connection:
        problems += [
            f"index.db: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"
        ]
        problems += [f"index.db: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        for part in snapshot.parts:
            problems += _check_rows(connection, part)
    if problems:
        raise DamagedIndexError(
            f"{catalogue.folder} is damaged: {'; '.join(problems)}. Restore a backup or build the index again"
        )


def _check_rows(connection: sqlite3.Connection, part: Part) -> list[str]:
    """The documents of a segment against their checksums and the segment's offsets."""
    problems = []
    lengths = np.diff(part.segment.offsets)
    seen = np.zeros(len(lengths), bool)
    for position, n_tokens, crc32, *row in connection.execute(
        "SELECT position, n_tokens, crc32, id, text, metadata FROM documents WHERE segment = ?",
        (part.segment.info.id,),
    ):
        try:
            Row(*row).decode(crc32, n_tokens)
        except DamagedIndexError as error:
            problems.append(str(error))
        if position not in range(len(lengths)) or lengths[position] != n_tokens:
            problems.append(
                f"index.db: document {row[0]!r} has another place than segment {part.segment.info.name}"
            )
        else:
            seen[position] = True
    if not seen.all():
        problems.append(
            f"index.db: segment {part.segment.info.name} has {np.count_nonzero(~seen)} documents unnamed"
        )
    return problems
