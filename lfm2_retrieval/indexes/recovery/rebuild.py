"""The new index of a repair: what is whole is linked or copied, the rest written anew, in one commit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datatypes import TokenEmbeddings
from ..catalogue.derived import derive
from ..catalogue.location import UNDER_CONSTRUCTION, make_catalogue
from ..catalogue.rows import checksum, load_json
from ..catalogue.schema import write_settings
from ..segments.arrays import parse_files
from ..segments.compressed import CompressedBuilder, CompressedSegment
from ..segments.files import name_of
from ..segments.fp16 import HalfSegment, SegmentBuilder, SegmentInfo
from .assessment import Assessment
from .passages import encoded_texts, insert_sources
from .segment_remains import SegmentRemains
from .staging import SCRATCH, link_files, sync_file

__all__ = ["Encode", "rebuild"]

Encode = Callable[[Sequence[str], Mapping[str, Any]], TokenEmbeddings | None]
"""Texts, and the settings of the index → their vectors; None if the model isn't at hand."""

_ENCODED_AT_ONCE = 64


def rebuild(left: Assessment, place: Path, encode: Encode | None) -> set[int]:
    """Make an index of what is left.

    Parameters
    ----------
    left
        That.
    place
        The folder of the new index, which has the folder `SCRATCH`.
    encode
        Makes vectors for texts of which they are lost.

    Returns
    -------
    set[int]
        The keys of the documents that were encoded.
    """
    scratch, path = place / SCRATCH, place / UNDER_CONSTRUCTION
    # Words are made at the end, from all documents at once.
    with closing(make_catalogue(path, {**left.settings, "lexical": False})) as connection:
        connection.execute("BEGIN IMMEDIATE")
        maker = _Maker(left, connection, place)
        for id, row in left.found.codecs.items():
            if id in left.codecs:
                maker.keep_codec(row)
        for one, positions in zip(left.remains, left.kept, strict=True):
            if one.problems:
                maker.rewrite(one, positions, scratch)
            else:
                maker.keep(one, positions)
        encoded = maker.add_lost(encode)
        maker.finish()
        connection.execute("COMMIT")
    sync_file(path)
    return encoded


class _Maker:
    """Fills the new index, in one commit."""

    def __init__(self, left: Assessment, connection: sqlite3.Connection, place: Path) -> None:
        self._left = left
        self._connection = connection
        self._place = place
        self._commit = left.found.last_commit + 1
        self._dim: int = left.settings["dim"]
        self._new_lengths: dict[int, int] = {}
        found = left.found
        self._last = max([0, *found.segments, *(int(name) for name in found.retired if name.isdecimal())])
        self._fresh: SegmentBuilder | None = None

    def keep_codec(self, row: Mapping[str, Any]) -> None:
        """A codec as it is."""
        link_files(
            self._left.folder / "codecs" / row["name"],
            self._place / "codecs" / row["name"],
            parse_files(load_json(row["files"])),
        )
        values = (row["id"], row["name"], row["facts"], row["files"], self._commit)
        self._connection.execute(
            "INSERT INTO codecs (id, name, facts, files, born, crc32) VALUES (?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )

    def keep(self, one: SegmentRemains, positions: NDArray[np.int64]) -> None:
        """A segment as it is, with tombstones for all but these documents."""
        info = one.info
        link_files(
            self._left.folder / "segments" / info.name, self._place / "segments" / info.name, info.files
        )
        self._name(info)
        dead = np.setdiff1d(np.arange(info.n_documents), positions).astype("<u4").tobytes()
        if dead:
            self._connection.execute(
                "INSERT INTO tombstones (segment, born, positions, crc32) VALUES (?, ?, ?, ?)",
                (info.id, self._commit, dead, checksum(info.id, self._commit, dead)),
            )

    def rewrite(self, one: SegmentRemains, positions: NDArray[np.int64], scratch: Path) -> None:
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
        self, segment: CompressedSegment, one: SegmentRemains, positions: NDArray[np.int64], scratch: Path
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

    def add_lost(self, encode: Encode | None) -> set[int]:
        """Documents of which the vectors are lost: encoded again, or without; the keys of those encoded."""
        empty = np.empty((0, self._dim), np.float16)
        encoded: set[int] = set()
        for keys, texts in self._lost_texts():
            again = [i for i, text in enumerate(texts) if self._left.lengths[keys[i]] and text.strip()]
            made = dict.fromkeys(range(len(keys)), empty)
            if encode is not None and again:
                vectors = encode([texts[i] for i in again], self._left.settings)
                if vectors is None:
                    encode = None
                else:
                    made |= {i: vectors[n].astype(np.float16) for n, i in enumerate(again)}
                    encoded.update(keys[i] for i in again)
            for i, key in enumerate(keys):
                self._add(key, made[i], None)
        return encoded

    def _lost_texts(self) -> Iterator[tuple[list[int], list[str]]]:
        keys = iter(self._left.lost_vectors)
        while some := list(islice(keys, _ENCODED_AT_ONCE)):
            rows = list(encoded_texts(self._left.found.documents, some))
            yield [key for key, _ in rows], [text for _, text in rows]

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
        values = info.id, *info.columns(), self._commit
        self._connection.execute(
            "INSERT INTO segments (id, name, codec, codec_id, n_documents, n_tokens, files, born, crc32) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, checksum(*values)),
        )

    def finish(self) -> None:
        """All rows of documents, and the commit itself."""
        connection, commit, found = self._connection, self._commit, self._left.found
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
        insert_sources(connection, found.documents, commit, found.lost)
        for table, last in (("documents", found.last_row), ("sources", found.last_source)):
            connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, table))
        asked = {name: self._left.settings[name] for name in ("lexical", "fields")}
        write_settings(connection, derive(connection, {**asked, "lexical": False}, asked))
