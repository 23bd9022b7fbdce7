"""A damaged segment: which of its documents still have the vectors that were written."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError
from ...platform.plain_files import is_regular, read_regular
from ..access import unreadable
from ..catalogue.rows import load_json
from ..quantization.codec import Codec, Layout
from ..segments.arrays import HEADER_BYTES, FolderBuilder, Shapes, document_checksums, header, parse_files
from ..segments.compressed import CompressedSegment, segment_shapes, token_files
from ..segments.files import check_name
from ..segments.fp16 import FP16, STEPS, HalfSegment, Segment, SegmentInfo, half_shapes

__all__ = ["SegmentRemains", "examine"]

_MOST_TIMES, _MOST_ADDED = 100, 1 << 26
_HALF_FILES = ["vectors.npy", "token_ids.npy"]


@dataclass(frozen=True, eq=False)
class SegmentRemains:
    """What a segment still has.

    Attributes
    ----------
    info
        What the catalogue says of it.
    keys, starts, ends
        int64 ``[n_documents]``: which document each is, and its tokens; wrong where nothing of it is whole.
    whole, decodable
        bool ``[n_documents]``: of which documents every byte is as it was written; of which the best vectors.
    problems
        What is damaged; if nothing, the files can be used as they are.
    """

    info: SegmentInfo
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    whole: NDArray[np.bool_]
    decodable: NDArray[np.bool_]
    problems: list[str]
    _arrays: Mapping[str, NDArray[Any]]
    _codec: Codec | None
    _dim: int

    def open(self, scratch: Path) -> Segment:
        """The segment, on files made in an empty folder; of use where a document is whole or decodable."""
        arrays = dict(self._arrays)
        # Which tokens are whose is known otherwise.
        arrays["offsets.npy"] = np.zeros_like(arrays["offsets.npy"])
        arrays["offsets.npy"][-1] = self.info.n_tokens
        arrays["keys.npy"] = np.ones_like(arrays["keys.npy"])
        if self.info.codec != FP16:
            arrays["lists.npy"] = np.zeros_like(arrays["lists.npy"])
            arrays["documents.npy"] = arrays["documents.npy"][:0]
        builder = FolderBuilder(scratch / self.info.name)
        for name, array in arrays.items():
            builder.write(name, array.dtype.str, array)
        files = builder.complete({name: (array.dtype.str, array.shape) for name, array in arrays.items()})
        info = replace(self.info, files=files)
        if info.codec == FP16:
            return HalfSegment(scratch, info, self._dim)
        return CompressedSegment(scratch, info, self._codec or _stand_in(self.info, self._dim))


def examine(
    folder: Path, row: Mapping[str, Any], dim: int, codec: Codec | None, lengths: Mapping[int, int]
) -> SegmentRemains:
    """Read all of a segment.

    Parameters
    ----------
    folder
        The index's ``segments``.
    row
        Of the catalogue, sound, or what `describe` says.
    dim
        The width of a vector.
    codec
        What it needs, if that is whole.
    lengths
        Of living documents, by key: how many vectors each has.

    Raises
    ------
    DamagedIndexError
        If the row says what can't be.
    """
    info = SegmentInfo(
        row["id"],
        check_name(row["name"]),
        row["codec"],
        row["codec_id"],
        row["n_documents"],
        row["n_tokens"],
        parse_files(load_json(row["files"])),
    )
    shapes = _shapes_of(info, dim)
    _check_sizes(folder / info.name, shapes)
    arrays, damaged = {}, {}
    for name, (dtype, shape) in shapes.items():
        arrays[name], problem = _read(folder / info.name / name, dtype, shape, info.files[name])
        if problem:
            damaged[name] = problem
    problems = [f"segments/{info.name}/{name} {problem}" for name, problem in damaged.items()]
    lacks_codec = info.codec_id is not None and codec is None
    if lacks_codec:
        problems.append(f"segments/{info.name} needs the codec {info.codec_id}, which is damaged")
    files = _HALF_FILES if info.codec == FP16 else token_files(_layout(info))
    derived = {"checksums.npy", "lists.npy", "documents.npy", *STEPS}
    keys, starts, ends = arrays["keys.npy"], arrays["offsets.npy"][:-1], arrays["offsets.npy"][1:]
    if damaged.keys() - derived:
        same, starts, ends = _compare(arrays, [arrays[name] for name in files], lengths)
    else:
        same = np.ones((info.n_documents, len(files)), bool)
    best = [files.index(name) for name in ("vectors.npy", "int8.npy", "scales.npy") if name in files]
    whole: NDArray[np.bool_] = np.all(same, axis=1)
    if lacks_codec:
        whole[:] = False
    decodable: NDArray[np.bool_] = np.all(same[:, best], axis=1) if best else whole
    return SegmentRemains(info, keys, starts, ends, whole, decodable, problems, arrays, codec, dim)


def _compare(
    arrays: Mapping[str, NDArray[Any]], tokens: list[NDArray[Any]], lengths: Mapping[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Which documents match their checksums, ``[n_documents, files]``, and where their tokens lie.

    An offset belongs to two documents. Where it is damaged, each is tried with its other one and its length.
    """
    keys, offsets, n_tokens = arrays["keys.npy"], arrays["offsets.npy"], len(tokens[0])
    known = np.array([lengths.get(key, -1) for key in keys.tolist()], np.int64)
    same = np.zeros((len(keys), len(tokens)), bool)
    starts, ends = np.zeros_like(keys), np.zeros_like(keys)
    for first, last in (
        (offsets[:-1], offsets[1:]),
        (offsets[:-1], offsets[:-1] + known),
        (offsets[1:] - known, offsets[1:]),
    ):
        possible = (
            (first >= 0) & (last >= first) & (last <= n_tokens) & ((known < 0) | (last - first == known))
        )
        begin, end = np.where(possible, first, 0), np.where(possible, last, 0)
        matches = (document_checksums(keys, begin, end, tokens) == arrays["checksums.npy"]) & possible[
            :, None
        ]
        better = matches.sum(axis=1) > same.sum(axis=1)
        same[better], starts[better], ends[better] = matches[better], begin[better], end[better]
    return same, starts, ends


