"""The commits of a build: a codec gets its name; segments give way to the compressed one made from them.

Each takes the writer lock for as long as it takes to rename a folder and to update rows. All that lasts is
done before, without the lock: see `build`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...platform.forks import busy
from ..catalogue.connections import storing
from ..catalogue.rows import checksum
from ..catalogue.schema import write_settings
from ..catalogue.tombstones import dead_positions
from ..commits.transaction import Transaction
from ..quantization.codec import Codec
from ..segments.arrays import FolderBuilder
from ..segments.files import name_of
from ..segments.fp16 import SegmentInfo

__all__ = ["Built", "Compressor"]


class Built(NamedTuple):
    """A finished segment: its builder, what that said of it, and where its documents come from, in order:
    segments, and positions in them, int64."""

    builder: FolderBuilder
    info: SegmentInfo
    sources: Sequence[tuple[int, NDArray[np.int64]]]


class Compressor(Transaction):
    """A transaction that compresses; used like its parent, in a ``with`` statement."""

    def name_codec(self, codec: Codec) -> Codec:
        """Commit a trained codec, so that no build has to train it again. Returns it with its number."""
        from ..segments.compressed import save_codec  # and numba with it

        with busy, storing(self._catalogue.folder):
            self._begin()
            facts = json.dumps(codec.facts)
            cursor = self._connection.execute(
                "INSERT INTO codecs (name, facts, files, born, crc32) VALUES ('', ?, '', ?, 0)",
                (facts, self._commit),
            )
            codec = replace(codec, id=cursor.lastrowid or 0)
            name, files = save_codec(self._catalogue.folder / "codecs", codec.id, codec)
            described = json.dumps(files)
            self._connection.execute(
                "UPDATE codecs SET name = ?, files = ?, crc32 = ? WHERE id = ?",
                (name, described, checksum(codec.id, name, facts, described, self._commit), codec.id),
            )
            self._end()
        return codec

    @busy
    def alive(self, segments: Sequence[int]) -> int:
        """How many of these segments are still in use."""
        rows = self._connection.execute("SELECT id FROM segments WHERE died IS NULL")
        return len(set(segments) & {id for (id,) in rows})

    def exchange(
        self,
        segments: Sequence[int],
        built: Built | None,
        settings: Mapping[str, Any],
    ) -> bool:
        """Commit a segment in the place of others. What died in these meanwhile is dead in the new one.

        Parameters
        ----------
        segments
            Those that it was made from.
        built
            None if none of the documents is alive.
        settings
            To be changed in the same commit.

        Returns
        -------
        bool
            False, and nothing is done, if one of the segments was retired meanwhile: the index was emptied.
        """
        if self.alive(segments) < len(segments):
            return False
        with busy, storing(self._catalogue.folder):
            self._begin()
            if built is not None:
                builder, info, sources = built
                number = self._number_segment()
                builder.place(self._catalogue.folder / "segments" / name_of(number))
                self._name_segment(replace(info, id=number, name=name_of(number)))
                first = 0
                for segment, positions in sources:
                    dead = np.flatnonzero(np.isin(positions, dead_positions(self._connection, segment)))
                    if len(dead):
                        self._tombstones.setdefault(number, []).append(first + dead)
                    first += len(positions)
                self._write_tombstones()
            self._retire("segments", "id = ?", [(id,) for id in segments])
            # Of codecs that no segment needs, the newest stays: it may just have been trained.
            self._retire(
                "codecs",
                "died IS NULL AND id < (SELECT max(id) FROM codecs) AND id NOT IN "
                "(SELECT codec_id FROM segments WHERE died IS NULL AND codec_id IS NOT NULL)",
            )
            write_settings(self._connection, settings)
            self._end()
        return True
