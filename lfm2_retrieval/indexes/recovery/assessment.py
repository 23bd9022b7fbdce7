"""What is left of a damaged index: the first half of a repair, which only looks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError
from ...printable import quoted
from ..access import access
from ..catalogue.newest import read_newest
from ..catalogue.rows import load_json
from ..catalogue.settings import WIDEST, faults
from ..quantization.codec import Codec
from ..segments.arrays import parse_files
from ..segments.compressed import load_codec
from ..stored_text import decode_text
from .catalogue_rows import CatalogueRows, read_rows
from .inferred_rows import infer_codec, infer_segments
from .segment_remains import SegmentRemains, examine

__all__ = ["Assessment"]

_OWN = ("uuid", "horizon")
_SPLIT = {"tokens": None, "overlap": 0, "headings": True}
"""How documents are split, where that is lost."""
_DEFAULTS = {"tier": "balanced", "created_by": "lfm2-retrieval, repaired", "lexical": True, "fields": []}


class Assessment:
    """What is damaged, and what isn't; nothing is written but to an empty folder.

    Parameters
    ----------
    folder
        Of the index.
    scratch
        The empty folder.

    Attributes
    ----------
    problems
        What is damaged, a line each.
    found
        The catalogue's rows, as far as they are left.
    settings, codecs
        Those of the index; codecs by number.
    lengths
        How many vectors each document has, by key.
    remains, kept
        What is left of each segment, and the positions of its documents that are the only ones of their key.
    lost_vectors
        Ids of documents of which no segment has the vectors, by key.
    n_unknown
        How many places hold a document that no row names.

    Raises
    ------
    DamagedIndexError
        If nothing is left.
    IndexAccessError
        If the system refuses to read something, which then can't be called lost.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        with access(folder):
            self._assess(scratch)

    def _assess(self, scratch: Path) -> None:
        folder = self.folder
        self.found = found = read_rows(folder, scratch)
        self.problems = list(found.problems)
        self.lost_vectors: dict[int, str] = {}
        self.n_unknown = 0
        recorded = read_newest(self.folder, str(found.settings.get("uuid")))
        if recorded > found.last_commit:
            self.problems.append(f"index.db: the commits from {found.last_commit + 1} to {recorded} are gone")
        empty = not found.segments and not found.documents.execute("SELECT 1 FROM documents").fetchone()
        if empty and self.problems:
            raise DamagedIndexError(
                f"nothing is left of {self.folder}: {'; '.join(self.problems)}; restore a backup"
            )
        self.settings = self._settings(found)
        self._find_rows(found)
        self.codecs = self._codecs(found)
        rows = found.documents.execute("SELECT key, n_tokens FROM documents")
        self.lengths: dict[int, int] = dict(rows)
        self.remains = [one for row in found.segments.values() if (one := self._examine(row)) is not None]
        self._place()

    def _settings(self, found: CatalogueRows) -> dict[str, Any]:
        wrong = faults(found.settings)
        settings = {key: value for key, value in found.settings.items() if key not in (*_OWN, *wrong)}
        for name in wrong:
            if found.settings.get(name) is None:
                self.problems.append(f"index.db: the setting {name} is lost")
            else:
                value = quoted(found.settings[name])
                self.problems.append(f"index.db: the setting {name} can't be {value}")
        if not wrong and found.settings["horizon"] > found.last_commit:
            self.problems.append(f"index.db: the setting horizon can't be {found.settings['horizon']}")
        if "passages" not in settings and found.documents.execute("SELECT 1 FROM passages").fetchone():
            if "passages" not in wrong:
                self.problems.append("index.db: the setting passages is lost")
            settings["passages"] = _SPLIT
        if "dim" not in settings:
            settings["dim"] = self._width(found)
        return {**_DEFAULTS, **settings}

    def _width(self, found: CatalogueRows) -> int:
        """The width of a vector, from the size of some segment's files."""
        for row in found.segments.values():
            with suppress(ArithmeticError, KeyError, TypeError, ValueError):
                files = parse_files(load_json(row["files"]))
                name, size = ("vectors.npy", 2) if "vectors.npy" in files else ("int8.npy", 1)
                width = (files[name]["bytes"] - 128) // (row["n_tokens"] * size)
                if 0 < width <= WIDEST:
                    return int(width)
        raise DamagedIndexError(f"{self.folder}: the width of the vectors is lost; restore a backup")

    def _find_rows(self, found: CatalogueRows) -> None:
        """Rows that the catalogue has lost, from the folders that they named."""
        needed = {row["codec_id"] for row in found.segments.values()} - {None} - set(found.codecs)
        n_tokens = sum(row["n_tokens"] for row in found.segments.values())
        for id in needed:
            row = infer_codec(self.folder / "codecs", id, n_tokens)
            if row is not None:
                found.codecs[id] = row
            self.problems.append(f"index.db: the row of the codec {id} is lost")
        facts = {}
        for id, row in found.codecs.items():
            with suppress(TypeError, ValueError):
                facts[id] = dict(load_json(row["facts"]))
        known = found.retired | {row["name"] for row in found.segments.values()}
        for row in infer_segments(self.folder / "segments", known, facts, self.settings["dim"]):
            if self.problems:  # else a killed writer left it
                found.segments[row["id"]] = row

    def _codecs(self, found: CatalogueRows) -> dict[int, Codec]:
        codecs = {}
        for id, row in found.codecs.items():
            try:
                facts, files = dict(load_json(row["facts"])), parse_files(load_json(row["files"]))
                opened = load_codec(
                    self.folder / "codecs", id, row["name"], files, facts, self.settings["dim"]
                )
                if problems := opened.folder.problems():
                    raise DamagedIndexError("; ".join(problems))
                codecs[id] = opened.codec
            except (DamagedIndexError, AttributeError, TypeError, ValueError, OverflowError) as error:
                self.problems.append(f"codecs/{row['name']}: {error}")
        return codecs

    def _examine(self, row: Mapping[str, Any]) -> SegmentRemains | None:
        try:
            remains = examine(
                self.folder / "segments",
                row,
                self.settings["dim"],
                self.codecs.get(row["codec_id"]),
                self.lengths,
            )
        except (DamagedIndexError, AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            self.problems.append(f"index.db: the row of segment {row['name']!r} says what can't be: {error}")
            return None
        self.problems += remains.problems
        return remains

    def _place(self) -> None:
        """Which documents each segment gives; which have no vectors; which places have no document."""
        self.kept: list[NDArray[np.int64]] = []
        placed: set[int] = set()
        for one in self.remains:
            alive = np.ones(len(one.keys), bool)
            dead = self.found.tombstones.get(one.info.id, np.empty(0, np.int64))
            alive[dead[dead < len(alive)]] = False
            lengths = one.ends - one.starts
            keys = one.keys.tolist()
            fits = np.array(
                [self.lengths.get(key) == n for key, n in zip(keys, lengths.tolist(), strict=True)], bool
            )
            named = np.array([key in self.lengths for key in keys], bool)
            self.n_unknown += int(np.count_nonzero(alive & one.decodable & ~named))
            positions = np.flatnonzero(alive & one.decodable & fits)
            first = [position for position in positions.tolist() if keys[position] not in placed]
            placed.update(keys[position] for position in first)
            self.kept.append(np.array(first, np.int64))
            if not one.problems and np.any(alive & ~fits):
                self.problems.append(f"index.db: rows of documents in segments/{one.info.name} are lost")
        for key, id in self.found.documents.execute("SELECT key, id FROM documents ORDER BY key"):
            if key not in placed:
                self.lost_vectors[key] = decode_text(id)
        unplaced = [key for key in self.lost_vectors if self.lengths[key]]
        if unplaced and not self.problems:
            self.problems.append(f"the vectors of {len(unplaced)} documents are in no segment")
