"""Folders of ``.npy`` files, each written once, checked when opened and memory-mapped."""

from __future__ import annotations

import math
import mmap
import os
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DamagedIndexError, StoredIndexError
from ...platform.plain_files import is_hollow, read_regular
from ..access import REMEDY, unreadable
from .files import _NAME, fsync_folder

__all__ = [
    "HEADER_BYTES",
    "REMEDY",
    "ArrayFolder",
    "FileFacts",
    "FolderBuilder",
    "Shapes",
    "document_checksums",
    "header",
    "parse_files",
]

HEADER_BYTES = 128

_CHUNK_BYTES = 1 << 24
_FILE = re.compile(r"[a-z0-9_]{1,40}\.npy")

FileFacts = dict[str, dict[str, int]]
"""Of each file: ``bytes`` (all of it) and ``crc32`` (of what follows the header)."""
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Of each file: dtype and shape."""


def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of an ``.npy`` file (version 1.0), padded to a fixed size so that it can be written last."""
    facts = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    prefix = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return prefix + facts.ljust(HEADER_BYTES - 11) + b"\n"


def parse_files(value: Mapping[str, Mapping[str, Any]]) -> FileFacts:
    """The ``files`` column of a segment or a codec, with its types checked.

    Raises
    ------
    AttributeError, KeyError, TypeError, ValueError
        If it is something else.
    """
    for name, facts in value.items():
        if not _FILE.fullmatch(name):  # what leads elsewhere would be copied from there, and to there
            raise ValueError(name)
        if type(facts["bytes"]) is not int or type(facts["crc32"]) is not int:
            raise ValueError(facts)
    return {name: {"bytes": facts["bytes"], "crc32": facts["crc32"]} for name, facts in value.items()}


def document_checksums(
    keys: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    arrays: Sequence[NDArray[Any]],
) -> NDArray[np.uint32]:
    """What tells which documents of a damaged segment are as they were written.

    Parameters
    ----------
    keys, starts, ends
        int64 ``[n]``: the documents, and their tokens.
    arrays
        C-contiguous, little-endian, with a row for each token.

    Returns
    -------
    NDArray
        uint32 ``[n, len(arrays)]``: the CRC-32 of a document's key and of its rows in one of the arrays.
    """
    found = np.empty((len(keys), len(arrays)), np.uint32)
    heads = [zlib.crc32(key.tobytes()) for key in keys.astype("<i8")]
    for column, array in enumerate(arrays):
        data = array.reshape(-1).view(np.uint8).data
        width = len(data) // max(len(array), 1)
        ranges = zip(heads, (starts * width).tolist(), (ends * width).tolist(), strict=True)
        found[:, column] = [zlib.crc32(data[start:end], head) for head, start, end in ranges]
    return found


class _ArrayWriter:
    """An ``.npy`` file that grows at its end; its header is written when its length is known."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._file = path.open("xb")
        self._file.write(bytes(HEADER_BYTES))
        self._dtype = dtype
        self._crc32 = 0

    def append(self, array: NDArray[Any]) -> None:
        data = np.ascontiguousarray(array, dtype=self._dtype).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self._crc32 = zlib.crc32(data, self._crc32)

    def rows(self, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        self._file.flush()
        n, begin = math.prod(shape), first * math.prod(shape[1:]) * np.dtype(self._dtype).itemsize
        return np.fromfile(self._file.name, self._dtype, n, offset=HEADER_BYTES + begin).reshape(shape)

    def finish(self, shape: tuple[int, ...]) -> dict[str, int]:
        size = self._file.tell()
        self._file.seek(0)
        self._file.write(header(self._dtype, shape))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {"bytes": size, "crc32": self._crc32}

    def close(self) -> None:
        """Close a file that is given up: what it can't take any more doesn't matter."""
        with suppress(OSError):
            self._file.close()


class FolderBuilder:
    """Writes arrays to a folder that doesn't count yet, in memory that doesn't grow with them.

    Parameters
    ----------
    building
        The folder; it is made.
    """

    def __init__(self, building: Path) -> None:
        self._building = building
        self._building.mkdir()
        self._writers: dict[str, _ArrayWriter] = {}

    def write(self, name: str, dtype: str, array: NDArray[Any]) -> None:
        """Append to a file, which begins with the first call for it."""
        if name not in self._writers:
            self._writers[name] = _ArrayWriter(self._building / name, dtype)
        self._writers[name].append(array)

    def rows(self, name: str, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """What was written to a file from a row on, read again and not mapped: maps stay in memory."""
        return self._writers[name].rows(first, shape)

    def complete(self, shapes: Shapes) -> FileFacts:
        """Make the files durable where they are."""
        files = {name: self._writers[name].finish(shape) for name, (_, shape) in shapes.items()}
        fsync_folder(self._building)
        return files

    def place(self, path: Path) -> None:
        """Make the complete folder durable under another name. It counts once the catalogue names it."""
        self._building.rename(path)
        fsync_folder(path.parent)

    def abandon(self) -> None:
        """Delete what was written, unless it has its place: then a commit that failed may yet have reached
        the disk, and only the next writer can tell."""
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self._building, ignore_errors=True)


def _map_of(array: NDArray[Any]) -> mmap.mmap | None:
    """What an array of an `ArrayFolder` is a view of, from the file's beginning on; None if it is empty."""
    mapped: Any = array.base
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    return mapped


