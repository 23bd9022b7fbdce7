"""A note, outside of the catalogue, of the newest commit: SQLite forgets commits when its journal is damaged.

From the first frame that doesn't match its checksum it leaves out all that follows, and it doesn't miss a
journal that isn't there. The note is written after commits, not synced: it may be old, never too new.
"""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

from ...platform.plain_files import open_regular

__all__ = ["read_newest", "write_newest"]

_NAME = "newest"
_NOTE = re.compile(rb"([0-9a-f]{32}) ([0-9]{1,19}) ([0-9a-f]{8})\n")


def write_newest(folder: Path, identity: str, commit: int) -> None:
    """Note the newest commit of an index; where that isn't possible, there is no note."""
    with suppress(OSError):
        file = open_regular(folder / _NAME, os.O_WRONLY | os.O_CREAT)
        try:
            note = f"{identity} {commit} ".encode()
            os.pwrite(file, note + b"%08x\n" % zlib.crc32(note), 0)
        finally:
            os.close(file)


def read_newest(folder: Path, identity: str) -> int:
    """The newest commit that there was, as far as is known; 0 if nothing is."""
    with suppress(OSError):
        file = open_regular(folder / _NAME)
        try:
            note = os.pread(file, 80, 0)
        finally:
            os.close(file)
        found = _NOTE.match(note)
        if (
            found
            and found[1].decode() == identity
            and zlib.crc32(note[: found.end(2) + 1]) == int(found[3], 16)
        ):
            return int(found[2])
    return 0
