"""Immutable segments: the vectors of a batch of documents, as ``.npy`` files in a folder of their own."""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedIndexError

__all__ = ["FP16", "Segment", "SegmentBuilder", "SegmentInfo", "fsync_folder", "parse_files", "sweep"]

FP16 = "fp16"
"""The codec that stores vectors as float16."""

_HEADER_BYTES = 128
_CHUNK_BYTES = 1 << 24
_NAME = re.compile(r"[0-9]{8,}")
_REMEDY = "restore the index from a backup or build it again"

FileFacts = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What the catalogue says of a segment. ``files``: of each file, ``bytes`` (all of it) and ``crc32``
    (of what follows the header)."""

    id: int
    name: str
    codec: str
    n_documents: int
    n_tokens: int
    files: FileFacts


def _layout(n_documents: int, n_tokens: int, dim: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The files of an fp16 segment: name → dtype and shape."""
    return {
        "vectors.npy": ("<f2", (n_tokens, dim)),
        "token_ids.npy": ("<i4", (n_tokens,)),
        "offsets.npy": ("<i8", (n_documents + 1,)),
    }


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of an ``.npy`` file (version 1.0), padded to a fixed size so that it can be written last."""
    facts = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    prefix = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return prefix + facts.ljust(_HEADER_BYTES - 11) + b"\n"


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, keep: Iterable[str]) -> None:
    """Delete the segment folders that nothing names; for the holder of the writer lock only.

    Anything whose name isn't of the shape that segments have is left alone.
    """
    kept = set(keep)
    for path in folder.iterdir():
        if (
            _NAME.fullmatch(path.name.removesuffix(".tmp"))
            and path.name not in kept
            and not path.is_symlink()
        ):
            shutil.rmtree(path)


class _ArrayWriter:
    """An ``.npy`` file that grows at its end; its header is written when its length is known."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._file = path.open("xb")
        self._file.write(bytes(_HEADER_BYTES))
        self._dtype = dtype
        self._crc32 = 0

    def append(self, array: NDArray[Any]) -> None:
        data = np.ascontiguousarray(array, dtype=self._dtype).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self._crc32 = zlib.crc32(data, self._crc32)

    def finish(self, shape: tuple[int, ...]) -> dict[str, int]:
        size = self._file.tell()
        self._file.seek(0)
        self._file.write(_header(self._dtype, shape))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {"bytes": size, "crc32": self._crc32}

    def close(self) -> None:
        self._file.close()


class SegmentBuilder:
    """Writes one fp16 segment under a temporary name, in memory that doesn't grow with it.

    Parameters
    ----------
    folder
        The index's ``segments`` folder.
    number
        The segment's number in the catalogue, from which its name is made.
    dim
        The width of a vector.
    """

    def __init__(self, folder: Path, number: int, dim: int) -> None:
        self.n_documents = 0
        self.n_tokens = 0
        self.number = number
        self.name = f"{number:08d}"
        self._dim = dim
        self._path = folder / self.name
        self._building = folder / f"{self.name}.tmp"
        self._building.mkdir()
        self._writers = {
            name: _ArrayWriter(self._building / name, dtype)
            for name, (dtype, _) in _layout(0, 0, dim).items()
        }
        self._writers["offsets.npy"].append(np.zeros(1, np.int64))

    def append(
        self, vectors: NDArray[np.float16], lengths: NDArray[np.int64], token_ids: NDArray[np.int32] | None
    ) -> None:
        """Add documents: float16 ``[n, dim]``, int64 ``[n_documents]`` and int32 ``[n]`` (-1: not known)."""
        self._writers["vectors.npy"].append(vectors)
        self._writers["token_ids.npy"].append(
            np.full(len(vectors), -1, np.int32) if token_ids is None else token_ids
        )
        self._writers["offsets.npy"].append(self.n_tokens + np.cumsum(lengths))
        self.n_documents += len(lengths)
        self.n_tokens += len(vectors)

    def finish(self) -> SegmentInfo:
        """Make the segment durable under its final name. It counts only once the catalogue names it."""
        layout = _layout(self.n_documents, self.n_tokens, self._dim)
        files = {name: self._writers[name].finish(shape) for name, (_, shape) in layout.items()}
        fsync_folder(self._building)
        self._building.rename(self._path)
        fsync_folder(self._path.parent)
        return SegmentInfo(self.number, self.name, FP16, self.n_documents, self.n_tokens, files)

    def abandon(self) -> None:
        """Delete what was written, unless it is finished: then a commit that failed may yet have reached the
        disk, and only the next writer can tell."""
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self._building, ignore_errors=True)


