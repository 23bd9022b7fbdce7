"""Vectors of a sync that isn't committed yet, so that one that was killed need not encode them again.

They lie in the index's folder ``sync``, beside what the last sync could not read, and count for nothing: what
is damaged, or of another model, is passed over. The format is described in ``indexes/FORMAT.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..datatypes import TokenEmbeddings
from ..errors import DamagedIndexError, IndexLockedError
from ..platform.plain_files import open_regular
from .access import refused_to_write
from .catalogue.lock import WriterLock

__all__ = ["Spool", "Waiting", "read_refusals", "sweep_spool", "sync_folder", "sync_lock", "write_refusals"]

_FOLDER, _LOCK, _VECTORS, _REFUSALS = "sync", "lock", "vectors", "refused.json"
_MAGIC = b"LFM2SPL1"
_HEAD = struct.Struct("<8sI32s")
_RECORD = struct.Struct("<16sIII")
"""Key, number of vectors, whether their token ids follow, CRC-32 of these and of what follows."""
_MOST_VECTORS = 1 << 24
_MOST_BYTES = 8 << 30
"""How large the file gets: what is encoded beyond would be encoded again."""
_MOST_REFUSALS = 16 << 20
_CELLS = 2


def sync_folder(index: Path) -> Path:
    """The folder of an index in which its syncs leave what they need; made if it isn't there.

    Raises
    ------
    DamagedIndexError
        If something else lies in its place.
    IndexWriteError
        If it can't be made.
    """
    folder = index / _FOLDER
    try:
        folder.mkdir(exist_ok=True)
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder
    except FileExistsError:
        pass
    except OSError as error:
        raise refused_to_write(folder, error) from error
    raise DamagedIndexError(f"{folder} is no folder; somebody put it there: remove it")


def sync_lock(index: Path, timeout: float) -> WriterLock:
    """One sync of an index at a time; see `WriterLock`."""
    return WriterLock(sync_folder(index) / _LOCK, timeout)


class Spool:
    """Vectors by key of a passage, appended to a file.

    Parameters
    ----------
    index
        The index's folder; its `sync_lock` is held.
    identity
        Of the encoder: vectors of another one are dropped.
    dim
        How wide they are.
    most_bytes
        How large the file may get.

    Attributes
    ----------
    failure
        Why nothing is kept any more, such as a full disk; None if it is.
    """

    def __init__(
        self, index: Path, identity: Mapping[str, Any], dim: int, most_bytes: int = _MOST_BYTES
    ) -> None:
        self.failure: OSError | None = None
        self._path = sync_folder(index) / _VECTORS
        self._dim = dim
        self._most = most_bytes
        self._places: dict[bytes, int] = {}
        text = json.dumps(dict(identity), sort_keys=True, default=str)
        self._head = _HEAD.pack(_MAGIC, dim, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        self._end = 0
        self._file = -1
        try:
            self._file = open_regular(self._path, os.O_RDWR | os.O_CREAT)
            self._scan()
        except OSError as error:
            self._fail(error)

    def __len__(self) -> int:
        return len(self._places)

    def _scan(self) -> None:
        """Find the records; what comes behind the last whole one is cut off."""
        size = os.fstat(self._file).st_size
        if os.pread(self._file, _HEAD.size, 0) != self._head:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, self._head, 0)
            size = 0
        at = _HEAD.size
        while at + _RECORD.size <= size:
            key, n_vectors, with_ids, _ = _RECORD.unpack(os.pread(self._file, _RECORD.size, at))
            end = at + _RECORD.size + self._length(n_vectors, with_ids)
            if n_vectors > _MOST_VECTORS or with_ids > 1 or end > size:
                break
            self._places[key] = at
            at = end
        os.ftruncate(self._file, at)
        self._end = at

    def _length(self, n_vectors: int, with_ids: int) -> int:
        return n_vectors * (self._dim * _CELLS + (4 if with_ids else 0))

    def get(self, keys: Sequence[str]) -> list[TokenEmbeddings | None]:
        """Of each key its vectors; None where there are none, or not as they were put."""
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> TokenEmbeddings | None:
        at = self._places.get(bytes.fromhex(key))
        if at is None or self._file < 0:
            return None
        try:
            head = os.pread(self._file, _RECORD.size, at)
            found, n_vectors, with_ids, crc32 = _RECORD.unpack(head)
            length = self._length(n_vectors, with_ids)
            data = os.pread(self._file, length, at + _RECORD.size)
        except (OSError, struct.error):
            return None
        if len(data) != length or zlib.crc32(data, zlib.crc32(head[:-4])) != crc32 or found.hex() != key:
            return None
        n_bytes = n_vectors * self._dim * _CELLS
        vectors = np.frombuffer(data[:n_bytes], "<f2").reshape(n_vectors, self._dim)
        if not np.isfinite(vectors).all():
            return None
        ids = np.frombuffer(data[n_bytes:], "<i4") if with_ids else None
        return TokenEmbeddings(vectors, np.array([0, n_vectors], np.int64), ids)

    def put(self, keys: Sequence[str], embeddings: TokenEmbeddings) -> None:
        """Keep vectors, one text a key. Where that fails, nothing is kept from then on."""
        if self.failure is not None or self._file < 0:
            return
        ids = embeddings.token_ids
        for number, key in enumerate(keys):
            start, end = int(embeddings.offsets[number]), int(embeddings.offsets[number + 1])
            data = np.ascontiguousarray(embeddings.embeddings[start:end], "<f2").tobytes()
            if ids is not None:
                data += np.ascontiguousarray(ids[start:end], "<i4").tobytes()
            head = _RECORD.pack(bytes.fromhex(key), end - start, int(ids is not None), 0)[:-4]
            record = head + struct.pack("<I", zlib.crc32(data, zlib.crc32(head))) + data
            if self._end + len(record) > self._most:
                return
            try:
                self._append(record)
            except OSError as error:
                self._fail(error)
                return
            self._places[bytes.fromhex(key)] = self._end - len(record)

    def _append(self, record: bytes) -> None:
        rest, at = memoryview(record), self._end
        while rest:
            written = os.pwrite(self._file, rest, at)
            rest, at = rest[written:], at + written
        self._end = at

    def _fail(self, error: OSError) -> None:
        """Keep nothing any more, and give back what room half a record takes."""
        self.failure = error
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)

    def remove(self) -> None:
        """Forget all of it, as it was committed."""
        self.close()
        with suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Leave it to the next sync."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class Waiting:
    """Records that wait for the writer lock, in the order they came, in a file without a name.

    Parameters
    ----------
    index
        The index's folder, on whose disk they lie until this is closed.
    """

    def __init__(self, index: Path) -> None:
        self._folder = sync_folder(index)
        try:
            self._file = TemporaryFile(dir=self._folder)  # noqa: SIM115
        except OSError as error:
            raise refused_to_write(self._folder, error) from error

    def put(self, record: bytes) -> None:
        """Add one.

        Raises
        ------
        IndexWriteError
            If it can't be kept, as on a full disk.
        """
        try:
            self._file.write(struct.pack("<Q", len(record)))
            self._file.write(record)
        except OSError as error:
            raise refused_to_write(self._folder, error) from error

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._file.seek(0)  # writes what is left in the buffer
        except OSError as error:
            raise refused_to_write(self._folder, error) from error
        while head := self._file.read(8):
            yield self._file.read(*struct.unpack("<Q", head))

    def close(self) -> None:
        """Forget them."""
        with suppress(OSError):
            self._file.close()


def sweep_spool(index: Path) -> None:
    """Delete what killed syncs left, unless one runs."""
    if not (index / _FOLDER / _VECTORS).exists():
        return
    with suppress(IndexLockedError, DamagedIndexError, OSError), sync_lock(index, 0.0):
        (index / _FOLDER / _VECTORS).unlink()


def read_refusals(index: Path) -> dict[str, tuple[str, str, str]]:
    """Of files that gave nothing: path → version, reason, what else is known. What is damaged is no error."""
    try:
        file = open_regular(index / _FOLDER / _REFUSALS)
        with os.fdopen(file, "rb") as stream:
            values = json.loads(stream.read(_MOST_REFUSALS))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {
        path: (one[0], one[1], one[2])
        for path, one in values.items()
        if isinstance(one, list) and len(one) == 3 and all(isinstance(part, str) for part in one)
    }


def write_refusals(index: Path, refusals: Mapping[str, Sequence[str]]) -> None:
    """Note files that gave nothing. Where that fails, they are tried again the next time."""
    path = sync_folder(index) / _REFUSALS
    data = json.dumps({name: list(one) for name, one in refusals.items()}).encode("ascii")
    if len(data) > _MOST_REFUSALS:
        return
    new = path.with_name(f"{_REFUSALS}.new")
    with suppress(OSError):
        if not refusals:
            path.unlink(missing_ok=True)
            return
        new.unlink(missing_ok=True)
        file = open_regular(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        new.replace(path)
