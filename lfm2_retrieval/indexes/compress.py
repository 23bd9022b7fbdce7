"""The commits of a build: a codec gets its name; segments give way to the compressed one made from them.

Each takes the writer lock for as long as it takes to rename a folder and to update rows. All that lasts is
done before, without the lock: see `build`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .arrays import name_of
from .catalogue import read_settings, storing, write_settings
from .codec import Codec
from .compressed_segment import CompressedBuilder, save_codec
from .segment import SegmentInfo
from .writer import Writer

__all__ = ["Compressor"]


class Compressor(Writer):
    """A writer that compresses; used like its parent, in a ``with`` statement."""

    def name_codec(self, codec: Codec) -> Codec:
        """Commit a trained codec, so that no build has to train it again. Returns it with its number."""
        with storing(self._catalogue.folder):
            self._begin()
            cursor = self._connection.execute(
                "INSERT INTO codecs (name, facts, files, born) VALUES ('', ?, '', ?)",
                (json.dumps(codec.facts), self._commit),
            )
            codec = replace(codec, id=cursor.lastrowid or 0)
            name, files = save_codec(self._catalogue.folder / "codecs", codec.id, codec)
            self._connection.execute(
                "UPDATE codecs SET name = ?, files = ? WHERE id = ?", (name, json.dumps(files), codec.id)
            )
            self._connection.execute("COMMIT")
        return codec

    def alive(self, segments: Sequence[int]) -> int:
        """How many of these segments are still in use."""
        rows = self._connection.execute("SELECT id FROM segments WHERE died IS NULL")
        return len(set(segments) & {id for (id,) in rows})

    def exchange(
        self,
        segments: Sequence[int],
        built: tuple[CompressedBuilder, SegmentInfo, Iterable[int]] | None,
        settings: Mapping[str, Any],
    ) -> bool:
        """Commit a compressed segment in the place of others.

        Parameters
        ----------
        segments
            Those that it was made from.
        built
            Its builder, finished; what that said; and the keys of its documents in order. None if none of the
            documents is alive.
        settings
            To be changed in the same commit.

        Returns
        -------
        bool
            False, and nothing is done, if one of the segments was retired meanwhile: the index was emptied.
        """
        if self.alive(segments) < len(segments):
            return False
        with storing(self._catalogue.folder):
            self._begin()
            if built is not None:
                builder, info, keys = built
                number = self._number_segment()
                builder.place(self._catalogue.folder / "segments" / name_of(number))
                self._name_segment(replace(info, id=number, name=name_of(number)))
                # The dead among them move too: a segment's documents are all named.
                self._connection.executemany(
                    "UPDATE documents SET segment = ?, position = ? WHERE key = ?",
                    ((number, position, key) for position, key in enumerate(keys)),
                )
            self._connection.executemany(
                "UPDATE segments SET died = ? WHERE id = ?", [(self._commit, id) for id in segments]
            )
            # Of codecs that no segment needs, the newest stays: it may just have been trained.
            self._connection.execute(
                "UPDATE codecs SET died = ? WHERE died IS NULL AND id < (SELECT max(id) FROM codecs) AND id "
                "NOT IN (SELECT codec_id FROM segments WHERE died IS NULL AND codec_id IS NOT NULL)",
                (self._commit,),
            )
            write_settings(self._connection, {**read_settings(self._connection), **settings})
            self._connection.execute("COMMIT")
        return True