class Segment:
    """A segment opened for reading, its arrays memory-mapped.

    Attributes
    ----------
    vectors
        float16 ``[n_tokens, dim]``.
    token_ids
        int32 ``[n_tokens]``, -1 where not known.
    offsets
        int64 ``[n_documents + 1]``, in memory and checked in full: a wrong one would read out of bounds.

    Raises
    ------
    DamagedIndexError
        If a file is missing, is a link, or has another size or header than the catalogue says.
    """

    def __init__(self, folder: Path, info: SegmentInfo, dim: int) -> None:
        if info.codec != FP16:
            raise DamagedIndexError(f"segment {info.name!r} has an unknown codec, {info.codec!r}; {_REMEDY}")
        if info.n_documents < 0 or info.n_tokens < 0:
            raise DamagedIndexError(f"index.db: segment {info.name!r} has impossible counts; {_REMEDY}")
        if not _NAME.fullmatch(info.name) or folder.is_symlink() or (folder / info.name).is_symlink():
            raise DamagedIndexError(f"segment {info.name!r} doesn't lie in {folder}; {_REMEDY}")
        self.info = info
        self._path = folder / info.name
        arrays = {
            name: self._map(name, dtype, shape)
            for name, (dtype, shape) in _layout(info.n_documents, info.n_tokens, dim).items()
        }
        self.vectors: NDArray[np.float16] = arrays["vectors.npy"]
        self.token_ids: NDArray[np.int32] = arrays["token_ids.npy"]
        self.offsets: NDArray[np.int64] = np.array(arrays["offsets.npy"])
        if (
            self.offsets[0] != 0
            or self.offsets[-1] != info.n_tokens
            or np.any(self.offsets[1:] < self.offsets[:-1])
        ):
            raise DamagedIndexError(f"{self._path / 'offsets.npy'} is damaged; {_REMEDY}")

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        path = self._path / name
        expected = _HEADER_BYTES + math.prod(shape) * np.dtype(dtype).itemsize
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise DamagedIndexError(f"{path} is not a plain file; {_REMEDY}")
                if not status.st_size == expected == self.info.files[name]["bytes"]:
                    raise DamagedIndexError(
                        f"{path} has {status.st_size} bytes instead of {expected}; {_REMEDY}"
                    )
                if file.read(_HEADER_BYTES) != _header(dtype, shape):
                    raise DamagedIndexError(f"{path} has a damaged header; {_REMEDY}")
                # As a plain array, for which numba has compiled its kernels.
                return np.memmap(file, dtype, "r", _HEADER_BYTES, shape).view(np.ndarray)
        except (OSError, KeyError) as error:
            raise DamagedIndexError(f"{path} can't be read: {error}; {_REMEDY}") from error

    def problems(self) -> list[str]:
        """Read everything; which files don't match their checksums."""
        found = []
        for name, facts in self.info.files.items():
            crc32 = 0
            with (self._path / name).open("rb") as file:
                file.seek(_HEADER_BYTES)
                while chunk := file.read(_CHUNK_BYTES):
                    crc32 = zlib.crc32(chunk, crc32)
            if crc32 != facts["crc32"]:
                found.append(f"{self._path / name} doesn't match its checksum")
        return found


def parse_files(value: Mapping[str, Mapping[str, Any]]) -> FileFacts:
    """The ``files`` column of a segment, with its types checked."""
    return {
        name: {"bytes": int(facts["bytes"]), "crc32": int(facts["crc32"])} for name, facts in value.items()
    }
