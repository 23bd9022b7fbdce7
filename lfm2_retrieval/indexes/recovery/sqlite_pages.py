"""SQLite's pages read by hand: what is left of a catalogue that SQLite itself gives up on.

After the description of its file format (https://www.sqlite.org/fileformat2.html). Nothing here is trusted: a
cell that makes no sense is left out, and callers hold every row to its checksum.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...platform.plain_files import is_regular, read_regular

__all__ = ["Cell", "Pages"]

_PAGE_BYTES = 4096  # SQLite's default, for files that don't say it any more
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER, _FRAME_HEADER = 32, 24

Value = int | float | str | bytes | None


class Cell(NamedTuple):
    """A row: of a table with its number, of an index (or a table without row numbers) without."""

    row: int | None
    values: tuple[Value, ...]


class Pages:
    """The pages of a database file, and over them those of its journal up to its last commit.

    Parameters
    ----------
    path
        The database; its journal is ``PATH-wal``. Both are only read.

    Attributes
    ----------
    problems
        What is wrong with the journal.
    """

    def __init__(self, path: Path) -> None:
        with read_regular(path) as file:
            empty = not os.fstat(file.fileno()).st_size
            self._data: bytes | mmap.mmap = b"" if empty else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        size = int.from_bytes(self._data[16:18], "big")
        size = 65536 if size == 1 else size
        self.size = size if size >= 512 and not size & size - 1 else _PAGE_BYTES
        self._count = -(-len(self._data) // self.size)
        self._newer: dict[int, bytes] = {}
        self.problems: list[str] = []
        journal = path.with_name(path.name + "-wal")
        if is_regular(journal):
            with read_regular(journal) as file:
                self._overlay(file.read())

    def _overlay(self, data: bytes) -> None:
        """The journal's pages up to its last commit, also where they don't match their checksums: rows have
        checksums of their own, and SQLite leaves out everything from the first such page on."""
        if len(data) < _WAL_HEADER or int.from_bytes(data[:4], "big") not in _WAL_MAGIC:
            return
        salts, waiting = data[16:24], {}
        step = _FRAME_HEADER + self.size
        order = "<" if int.from_bytes(data[:4], "big") == _WAL_MAGIC[0] else ">"
        sums = _sums(data[:24], order, (0, 0))
        matches = sums == struct.unpack(">2I", data[24:32])
        for start in range(_WAL_HEADER, len(data) - step + 1, step):
            number, count = struct.unpack_from(">2I", data, start)
            if data[start + 8 : start + 16] != salts or not number:
                break
            waiting[number] = data[start + _FRAME_HEADER : start + step]
            sums = _sums(data[start : start + 8], order, sums)
            sums = _sums(waiting[number], order, sums)
            matches &= sums == struct.unpack_from(">2I", data, start + 16)
            if count:
                if not matches and not self.problems:
                    self.problems.append("its journal doesn't match its checksums")
                self._newer |= waiting
                self._count, waiting = min(count, self._count + len(self._newer)), {}

    def __getitem__(self, number: int) -> bytes:
        """A page, from 1.

        Raises
        ------
        IndexError
            If there is none of that number.
        """
        if not 1 <= number <= self._count:
            raise IndexError(number)
        newer = self._newer.get(number)
        return self._data[(number - 1) * self.size : number * self.size] if newer is None else newer

    def save(self, path: Path) -> None:
        """Write it all as a database without a journal."""
        with path.open("wb") as file:
            for number in range(1, self._count + 1):
                page = self[number]
                # Bytes 18 and 19 say that there is a journal.
                file.write(page[:18] + b"\x01\x01" + page[20:] if number == 1 else page)

    def cells(self) -> Iterator[Cell]:
        """The rows on all pages that are in use, as far as they can be read."""
        free = self._free()
        for number in range(1, self._count + 1):
            if number in free:
                continue
            page = self[number]
            head = 100 if number == 1 else 0
            if len(page) < head + 12 or page[head] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
                continue
            pointers = head + (12 if page[head] == _INDEX_INTERIOR else 8)
            for at in range(pointers, pointers + 2 * int.from_bytes(page[head + 3 : head + 5], "big"), 2):
                try:
                    yield self._cell(page, page[head], int.from_bytes(page[at : at + 2], "big"))
                except (IndexError, ValueError, struct.error):
                    continue

    def _free(self) -> set[int]:
        """The pages that are no longer in use, as far as the list of them can be read."""
        found: set[int] = set()
        try:
            trunk = int.from_bytes(self[1][32:36], "big")
            while trunk and trunk not in found:
                page = self[trunk]
                found.add(trunk)
                count = min(int.from_bytes(page[4:8], "big"), self.size // 4 - 2)
                found.update(struct.unpack_from(f">{count}I", page, 8))
                trunk = int.from_bytes(page[:4], "big")
        except (IndexError, struct.error):
            pass
        return found

    def _cell(self, page: bytes, kind: int, at: int) -> Cell:
        row = None
        if kind == _INDEX_INTERIOR:
            at += 4
        length, at = _varint(page, at)
        if kind == _TABLE_LEAF:
            row, at = _varint(page, at)
            most = self.size - 35
        else:
            most = (self.size - 12) * 64 // 255 - 23
        return Cell(row, _record(self._payload(page, at, length, most)))

    def _payload(self, page: bytes, at: int, length: int, most: int) -> bytes:
        """What a cell holds, on its own page and on those that it overflows to."""
        if length <= most:
            data = page[at : at + length]
        else:
            least = (self.size - 12) * 32 // 255 - 23
            local = least + (length - least) % (self.size - 4)
            local = local if local <= most else least
            parts, left = [page[at : at + local]], length - local
            following = int.from_bytes(page[at + local : at + local + 4], "big")
            while left > 0:
                part = self[following]
                if len(part) <= 4 or len(parts) > self._count:
                    raise ValueError
                parts.append(part[4 : 4 + left])
                left -= len(part) - 4
                following = int.from_bytes(part[:4], "big")
            data = b"".join(parts)
        if len(data) != length:
            raise ValueError
        return data


def _sums(data: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    """The checksum of a journal: two sums, carried on from frame to frame."""
    first, second = before
    for one, other in struct.iter_unpack(order + "2I", data):
        first = first + one + second & 0xFFFFFFFF
        second = second + other + first & 0xFFFFFFFF
    return first, second


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | data[at]
    return value - (1 << 64) if value >> 63 else value, at + 1


_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _record(data: bytes) -> tuple[Value, ...]:
    """The values of a row.

    Raises
    ------
    ValueError, IndexError, struct.error
        If it is none.
    """
    end, at = _varint(data, 0)
    kinds = []
    while at < end:
        kind, at = _varint(data, at)
        kinds.append(kind)
    values: list[Value] = []
    at = end
    for kind in kinds:
        size = _INTEGER_BYTES.get(kind, 8 if kind == 7 else max(0, (kind - 12) // 2))
        piece = data[at : at + size]
        if len(piece) != size or kind in (10, 11):
            raise ValueError
        values.append(_value(kind, piece))
        at += size
    return tuple(values)


def _value(kind: int, piece: bytes) -> Value:
    if kind == 0:
        return None
    if kind in _INTEGER_BYTES:
        return int.from_bytes(piece, "big", signed=True)
    if kind == 7:
        return float(struct.unpack(">d", piece)[0])
    if kind in (8, 9):
        return kind - 8
    return piece.decode() if kind % 2 else piece
