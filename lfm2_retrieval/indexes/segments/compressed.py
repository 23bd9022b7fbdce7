"""Compressed segments: centroids and codes of the tokens, postings of the documents, and int8 vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...datatypes import ScoreKind
from ...errors import DamagedIndexError
from ..kernels import decode, encode
from ..quantization.codec import Codec, Errors, Layout, id_dtype
from ..quantization.training import MOST_CENTROIDS
from .arrays import HEADER_BYTES, REMEDY, ArrayFolder, FileFacts, FolderBuilder, Shapes, document_checksums
from .files import name_of
from .fp16 import Segment, SegmentInfo, check_offsets

__all__ = [
    "Block",
    "CompressedBuilder",
    "CompressedSegment",
    "OpenCodec",
    "load_codec",
    "save_codec",
    "segment_shapes",
    "token_files",
]

_SKEW = 1e-3
"""How far a rotation may be from one."""
CALLED_FOR = 1 << 29
"""So many bytes of int8 vectors may be more than memory keeps; smaller files stay there as a rule."""
_PIECE = 1 << 17
"""So many vectors of a new segment are read again at a time."""


class CompressedSegment(Segment):
    """A compressed segment opened for reading.

    Attributes
    ----------
    codec
        What encoded it.
    centroids, codes
        uint16 or, of a codec with more than 65,536 centroids, uint32 ``[n_tokens]``; uint8 ``[n_tokens, M]``.
    lists, documents
        int64 ``[n_centroids + 1]`` in memory, checked in full, and uint32: centroid ``c`` occurs in
        ``documents[lists[c] : lists[c + 1]]``.
    steps, scales
        int8 ``[n_tokens, dim]`` and float32 ``[n_tokens]``, or of length 0 where the layout has none.
    """

    def __init__(self, folder: Path, info: SegmentInfo, codec: Codec) -> None:
        layout = Layout.parse(info.codec)
        if layout is None or layout.width != codec.width:
            raise DamagedIndexError(f"segment {info.name!r} has an unknown codec, {info.codec!r}; {REMEDY}")
        n_postings = (info.files.get("documents.npy", {}).get("bytes", HEADER_BYTES) - HEADER_BYTES) // 4
        super().__init__(
            folder, info, _shapes(layout, codec, info.n_documents, info.n_tokens, max(n_postings, 0))
        )
        self.codec = codec
        self.layout = layout
        self.score_kind = ScoreKind.MAXSIM if layout.int8 else ScoreKind.ESTIMATE
        self.centroids: NDArray[np.unsignedinteger] = self.arrays["centroids.npy"]
        self.codes: NDArray[np.uint8] = self.arrays["codes.npy"]
        self.documents: NDArray[np.uint32] = self.arrays["documents.npy"]
        self.lists: NDArray[np.int64] = np.array(self.arrays["lists.npy"])
        check_offsets(self.lists, len(self.documents), self.path / "lists.npy")
        self.steps: NDArray[np.int8] = self.arrays.get("int8.npy", np.empty((0, codec.dim), np.int8))
        self.scales: NDArray[np.float32] = self.arrays.get("scales.npy", np.empty(0, np.float32))

    def decode(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], decoded: NDArray[np.float32]
    ) -> None:
        """As `Segment.decode`: the int8 vectors, or else what centroids and codes say."""
        codec = self.codec
        if self.layout.int8:
            decode.decode_int8(self.steps, self.scales, starts, ends, decoded)
            return
        turned = np.empty((len(decoded), codec.rotation.shape[1]), np.float32)
        stored = self.centroids, self.codes, self.layout.unit
        if not decode.decode_pq(codec.turned, codec.codebooks, *stored, starts, ends, turned):
            raise self.damaged("centroids.npy")
        codec.turn_back(turned, decoded)

    def call_for(self, positions: NDArray[np.int64]) -> None:
        """As `Segment.call_for`: of int8 vectors that are many, for all else is read throughout."""
        if self.steps.nbytes >= CALLED_FOR:
            self.prefetch("int8.npy", self.offsets[positions], self.offsets[positions + 1])

    def copy(self, start: int, end: int) -> Block:
        """Some tokens as they are, for another segment of the same codec."""
        steps, scales = self.steps[start:end], self.scales[start:end]
        if self.layout.unit and self.layout.int8:
            scales = np.empty(end - start, np.float32)
            encode.int8_scales(steps, scales)
        ids, codes = np.array(self.centroids[start:end]), self.codes[start:end]
        return Block(ids, codes, steps, np.array(scales), self.layout.unit)

    def damaged(self, name: str) -> DamagedIndexError:
        """The error for a file whose numbers point to nothing."""
        return DamagedIndexError(f"{self.path / name} is damaged; {REMEDY}")


class Block(NamedTuple):
    """Some encoded tokens: centroids ``[n]``, codes ``[n, M]``, int8 vectors ``[n, dim]``, what a step
    of each is worth; whether all vectors were of length 1.
    """

    ids: NDArray[np.unsignedinteger]
    codes: NDArray[np.uint8]
    steps: NDArray[np.int8]
    scales: NDArray[np.float32]
    unit: bool

    def select(self, which: NDArray[np.bool_]) -> Block:
        """Some of the tokens: bool ``[n]``."""
        steps = self.steps[which] if len(self.steps) else self.steps
        scales = self.scales[which] if len(self.scales) else self.scales
        return Block(self.ids[which], self.codes[which], steps, scales, self.unit)


class CompressedBuilder(FolderBuilder):
    """Writes one compressed segment, which has no number until it is committed.

    Parameters
    ----------
    building
        The folder to write to.
    codec
        What encodes it.
    int8
        Whether to keep int8 vectors.
    """

    def __init__(self, building: Path, codec: Codec, int8: bool) -> None:
        super().__init__(building)
        self._codec = codec
        self._int8 = int8
        self._unit = True
        self._ids: list[NDArray[np.unsignedinteger]] = [np.empty(0, codec.id_dtype)]
        self._scales: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
        self._lengths: list[NDArray[np.int64]] = []
        self._keys: list[NDArray[np.int64]] = []
        self.n_tokens = 0

    def append(self, block: Block) -> None:
        """Add tokens."""
        self.write("centroids.npy", self._codec.id_dtype, block.ids)
        self.write("codes.npy", "|u1", block.codes)
        self._ids.append(block.ids)
        if self._int8:
            self.write("int8.npy", "|i1", block.steps)
            self._scales.append(block.scales)
        self._unit &= block.unit
        self.n_tokens += len(block.ids)

    def end_documents(self, lengths: NDArray[np.int64], keys: NDArray[np.int64]) -> None:
        """Say how the tokens added belong to documents, and to which: int64 ``[n]`` each, in order."""
        self._lengths.append(lengths)
        self._keys.append(keys)

    def finish(self) -> SegmentInfo:
        """Make the files durable: what the catalogue will say of them, but for a number and a name."""
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))]).astype(np.int64)
        lists = np.zeros(self._codec.n_centroids + 1, np.int64)
        documents = encode.postings(np.concatenate(self._ids), offsets, lists)
        self.write("offsets.npy", "<i8", offsets)
        keys = np.concatenate(self._keys)
        self.write("keys.npy", "<i8", keys)
        self.write("lists.npy", "<i8", lists)
        self.write("documents.npy", "<u4", documents)
        layout = Layout(self._codec.width, self._int8, self._unit)
        if self._int8 and not self._unit:
            self.write("scales.npy", "<f4", np.concatenate(self._scales))
        n_documents = len(offsets) - 1
        shapes = _shapes(layout, self._codec, n_documents, self.n_tokens, len(documents))
        for first, last in _pieces(offsets):
            begin, end = int(offsets[first]), int(offsets[last])
            files = ((name, shapes[name][1][1:]) for name in token_files(layout))
            tokens = [self.rows(name, begin, (end - begin, *width)) for name, width in files]
            starts, ends = offsets[first:last] - begin, offsets[first + 1 : last + 1] - begin
            self.write("checksums.npy", "<u4", document_checksums(keys[first:last], starts, ends, tokens))
        facts = self.complete(shapes)
        return SegmentInfo(0, "", str(layout), self._codec.id, n_documents, self.n_tokens, facts)


def _pieces(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Neighbouring documents, first and last, with some `_PIECE` vectors together."""
    n_documents, n_tokens = len(offsets) - 1, int(offsets[-1])
    bounds = np.searchsorted(offsets, np.arange(0, n_tokens, _PIECE))
    return pairwise(np.unique(np.concatenate([[0], bounds, [n_documents]])).tolist())


