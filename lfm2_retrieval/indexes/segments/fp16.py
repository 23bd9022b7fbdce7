"""Immutable segments: the vectors of a batch of documents, in a folder of arrays of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...datatypes import ScoreKind
from ...errors import DamagedIndexError
from .arrays import REMEDY, ArrayFolder, FileFacts, FolderBuilder, Shapes, document_checksums
from .files import name_of

__all__ = [
    "FP16",
    "STEPS",
    "HalfBuilder",
    "HalfSegment",
    "Segment",
    "SegmentBuilder",
    "SegmentInfo",
    "Steps",
    "check_offsets",
    "half_shapes",
]

FP16 = "fp16"
"""The codec that stores vectors as float16."""


STEPS = ("steps.npy", "step_sizes.npy", "step_errors.npy")
"""The vectors once more, in steps of int8, to find fast what can be among the best. Segments that 0.1 wrote
don't have these files."""
_QUAD = 4
"""Vectors in steps are filled up to so many dimensions, see `kernels.steps`."""
_PIECE = 1 << 12
"""So many vectors are rounded to steps at a time."""
_ABOVE = np.float32(1 + 2.0**-20)
"""Times this, what was rounded to float32 is more than it was."""


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What the catalogue says of a segment. ``codec_id``: the trained codec it needs, if any."""

    id: int
    name: str
    codec: str
    codec_id: int | None
    n_documents: int
    n_tokens: int
    files: FileFacts

    def columns(self) -> tuple[str, str, int | None, int, int, str]:
        """What the catalogue's row has after the number, up to ``files`` as JSON."""
        files = json.dumps(self.files)
        return self.name, self.codec, self.codec_id, self.n_documents, self.n_tokens, files


