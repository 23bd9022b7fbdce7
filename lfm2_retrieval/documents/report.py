"""What was read, what was left out and why, which types columns got."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..printable import printable
from .formats import suffix

__all__ = ["CUSTOMARY", "ReadingReport", "storable"]

CUSTOMARY = frozenset(
    (
        "hidden",
        "dependencies or caches",
        "links to what is read anyway",
        "ignored by .gitignore",
        "excluded",
        "not included",
    )
)
"""Reasons for which nobody misses a file."""

_NAMED = 3
_KEPT = 1000
"""How many names are kept of what somebody may miss; of the rest, as many as are shown."""


@dataclass
class _Group:
    count: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)


def storable(path: str) -> str:
    """A path as a text that can be stored and shown, also where its name isn't UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class ReadingReport:
    """What came of the files and folders that were to be read.

    Attributes
    ----------
    files, bytes
        How many were read, and how large they are.
    documents
        How many were in them.
    seconds
        How long reading took, whoever waited for it.
    formats, encodings
        How many documents are of each format, and how many files of text in each encoding.
    text_columns
        Of each table the column of its text.
    types
        Of each table the types that its columns got.
    numeric
        Of each table the columns that stayed text, though all they hold are numbers, as these wouldn't come
        back the same, such as ``007``.
    """

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self.documents = 0
        self.seconds = 0.0
        self.formats: Counter[str] = Counter()
        self.encodings: Counter[str] = Counter()
        self.text_columns: dict[str, str] = {}
        self.types: dict[str, dict[str, str]] = {}
        self.numeric: dict[str, list[str]] = {}
        self._left_out: dict[str, _Group] = {}

    def leave_out(self, name: str, reason: str, detail: str = "") -> None:
        """Count a file that is not read, and keep its name, with what else is known."""
        group = self._left_out.setdefault(reason, _Group())
        group.count += 1
        group.suffixes[suffix(name) or "no extension"] += 1
        if len(group.names) < (_NAMED if reason in CUSTOMARY else _KEPT):
            shown = storable(name)
            group.names.append(f"{shown} ({detail})" if detail else shown)

    @property
    def left_out(self) -> int:
        """How many files and folders were left out."""
        return sum(group.count for group in self._left_out.values())

    @property
    def missed(self) -> int:
        """How many of these somebody may miss: all but hidden ones and the like."""
        return sum(group.count for reason, group in self._left_out.items() if reason not in CUSTOMARY)

    def summary(self) -> str | None:
        """What was left out in a line; None if nothing was."""
        if not self._left_out:
            return None
        parts = []
        for reason, group in sorted(self._left_out.items(), key=lambda item: -item[1].count):
            kinds = ", ".join(f"{count} {name}" for name, count in group.suffixes.most_common(5))
            more = len(group.suffixes) - 5
            kinds += f" and {more} other kinds" if more > 0 else ""
            named = group.names[:_NAMED]
            names = ", ".join(map(printable, named)) + (" …" if group.count > len(named) else "")
            parts.append(f"{group.count:,} {reason} ({kinds}: {names})")
        return f"{self.left_out:,} left out, {self.files:,} read: {'; '.join(parts)}"

    def types_summary(self) -> list[str]:
        """A line for each table: its columns that are no text, and those that could be meant as numbers."""
        lines = []
        for name, types in self.types.items():
            typed = ", ".join(f"{column} {type}" for column, type in types.items() if type != "str")
            kept = ", ".join(self.numeric.get(name, ()))
            parts = [f"{typed}; all else is text"] if typed else []
            if kept:
                parts.append(
                    f"{kept} stayed text, as the numbers there would not come back as they are written "
                    f"(--types {self.numeric[name][0]}=float reads them as numbers)"
                )
            if parts:
                lines.append(f"{name}: {'; '.join(parts)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "documents": self.documents,
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "formats": dict(self.formats.most_common()),
            "encodings": dict(self.encodings.most_common()),
            "text_columns": self.text_columns,
            "left_out": {
                "count": self.left_out,
                "reasons": {
                    reason: {
                        "count": group.count,
                        "extensions": dict(group.suffixes.most_common()),
                        "names": group.names,
                    }
                    for reason, group in self._left_out.items()
                },
            },
            "types": self.types,
        }
