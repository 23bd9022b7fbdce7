"""Repair: a new index of everything that is left of a damaged one.

The damaged folder is only read. What is whole of it (rows and files that match their checksums, and of
damaged files the documents that match theirs) goes to a new index beside it; when that is on the disk, and
verified, the two change names.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from ..errors import DamagedIndexError, IndexNotFoundError
from .arrays import fsync_folder, name_of, parse_files
from .catalogue import UNDER_CONSTRUCTION, Catalogue, is_index, is_vacant, make_catalogue
from .codec import Codec
from .compressed_segment import CompressedBuilder, CompressedSegment, load_codec
from .derived import derive
from .describe import describe_codec, describe_segments
from .lock import WriterLock
from .mend import Remains, look_at
from .noted import noted_newest
from .rows import checksum, decode_text, load_json
from .salvage import Salvage, salvage
from .schema import write_settings
from .segment import HalfSegment, SegmentBuilder, SegmentInfo
from .snapshot import load
from .verify import verify
from .workshop import SCRATCH, link_files, sync_file, workshop

__all__ = ["Encode", "Repair", "repair"]

Encode = Callable[[Sequence[str], Mapping[str, Any]], TokenEmbeddings | None]
"""Texts, and the settings of the index → their vectors; None if the model isn't at hand."""

_ENCODED_AT_ONCE = 64
_OWN = ("uuid", "horizon")
_DEFAULTS = {"tier": "balanced", "created_by": "lfm2-retrieval, repaired", "lexical": True, "fields": []}


@dataclass(frozen=True)
class Repair:
    """What a repair found, and did.

    Parameters
    ----------
    problems
        What is damaged; nothing was done if nothing is.
    kept
        How many documents are as they were.
    encoded
        Ids of documents of which the vectors were lost and were made again from the text.
    without_vectors
        Ids of documents of which the vectors are lost: they are there, but no search by vectors finds them.
    lost
        Ids of documents that are gone.
    n_unknown
        How many more are gone of which not even the id is left.
    original
        Where the damaged index lies now; None if it lies where it lay.
    """

    problems: tuple[str, ...] = ()
    kept: int = 0
    encoded: tuple[str, ...] = ()
    without_vectors: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    n_unknown: int = 0
    original: Path | None = None


class _EnoughError(Exception):
    """Ends a dry run."""


def repair(
    folder: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    encode: Encode | None = None,
    timeout: float = 30.0,
) -> Repair:
    """Put an index of everything that is left in the place of a damaged one.

    The damaged one stays beside it as ``PATH.damaged``. If the process is killed in between, either the index
    is as it was, or ``PATH.repaired`` is complete and the next repair puts it in its place.

    Parameters
    ----------
    folder
        Of the index.
    dry_run
        Only say what would be done. Nothing is encoded then.
    encode
        Makes vectors for texts of which they are lost.
    timeout
        Seconds to wait for a writer.

    Raises
    ------
    IndexNotFoundError
        If nothing is there.
    DamagedIndexError
        If nothing is left.
    IndexLockedError
        If a writer takes longer than ``timeout``.
    IndexWriteError
        If the new index can't be written; the damaged one is untouched.
    """
    folder = Path(folder).absolute()
    made = folder.with_name(folder.name + ".repaired")
    if not os.path.lexists(folder) and is_index(made):
        _put(made, folder)
        return Repair(("an earlier repair was interrupted; it is through now",))
    if is_vacant(folder):
        raise IndexNotFoundError(f"no index at {folder}: check the path")
    if is_index(made):  # of an earlier repair that didn't come to its end
        shutil.rmtree(made)
    with WriterLock(folder / "lock", timeout):
        work = _Work(folder, encode)
        with suppress(_EnoughError), workshop(made, ".partial") as place:
            work.look(place / SCRATCH)
            if dry_run or not work.problems:
                raise _EnoughError
            work.write(place)
        if dry_run or not work.problems:
            return work.report(None)
        with closing(Catalogue(made)) as catalogue:
            verify(catalogue, load(catalogue))
        original = _vacate(folder)
        _put(made, folder)
        return work.report(original)


def _vacate(folder: Path) -> Path:
    """Give a folder another name."""
    names = (f"{folder.name}.damaged{'' if n == 1 else f'-{n}'}" for n in range(1, 1 << 16))
    path = next(path for path in map(folder.with_name, names) if not os.path.lexists(path))
    folder.rename(path)
    return path


def _put(made: Path, folder: Path) -> None:
    made.rename(folder)
    fsync_folder(folder.parent)