def _shapes(layout: Layout, codec: Codec, n_documents: int, n_tokens: int, n_postings: int) -> Shapes:
    return segment_shapes(
        layout, (codec.n_centroids, codec.dim, codec.n_codes), n_documents, n_tokens, n_postings
    )


def segment_shapes(
    layout: Layout, codec: tuple[int, int, int], n_documents: int, n_tokens: int, n_postings: int
) -> Shapes:
    """The files of a compressed segment.

    Parameters
    ----------
    layout
        What it holds.
    codec
        Of its codec: how many centroids, how wide a vector, how many bytes of code.
    n_documents, n_tokens, n_postings
        Of the segment.
    """
    n_centroids, dim, n_codes = codec
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "centroids.npy": (id_dtype(n_centroids), (n_tokens,)),
        "codes.npy": ("|u1", (n_tokens, n_codes)),
        "offsets.npy": ("<i8", (n_documents + 1,)),
        "keys.npy": ("<i8", (n_documents,)),
        "lists.npy": ("<i8", (n_centroids + 1,)),
        "documents.npy": ("<u4", (n_postings,)),
        "checksums.npy": ("<u4", (n_documents, len(token_files(layout)))),
    }
    if layout.int8:
        shapes["int8.npy"] = ("|i1", (n_tokens, dim))
        if not layout.unit:
            shapes["scales.npy"] = ("<f4", (n_tokens,))
    return shapes


