"""What a build keeps of itself until it is done: its plan, and which parts of the source it has seen."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidInputError, StoredIndexError, remedy
from .manifest import write_atomically
from .stages import Plan

__all__ = ["Ledger", "Line", "settled_plan"]


class Line(NamedTuple):
    """A part that is encoded: its number and digest, documents, vectors, and texts that were cut."""

    number: int
    digest: str
    n_documents: int
    n_tokens: int
    n_cut: int


class Ledger:
    """The parts that were encoded, a line each, kept after the parts themselves were deleted.

    Parameters
    ----------
    path
        Of the file; made if it isn't there.
    """

    def __init__(self, path: Path) -> None:
        self.lines: dict[int, Line] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    parsed = Line(*json.loads(line))
                except (ValueError, TypeError):
                    break  # its writer was killed
                if not line.endswith(b"\n"):
                    break
                self.lines[parsed.number] = parsed
                whole += len(line)
        self._file = path.open("ab")
        self._file.truncate(whole)

    def add(self, line: Line) -> None:
        """Keep a line, durably."""
        if line.number in self.lines:
            return
        self.lines[line.number] = line
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def check(self, number: int, digest: str, folder: Path) -> Line | None:
        """What is known of a part.

        Raises
        ------
        StoredIndexError
            If it was another one when the build was begun.
        """
        known = self.lines.get(number)
        if known is not None and known.digest != digest:
            raise StoredIndexError(
                f"the source has changed since the build in {folder} was begun: its part {number} holds "
                "other documents; delete the folder to begin anew, or give the source as it was"
            )
        return known

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def settled_plan(path: Path, wanted: Plan) -> Plan:
    """The plan of a build that was begun; kept as wanted where none was.

    Raises
    ------
    InvalidInputError
        If it was begun otherwise.
    """
    if not path.exists():
        write_atomically(path, json.dumps(asdict(wanted)).encode())
        return wanted
    begun: Mapping[str, Any] = json.loads(path.read_bytes())
    for name, value in json.loads(json.dumps(asdict(wanted))).items():
        if name not in ("uuid", "kernels") and begun.get(name) != value:
            shown = remedy(name, {"n_shards": "--shards"}.get(name, f"--{name}"))
            raise InvalidInputError(
                f"the build in {path.parent.parent} was begun with {shown} {begun.get(name)!r:.200}, and not "
                f"{value!r:.200}: go on as it was begun, or delete the folder to begin anew"
            )
    return Plan(**begun)