def half_shapes(n_documents: int, n_tokens: int, dim: int, files: Collection[str] = STEPS) -> Shapes:
    """The files of an fp16 segment that has, of those that not all have, some ``files``."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "vectors.npy": ("<f2", (n_tokens, dim)),
        "token_ids.npy": ("<i4", (n_tokens,)),
        "offsets.npy": ("<i8", (n_documents + 1,)),
        "keys.npy": ("<i8", (n_documents,)),
        "checksums.npy": ("<u4", (n_documents, 2)),
    }
    if set(STEPS) <= set(files):
        width = -(-dim // _QUAD) * _QUAD
        shapes["steps.npy"] = ("|u1", (n_tokens, width))
        shapes["step_sizes.npy"] = ("<f4", (n_tokens,))
        shapes["step_errors.npy"] = ("<f4", (n_documents, 2))
    return shapes


class HalfBuilder(FolderBuilder):
    """Writes an fp16 segment, which has no number until it is committed.

    Parameters
    ----------
    building
        The folder to write to.
    dim
        The width of a vector.
    """

    def __init__(self, building: Path, dim: int) -> None:
        super().__init__(building)
        self.n_documents = 0
        self.n_tokens = 0
        self._dim = dim
        for name, (dtype, shape) in half_shapes(0, 0, dim).items():
            self.write(name, dtype, np.zeros(shape))  # one zero of the offsets, and all are there

    def append(
        self,
        vectors: NDArray[np.float16],
        lengths: NDArray[np.int64],
        token_ids: NDArray[np.int32] | None,
        keys: NDArray[np.int64],
    ) -> None:
        """Add documents: float16 ``[n, dim]``, int64 ``[n_documents]``, int32 ``[n]`` (-1: not known), int64
        ``[n_documents]``."""
        known = np.full(len(vectors), -1, np.int32) if token_ids is None else token_ids
        self.write("vectors.npy", "<f2", vectors)
        self.write("token_ids.npy", "<i4", known)
        self.write("offsets.npy", "<i8", self.n_tokens + np.cumsum(lengths))
        self.write("keys.npy", "<i8", keys)
        ends = np.cumsum(lengths)
        self.write("checksums.npy", "<u4", document_checksums(keys, ends - lengths, ends, (vectors, known)))
        self._append_steps(vectors, ends - lengths, ends)
        self.n_documents += len(lengths)
        self.n_tokens += len(vectors)

    def _append_steps(
        self, vectors: NDArray[np.float16], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        from ..kernels.scan import to_single
        from ..kernels.steps import quantise

        half = np.ascontiguousarray(vectors, np.float16).view(np.uint16)
        wrong, lengths = np.empty(len(half)), np.empty(len(half))
        for first in range(0, len(half), _PIECE):
            some = slice(first, min(first + _PIECE, len(half)))
            single = np.empty((some.stop - first, self._dim), np.float32)
            to_single(half[some], single.view(np.uint32), single)
            steps = np.empty((len(single), -(-self._dim // _QUAD) * _QUAD), np.uint8)
            sizes = np.empty(len(single), np.float32)
            quantise(single, steps, sizes, wrong[some], lengths[some])
            self.write("steps.npy", "|u1", steps)
            self.write("step_sizes.npy", "<f4", sizes)
        errors = np.zeros((len(starts), 2), np.float32)
        full = ends > starts
        if full.any():
            for column, values in enumerate((wrong, lengths)):
                errors[full, column] = np.maximum.reduceat(values, starts[full]) * _ABOVE
        self.write("step_errors.npy", "<f4", errors)

    def finish(self) -> SegmentInfo:
        """Make the files durable: what the catalogue will say of them, but for a number and a name."""
        files = self.complete(half_shapes(self.n_documents, self.n_tokens, self._dim))
        return SegmentInfo(0, "", FP16, None, self.n_documents, self.n_tokens, files)


class SegmentBuilder(HalfBuilder):
    """Writes one fp16 segment.

    Parameters
    ----------
    folder
        The index's ``segments`` folder.
    number
        The segment's number in the catalogue.
    dim
        The width of a vector.
    """

    def __init__(self, folder: Path, number: int, dim: int) -> None:
        super().__init__(folder / f"{name_of(number)}.tmp", dim)
        self._folder = folder
        self.number = number

    def finish(self) -> SegmentInfo:
        """Make the segment durable; it counts only once the catalogue names it."""
        info = super().finish()
        name = name_of(self.number)
        self.place(self._folder / name)
        return replace(info, id=self.number, name=name)


class Steps(NamedTuple):
    """Vectors in steps of int8, as stored.

    Attributes
    ----------
    vectors
        uint8 ``[n_tokens, width]``: 128 more than the steps; ``width`` is ``dim`` or the next multiple of 4.
    sizes
        float32 ``[n_tokens]``: what a step is worth.
    errors
        float32 ``[n_documents, 2]``: the largest distance of a document's vectors from what these say, or
        more, and the length of the longest that they say, or more.
    """

    vectors: NDArray[np.uint8]
    sizes: NDArray[np.float32]
    errors: NDArray[np.float32]


class Segment(ArrayFolder):
    """A segment opened for reading.

    Attributes
    ----------
    info
        What the catalogue says of it.
    offsets
        int64 ``[n_documents + 1]``, in memory and checked in full: a wrong one would read out of bounds.
    keys
        int64 ``[n_documents]``, in memory, all positive: which document each is.
    score_kind
        What MaxSim on its vectors is.
    half
        The bits of its vectors, if they are stored as float16: uint16 ``[n_tokens, dim]``.
    in_steps
        The same in steps, if these are stored, too.

    Raises
    ------
    DamagedIndexError
        If a file is missing, is a link, or has another size or header than the catalogue says.
    """

    score_kind: ScoreKind
    half: NDArray[np.uint16] | None = None
    in_steps: Steps | None = None

    def __init__(self, folder: Path, info: SegmentInfo, shapes: Shapes) -> None:
        super().__init__(folder, info.name, info.files, shapes)
        self.info = info
        self.offsets: NDArray[np.int64] = np.array(self.arrays["offsets.npy"])
        check_offsets(self.offsets, info.n_tokens, self.path / "offsets.npy")
        self.keys: NDArray[np.int64] = np.array(self.arrays["keys.npy"])
        if self.keys.min(initial=1) < 1:
            raise DamagedIndexError(f"{self.path / 'keys.npy'} is damaged; {REMEDY}")

    @cached_property
    def longest(self) -> float:
        """The length of the longest vector of ``half``; inf if not all of it is finite, or there is none."""
        return math.inf

    def decode(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], decoded: NDArray[np.float32]
    ) -> None:
        """The best vectors stored, of some ranges of tokens, laid end to end.

        Parameters
        ----------
        starts, ends
            int64 ``[n]``: the ranges.
        decoded
            float32 ``[n_tokens of all ranges, dim]``, C-contiguous: filled in.
        """
        raise NotImplementedError

    def call_for(self, positions: NDArray[np.int64]) -> None:
        """Have the system read what `decode` reads of some documents, where it may not be in memory: int64
        ``[n]``."""


class HalfSegment(Segment):
    """An fp16 segment."""

    score_kind = ScoreKind.MAXSIM

    def __init__(self, folder: Path, info: SegmentInfo, dim: int) -> None:
        super().__init__(folder, info, half_shapes(info.n_documents, info.n_tokens, dim, info.files))
        self.vectors: NDArray[np.float16] = self.arrays["vectors.npy"]
        self.token_ids: NDArray[np.int32] = self.arrays["token_ids.npy"]
        self.half: NDArray[np.uint16] = self.vectors.view(np.uint16)
        if "steps.npy" in self.arrays:
            self.in_steps = Steps(*(self.arrays[name] for name in STEPS))

    @cached_property
    def longest(self) -> float:
        """As `Segment.longest`."""
        from ..kernels.scan import longest

        return longest(self.half)

    def decode(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], decoded: NDArray[np.float32]
    ) -> None:
        """As `Segment.decode`."""
        from ..kernels.scan import to_single

        bits = decoded.view(np.uint32)
        to = 0
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            rows = slice(to, to + end - start)
            to_single(self.half[start:end], bits[rows], decoded[rows])
            to = rows.stop


def check_offsets(offsets: NDArray[np.int64], end: int, path: Path) -> None:
    """Refuse offsets that don't rise from 0 to ``end``.

    Raises
    ------
    DamagedIndexError
        Naming the file.
    """
    if offsets[0] != 0 or offsets[-1] != end or np.any(offsets[1:] < offsets[:-1]):
        raise DamagedIndexError(f"{path} is damaged; {REMEDY}")