def _read(
    path: Path, dtype: str, shape: tuple[int, ...], facts: Mapping[str, int]
) -> tuple[NDArray[Any], str]:
    """An array as far as it is there, zeros for the rest; and what is wrong with the file.

    Raises
    ------
    IndexAccessError
        If the system refuses to read it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        if path.parent.is_symlink() or not is_regular(path):
            return np.zeros(shape, dtype), "is missing, or no file"
        with read_regular(path) as file:
            found = os.fstat(file.fileno()).st_size - HEADER_BYTES
            head = file.read(HEADER_BYTES)
            if found != size or not size:
                data = file.read(size)
                array = np.frombuffer(data.ljust(size, b"\0"), dtype).reshape(shape)
            else:
                array = np.memmap(file, dtype, "r", HEADER_BYTES, shape).view(np.ndarray)
    except OSError as error:
        refusal = unreadable(path, error, path.parents[2])
        if isinstance(refusal, DamagedIndexError):
            return np.zeros(shape, dtype), f"can't be read: {error}"
        raise refusal from error  # what can't be read just now isn't lost
    if found != size or facts["bytes"] != size + HEADER_BYTES:
        return array, f"has {found + HEADER_BYTES} bytes instead of {size + HEADER_BYTES}"
    if zlib.crc32(array.reshape(-1).view(np.uint8).data) != facts["crc32"]:
        return array, "doesn't match its checksum"
    return array, "" if head == header(dtype, shape) else "has a damaged header"


def _check_sizes(folder: Path, shapes: Shapes) -> None:
    """Refuse a row that asks for far more memory than all files together take, whichever of them is short."""
    if any(size < 0 for _, shape in shapes.values() for size in shape):
        raise DamagedIndexError("its counts are below zero")
    asked = sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in shapes.values())
    found = sum((folder / name).stat().st_size for name in shapes if is_regular(folder / name))
    if asked > _MOST_ADDED + _MOST_TIMES * found:
        raise DamagedIndexError(f"it says {asked:,} bytes, of which {found:,} are there")


def _layout(info: SegmentInfo) -> Layout:
    layout = Layout.parse(info.codec)
    if layout is None:
        raise DamagedIndexError(f"segment {info.name!r} has an unknown codec, {info.codec!r}")
    return layout


def _shapes_of(info: SegmentInfo, dim: int) -> Shapes:
    """The arrays of a segment, from its row alone."""
    if info.codec == FP16:
        return half_shapes(info.n_documents, info.n_tokens, dim, info.files)
    layout = _layout(info)
    n_postings = (info.files["documents.npy"]["bytes"] - HEADER_BYTES) // 4
    codec = (_n_centroids(info), dim, -(-dim // layout.width))
    return segment_shapes(layout, codec, info.n_documents, info.n_tokens, n_postings)


def _n_centroids(info: SegmentInfo) -> int:
    return (info.files["lists.npy"]["bytes"] - HEADER_BYTES) // 8 - 1


def _stand_in(info: SegmentInfo, dim: int) -> Codec:
    """A codec for segments of which only int8 vectors are read."""
    width = _layout(info).width
    codebooks = np.zeros((-(-dim // width), 256, width), np.float32)
    rotation = np.eye(dim, len(codebooks) * width, dtype=np.float32)
    return Codec(0, rotation, np.zeros((_n_centroids(info), dim), np.float32), codebooks, {})
