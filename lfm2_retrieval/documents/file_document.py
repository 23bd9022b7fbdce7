"""Documents that were read from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..datatypes import Document
from .structure import Place, Places, Structure

__all__ = ["FileDocument"]

_EMPTY = Structure()


@dataclass(frozen=True, slots=True)
class FileDocument(Document):
    """A document that was read from a file.

    Parameters
    ----------
    id, text, metadata
        As of every :class:`~lfm2_retrieval.Document`.
    source
        The file's absolute path; empty for the standard input. A name that isn't UTF-8 is as `os.fsdecode`
        gives it.
    format
        What the file is: ``markdown``, ``pdf``, ``csv`` …
    structure
        What is known of the text.
    facts
        Whatever else is to be kept with it in an index, as JSON values.
    """

    source: str = ""
    format: str = ""
    structure: Structure = field(default=_EMPTY)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def place(self, start: int = 0, end: int | None = None) -> Place:
        """Where a span of the text lies in the file."""
        return Places(self.text, self.structure).of(start, len(self.text) if end is None else end)