class ArrayFolder:
    """A folder of arrays, memory-mapped: sizes and headers are checked at once, the bytes by `problems`.

    Parameters
    ----------
    folder, name
        Where it lies.
    files
        What the catalogue says of its files.
    shapes
        The arrays to be found there.

    Raises
    ------
    DamagedIndexError
        If a file is missing, is a link, or has another size or header than the catalogue says.
    IndexAccessError
        If the system refuses to open or to map one.
    """

    def __init__(self, folder: Path, name: str, files: FileFacts, shapes: Shapes) -> None:
        if not _NAME.fullmatch(name) or folder.is_symlink() or (folder / name).is_symlink():
            raise DamagedIndexError(f"{name!r} doesn't lie in {folder}; {REMEDY}")
        self.path = folder / name
        self.files = files
        self._index = folder.parent
        self._shapes = shapes
        self.arrays = {file: self._map(file, dtype, shape) for file, (dtype, shape) in shapes.items()}

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        path = self.path / name
        expected = HEADER_BYTES + math.prod(shape) * np.dtype(dtype).itemsize
        try:
            with read_regular(path) as file:
                status = os.fstat(file.fileno())
                if not status.st_size == expected == self.files[name]["bytes"]:
                    raise DamagedIndexError(
                        f"{path} has {status.st_size} bytes instead of {expected}; {REMEDY}"
                    )
                if is_hollow(status):
                    raise DamagedIndexError(f"{path} is nothing but a hole; {REMEDY}")
                if file.read(HEADER_BYTES) != header(dtype, shape):
                    raise DamagedIndexError(f"{path} has a damaged header; {REMEDY}")
                # As a plain array, for which numba has compiled its kernels.
                return np.memmap(file, dtype, "r", HEADER_BYTES, shape).view(np.ndarray)
        except DamagedIndexError:
            raise
        except (KeyError, ValueError) as error:  # unknown to the catalogue; cut short meanwhile
            raise DamagedIndexError(f"{path} isn't what index.db says: {error}; {REMEDY}") from error
        except OSError as error:
            raise unreadable(path, error, self._index) from error

    def release(self) -> None:
        """Take what was read out of this process's memory; the system may keep it, and it is read again."""
        for array in self.arrays.values():
            mapped = _map_of(array)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def prefetch(self, name: str, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Have the system read ranges of rows, all at once, before somebody touches them.

        Touched one after another, each would wait for the disk, and the system reads far more around each
        than is needed: with too little memory for the whole file, what it reads so drives out what is.

        Parameters
        ----------
        name
            The file.
        starts, ends
            int64 ``[n]``.
        """
        array = self.arrays[name]
        mapped = _map_of(array)
        if mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        width = array.nbytes // max(len(array), 1)
        firsts = (HEADER_BYTES + starts * width) // mmap.PAGESIZE * mmap.PAGESIZE
        lengths = HEADER_BYTES + ends * width - firsts
        with suppress(OSError):  # advice
            for first, length in zip(firsts.tolist(), lengths.tolist(), strict=True):
                mapped.madvise(mmap.MADV_WILLNEED, first, length)

    def check(self) -> None:
        """Hold everything to its checksum, before it is copied and gets new ones.

        Raises
        ------
        DamagedIndexError
            Naming what doesn't match.
        """
        if problems := self.problems():
            raise DamagedIndexError(f"{'; '.join(problems)}; {REMEDY}")

    def problems(self) -> list[str]:
        """Read everything; which files are missing or don't match their checksums.

        Raises
        ------
        IndexAccessError
            If nothing of this was found, but the system refused to read a file.
        """
        found: list[str] = []
        refusal: StoredIndexError | None = None
        for name, shape in self._shapes.items():
            crc32 = 0
            try:
                with read_regular(self.path / name) as file:
                    begin = file.read(HEADER_BYTES)
                    while chunk := file.read(_CHUNK_BYTES):
                        crc32 = zlib.crc32(chunk, crc32)
            except OSError as error:
                refusal = unreadable(self.path / name, error, self._index)
                if isinstance(refusal, DamagedIndexError):
                    found.append(str(refusal))
                    refusal = None
                continue
            if begin != header(*shape) or crc32 != self.files[name]["crc32"]:
                found.append(f"{self.path / name} doesn't match its checksum")
        if refusal is not None and not found:
            raise refusal
        return found
