"""Rewriting segments: fp16 ones and small compressed ones become large compressed ones, in one commit.

Readers go on meanwhile: they hold the old segments mapped, and the catalogue names the new ones only once
they are durable. A process killed anywhere leaves the former commit and files that the next writer sweeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .catalogue import CATALOGUE, translated
from .codec import Codec, Tier, sample_size, train
from .compressed_segment import CompressedBuilder, CompressedSegment, save_codec
from .snapshot import Part, Snapshot
from .writer import Writer

__all__ = ["Compressor"]

SEGMENT_TOKENS = 1 << 24
"""A segment ends after the document that reaches so many vectors: memory while building grows with it."""

_BLOCK_TOKENS = 1 << 15


class Compressor(Writer):
    """A writer that compresses; used like its parent, in a ``with`` statement."""

    def compress(self, snapshot: Snapshot, tier: Tier, seed: int) -> None:
        """Compress what isn't, in one commit. There is no codec yet, or it is the snapshot's last.

        Parameters
        ----------
        snapshot
            The newest commit, read under the lock that this writer holds.
        tier
            What to compress to; not ``EXACT``.
        seed
            Of the sample and of the training.
        """
        self._check_open()
        parts = _chosen(snapshot, tier)
        if not parts:
            return
        try:
            with translated(self._catalogue.folder / CATALOGUE):
                self._begin()
                codec = snapshot.codecs[-1].codec if snapshot.codecs else self._train(parts, tier, seed)
                for documents in _portions(parts):
                    self._rewrite(parts, documents, codec, tier)
                for part in parts:
                    self._connection.execute(
                        "UPDATE segments SET died = ? WHERE id = ?", (self._commit, part.segment.info.id)
                    )
                self._connection.execute("COMMIT")
        except BaseException:
            self._abandon()
            raise

    def _train(self, parts: Sequence[Part], tier: Tier, seed: int) -> Codec:
        sample = _sample(parts, np.random.default_rng(seed))
        codec = train(sample, sum(part.segment.info.n_tokens for part in parts), tier.width, seed)
        cursor = self._connection.execute(
            "INSERT INTO codecs (name, facts, files, born) VALUES ('', ?, '', ?)",
            (json.dumps(codec.facts), self._commit),
        )
        codec = replace(codec, id=cursor.lastrowid or 0)
        name, files = save_codec(self._catalogue.folder / "codecs", codec.id, codec)
        self._connection.execute(
            "UPDATE codecs SET name = ?, files = ? WHERE id = ?", (name, json.dumps(files), codec.id)
        )
        return codec

    def _rewrite(self, parts: Sequence[Part], documents: NDArray[np.int64], codec: Codec, tier: Tier) -> None:
        """Write one segment of some living documents, int64 ``[n, 2]``: part and position."""
        folder: Path = self._catalogue.folder / "segments"
        builder = CompressedBuilder(folder, self._number_segment(), codec, tier.int8)
        try:
            for number, first, last in _runs(documents):
                segment = parts[number].segment
                for start, end in _blocks(segment.offsets, first, last):
                    if isinstance(segment, CompressedSegment):
                        builder.copy(segment, start, end)
                    else:
                        decoded = np.empty((end - start, codec.dim), np.float32)
                        segment.decode(np.array([start]), np.array([end]), decoded)
                        builder.encode(decoded)
                builder.end_documents(np.diff(segment.offsets[first : last + 1]))
            self._name_segment(builder.finish())
        except BaseException:
            builder.abandon()
            raise
        keys = (int(parts[number].keys[position]) for number, position in documents)
        self._connection.executemany(
            "UPDATE documents SET segment = ?, position = ? WHERE key = ?",
            ((builder.number, position, key) for position, key in enumerate(keys)),
        )


def _chosen(snapshot: Snapshot, tier: Tier) -> list[Part]:
    """All fp16 segments, and the compressed ones that are not larger than what they are merged with.

    So a vector is copied a number of times that grows with the logarithm of the index.
    """
    parts = [part for part in snapshot.parts if not part.compressed]
    total = sum(part.segment.info.n_tokens for part in parts)
    if not parts:
        return []
    newest = snapshot.codecs[-1].codec.id if snapshot.codecs else None
    for part in sorted(snapshot.parts, key=lambda part: part.segment.info.n_tokens):
        segment = part.segment
        if (
            isinstance(segment, CompressedSegment)
            and segment.codec.id == newest
            and segment.layout.int8 == tier.int8
            and segment.info.n_tokens <= min(total, SEGMENT_TOKENS // 2)
        ):
            parts.append(part)
            total += segment.info.n_tokens
    return parts


def _sample(parts: Sequence[Part], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vectors drawn at random from all parts, without replacement."""
    sizes = [part.segment.info.n_tokens for part in parts]
    drawn = np.sort(rng.choice(sum(sizes), sample_size(sum(sizes)), replace=False, shuffle=False))
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    dim = parts[0].segment.arrays["vectors.npy"].shape[1]
    sample = np.empty((len(drawn), dim), np.float32)
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        first, last = np.searchsorted(drawn, [start, end])
        rows = drawn[first:last] - start
        part.segment.decode(rows, rows + 1, sample[first:last])
    return sample


def _portions(parts: Sequence[Part]) -> Iterator[NDArray[np.int64]]:
    """The living documents in order, a segment's worth each: int64 ``[n, 2]``, part and position."""
    numbers = np.concatenate([np.full(len(part.keys), number) for number, part in enumerate(parts)])
    positions = np.concatenate([np.arange(len(part.keys)) for part in parts])
    keys = np.concatenate([part.keys for part in parts])
    lengths = np.concatenate([np.diff(part.segment.offsets) for part in parts])
    order = np.argsort(keys, kind="stable")
    order = order[keys[order] > 0]
    documents = np.column_stack([numbers, positions])[order].astype(np.int64)
    segment = np.cumsum(lengths[order]) // SEGMENT_TOKENS
    for some in np.split(documents, np.flatnonzero(np.diff(segment)) + 1):
        if len(some):
            yield some


def _runs(documents: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Neighbours that were neighbours before: part, first position, position after the last."""
    breaks = np.flatnonzero((np.diff(documents[:, 0]) != 0) | (np.diff(documents[:, 1]) != 1)) + 1
    for run in np.split(documents, breaks):
        yield int(run[0, 0]), int(run[0, 1]), int(run[-1, 1]) + 1


def _blocks(offsets: NDArray[np.int64], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The tokens of neighbouring documents, a block at a time."""
    end = int(offsets[last])
    for start in range(int(offsets[first]), end, _BLOCK_TOKENS):
        yield start, min(start + _BLOCK_TOKENS, end)