@dataclass
class _Work:
    """One repair: first it looks, then it writes."""

    folder: Path
    encode: Encode | None
    problems: list[str] = field(default_factory=list)
    lost_vectors: dict[int, str] = field(default_factory=dict)  # key → id
    encoded: set[int] = field(default_factory=set)
    n_unknown: int = 0

    def look(self, scratch: Path) -> None:
        """Find out what is left; nothing is written but to an empty folder.

        Raises
        ------
        DamagedIndexError
            If nothing is.
        """
        self.found = found = salvage(self.folder, scratch)
        self.problems += found.problems
        noted = noted_newest(self.folder, str(found.settings.get("uuid")))
        if noted > found.last_commit:
            self.problems.append(f"index.db: the commits from {found.last_commit + 1} to {noted} are gone")
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
        self.remains = [one for row in found.segments.values() if (one := self._look_at(row)) is not None]
        self._place()

    def _settings(self, found: Salvage) -> dict[str, Any]:
        settings = {key: value for key, value in found.settings.items() if key not in _OWN}
        for missing in sorted({"dim", "tier", "created_by", *_OWN} - set(found.settings)):
            self.problems.append(f"index.db: the setting {missing} is lost")
        dim = settings.get("dim")
        if not isinstance(dim, int) or dim < 1:
            settings["dim"] = self._width(found)
        return {**_DEFAULTS, **settings}

    def _width(self, found: Salvage) -> int:
        """The width of a vector, from the size of some segment's files."""
        for row in found.segments.values():
            with suppress(ArithmeticError, KeyError, TypeError, ValueError):
                files = parse_files(load_json(row["files"]))
                name, size = ("vectors.npy", 2) if "vectors.npy" in files else ("int8.npy", 1)
                width = (files[name]["bytes"] - 128) // (row["n_tokens"] * size)
                if width > 0:
                    return int(width)
        raise DamagedIndexError(f"{self.folder}: the width of the vectors is lost; restore a backup")

    def _find_rows(self, found: Salvage) -> None:
        """Rows that the catalogue has lost, from the folders that they named."""
        needed = {row["codec_id"] for row in found.segments.values()} - {None} - set(found.codecs)
        n_tokens = sum(row["n_tokens"] for row in found.segments.values())
        for id in needed:
            row = describe_codec(self.folder / "codecs", id, n_tokens)
            if row is not None:
                found.codecs[id] = row
            self.problems.append(f"index.db: the row of the codec {id} is lost")
        facts = {}
        for id, row in found.codecs.items():
            with suppress(TypeError, ValueError):
                facts[id] = dict(load_json(row["facts"]))
        known = found.retired | {row["name"] for row in found.segments.values()}
        for row in describe_segments(self.folder / "segments", known, facts, self.settings["dim"]):
            if self.problems:  # else a killed writer left it
                found.segments[row["id"]] = row

    def _codecs(self, found: Salvage) -> dict[int, Codec]:
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

    def _look_at(self, row: Mapping[str, Any]) -> Remains | None:
        try:
            remains = look_at(
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

    def write(self, place: Path) -> None:
        """Make the new index."""
        found, scratch = self.found, place / SCRATCH
        path = place / UNDER_CONSTRUCTION
        # Words are made at the end, from all documents at once.
        with closing(make_catalogue(path, {**self.settings, "lexical": False})) as connection:
            connection.execute("BEGIN IMMEDIATE")
            maker = _Maker(self, connection, place, found.last_commit + 1)
            for id, row in found.codecs.items():
                if id in self.codecs:
                    maker.keep_codec(row)
            for one, positions in zip(self.remains, self.kept, strict=True):
                if one.problems:
                    maker.rewrite(one, positions, scratch)
                else:
                    maker.keep(one, positions)
            maker.add_lost()
            maker.finish()
            connection.execute("COMMIT")
        sync_file(path)

    def report(self, original: Path | None) -> Repair:
        """What was found and done."""
        found = self.found
        (count,) = found.documents.execute("SELECT count(*) FROM documents").fetchone()
        found.documents.close()
        gone = {key: id for key, id in self.lost_vectors.items() if self.lengths[key]}
        return Repair(
            tuple(self.problems),
            count - len(gone),
            tuple(gone[key] for key in sorted(self.encoded & set(gone))),
            tuple(id for key, id in gone.items() if key not in self.encoded),
            tuple(found.lost),
            max(0, self.n_unknown - len(found.lost)),
            original,
        )


class _Maker:
    """Fills the new index, in one commit."""

    def __init__(self, work: _Work, connection: sqlite3.Connection, place: Path, commit: int) -> None:
        self._work = work
        self._connection = connection
        self._place = place
        self._commit = commit
        self._dim: int = work.settings["dim"]
        self._new_lengths: dict[int, int] = {}
        found = work.found
        self._last = max([0, *found.segments, *(int(name) for name in found.retired if name.isdecimal())])
        self._fresh: SegmentBuilder | None = None

    def keep_codec(self, row: Mapping[str, Any]) -> None:
        """A codec as it is."""
        link_files(
            self._work.folder / "codecs" / row["name"],
            self._place / "codecs" / row["name"],
            parse_files(load_json(row["files"])),
        )
        values = (row["id"], row["name"], row["facts"], row["files"], self._commit)
        self._connection.execute(
            "INSERT INTO codecs (id, name, facts, files, born, crc32) VALUES (?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )

    def keep(self, one: Remains, positions: NDArray[np.int64]) -> None:
        """A segment as it is, with tombstones for all but these documents."""
        info = one.info
        link_files(
            self._work.folder / "segments" / info.name, self._place / "segments" / info.name, info.files
        )
        self._name(info)
        dead = np.setdiff1d(np.arange(info.n_documents), positions).astype("<u4").tobytes()
        if dead:
            self._connection.execute(
                "INSERT INTO tombstones (segment, born, positions, crc32) VALUES (?, ?, ?, ?)",
                (info.id, self._commit, dead, checksum(info.id, self._commit, dead)),
            )

    def rewrite(self, one: Remains, positions: NDArray[np.int64], scratch: Path) -> None:
        """These documents of a damaged segment: as they were stored, or else their vectors as float16."""
        if not len(positions):
            return
        segment = one.open(scratch)
        if isinstance(segment, CompressedSegment):
            whole = one.whole[positions]
            self._copy(segment, one, positions[whole], scratch)
            for position in positions[~whole]:
                start, end = int(one.starts[position]), int(one.ends[position])
                vectors = np.empty((end - start, self._dim), np.float32)
                segment.decode(np.array([start]), np.array([end]), vectors)
                self._add(int(one.keys[position]), vectors.astype(np.float16), None)
        elif isinstance(segment, HalfSegment):
            token_ids = segment.arrays["token_ids.npy"]
            for position in positions:
                tokens = slice(int(one.starts[position]), int(one.ends[position]))
                known = token_ids[tokens] if one.whole[position] else None
                self._add(int(one.keys[position]), segment.vectors[tokens], known)
        shutil.rmtree(scratch / one.info.name)

    def _copy(
        self, segment: CompressedSegment, one: Remains, positions: NDArray[np.int64], scratch: Path
    ) -> None:
        starts, ends = one.starts[positions], one.ends[positions]
        if not np.any(ends > starts):
            for key in one.keys[positions].tolist():
                self._add(key, np.empty((0, self._dim), np.float16), None)
            return
        builder = CompressedBuilder(scratch / "segment", segment.codec, segment.layout.int8)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            builder.append(segment.copy(start, end))
        builder.end_documents(ends - starts, one.keys[positions])
        info = builder.finish()
        number = self._number()
        builder.place(self._place / "segments" / name_of(number))
        self._name(replace(info, id=number, name=name_of(number)))

    def add_lost(self) -> None:
        """Documents of which the vectors are lost: encoded again, or without."""
        empty = np.empty((0, self._dim), np.float16)
        for keys, texts in self._lost_texts():
            again = [i for i, text in enumerate(texts) if self._work.lengths[keys[i]] and text.strip()]
            made = dict.fromkeys(range(len(keys)), empty)
            if self._work.encode is not None and again:
                vectors = self._work.encode([texts[i] for i in again], self._work.settings)
                if vectors is None:
                    self._work.encode = None
                else:
                    made |= {i: vectors[n].astype(np.float16) for n, i in enumerate(again)}
                    self._work.encoded.update(keys[i] for i in again)
            for i, key in enumerate(keys):
                self._add(key, made[i], None)

    def _lost_texts(self) -> Iterator[tuple[list[int], list[str]]]:
        keys = iter(self._work.lost_vectors)
        while some := list(islice(keys, _ENCODED_AT_ONCE)):
            marks = ",".join("?" * len(some))
            rows = self._work.found.documents.execute(
                f"SELECT key, text FROM documents WHERE key IN ({marks}) ORDER BY key", some
            ).fetchall()
            yield [key for key, _ in rows], ["" if text is None else decode_text(text) for _, text in rows]

    def _add(self, key: int, vectors: NDArray[np.float16], token_ids: NDArray[np.int32] | None) -> None:
        """A document of the new fp16 segment."""
        if self._fresh is None:
            self._fresh = SegmentBuilder(self._place / "segments", self._number(), self._dim)
        self._fresh.append(vectors, np.array([len(vectors)], np.int64), token_ids, np.array([key], np.int64))
        self._new_lengths[key] = len(vectors)

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _name(self, info: SegmentInfo) -> None:
        values = (
            info.id,
            info.name,
            info.codec,
            info.codec_id,
            info.n_documents,
            info.n_tokens,
            json.dumps(info.files),
            self._commit,
        )
        self._connection.execute(
            "INSERT INTO segments (id, name, codec, codec_id, n_documents, n_tokens, files, born, crc32) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )

    def finish(self) -> None:
        """All rows of documents, and the commit itself."""
        connection, commit, found = self._connection, self._commit, self._work.found
        if self._fresh is not None:
            self._name(self._fresh.finish())
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        connection.execute("INSERT INTO commits VALUES (?, ?, ?)", (commit, now, checksum(commit, now)))
        write_settings(connection, {"horizon": commit})
        for row, key, n_tokens, id, text, metadata in found.documents.execute(
            "SELECT row, key, n_tokens, id, text, metadata FROM documents ORDER BY row"
        ):
            place = (row, key, self._new_lengths.get(key, n_tokens), commit)
            connection.execute(
                "INSERT INTO documents (row, key, n_tokens, born, crc32, id, text, metadata) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*place, checksum(*place, id, text, metadata), id, text, metadata),
            )
        connection.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'documents'", (found.last_row,)
        )
        asked = {name: self._work.settings[name] for name in ("lexical", "fields")}
        write_settings(connection, derive(connection, {**asked, "lexical": False}, asked))
