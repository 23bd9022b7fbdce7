"""Documents from files and folders, and passages of documents.

Everything is streamed: memory holds what is read ahead, one line of a table, or one file at a time, and none
of these may be longer than :data:`MAX_BYTES`. Files are other people's: what native code has to read is read
in a process of its own, in bounds of time and memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .folders import folder_names
from .formats import DocumentFormat
from .lines import MAX_BYTES, STDIN, read_lines
from .reading import Reading, read_documents
from .report import ReadingReport
from .rows import ReadOptions
from .structure import Heading, Place, Region, Structure, TextKind
from .workers import Limits

if TYPE_CHECKING:
    from .file_document import FileDocument
    from .passages import Passage, Passages, TokenCounter, TokenizerCounter, keep_numbers, passage_key, split
    from .reader import DocumentReader, read

# These need NumPy, which a command's help has no use for.
_HOME = {
    "DocumentReader": ".reader",
    "FileDocument": ".file_document",
    "Passage": ".passages",
    "Passages": ".passages",
    "TokenCounter": ".passages",
    "TokenizerCounter": ".passages",
    "keep_numbers": ".passages",
    "passage_key": ".passages",
    "read": ".reader",
    "split": ".passages",
}

__all__ = [
    "MAX_BYTES",
    "STDIN",
    "DocumentFormat",
    "DocumentReader",
    "FileDocument",
    "Heading",
    "Limits",
    "Passage",
    "Passages",
    "Place",
    "ReadOptions",
    "Reading",
    "ReadingReport",
    "Region",
    "Structure",
    "TextKind",
    "TokenCounter",
    "TokenizerCounter",
    "folder_names",
    "keep_numbers",
    "passage_key",
    "read",
    "read_documents",
    "read_lines",
    "split",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