def token_files(layout: Layout) -> list[str]:
    """The files with a row for each token, in the order of the columns of ``checksums.npy``."""
    scales = ["scales.npy"] * (layout.int8 and not layout.unit)
    return ["centroids.npy", "codes.npy", *["int8.npy"] * layout.int8, *scales]


def _codec_shapes(n_centroids: int, dim: int, n_codes: int, width: int) -> Shapes:
    return {
        "rotation.npy": ("<f4", (dim, n_codes * width)),
        "centroids.npy": ("<f2", (n_centroids, dim)),
        "codebooks.npy": ("<f4", (n_codes, 256, width)),
    }


class OpenCodec(NamedTuple):
    """A codec and the files it came from."""

    codec: Codec
    folder: ArrayFolder


def save_codec(folder: Path, number: int, codec: Codec) -> tuple[str, FileFacts]:
    """Write a codec's arrays to a folder of their own, durably. Returns its name and facts of the files."""
    name = name_of(number)
    builder = FolderBuilder(folder / f"{name}.tmp")
    try:
        builder.write("rotation.npy", "<f4", codec.rotation)
        builder.write("centroids.npy", "<f2", codec.centroids)
        builder.write("codebooks.npy", "<f4", codec.codebooks)
        files = builder.complete(_codec_shapes(codec.n_centroids, codec.dim, codec.n_codes, codec.width))
        builder.place(folder / name)
    except BaseException:
        builder.abandon()
        raise
    return name, files


def load_codec(  # noqa: PLR0917
    folder: Path, number: int, name: str, files: FileFacts, facts: dict[str, Any], dim: int
) -> OpenCodec:
    """Open a codec.

    Raises
    ------
    DamagedIndexError
        If it isn't as the catalogue says.
    """
    counts = [facts.get(key) for key in ("n_centroids", "n_codes", "width")]
    errors = [facts[key] for key in Errors._fields if key in facts]
    if not all(type(count) is int for count in counts) or not all(
        type(error) in (int, float) and 0 <= error < math.inf for error in errors
    ):
        raise DamagedIndexError(f"index.db: the row of codec {name!r} is damaged; {REMEDY}")
    n_centroids, n_codes, width = cast(list[int], counts)
    if not 1 <= n_centroids <= MOST_CENTROIDS or width not in range(1, 10) or n_codes != -(-dim // width):
        raise DamagedIndexError(f"index.db: codec {name!r} has impossible numbers; {REMEDY}")
    arrays = ArrayFolder(folder, name, files, _codec_shapes(n_centroids, dim, n_codes, width))
    names = ("rotation.npy", "centroids.npy", "codebooks.npy")
    rotation, centroids, codebooks = (np.array(arrays.arrays[file]) for file in names)
    skewed = not np.allclose(rotation @ rotation.T, np.eye(dim), atol=_SKEW)
    for file, array in zip(names, (rotation, centroids, codebooks), strict=True):
        if not np.isfinite(array).all() or (array is rotation and skewed):
            raise DamagedIndexError(f"{arrays.path / file} is damaged; {REMEDY}")
    return OpenCodec(Codec(number, rotation, centroids, codebooks, facts), arrays)
