"""Documents from files and folders: JSON Lines in BEIR layout, CSV, TSV, plain text, gzipped or not.

Everything is streamed: memory holds one line of a table, or one text file, at a time, and neither may be
longer than :data:`MAX_BYTES`.
"""

from __future__ import annotations

from .folders import folder_names
from .formats import DocumentFormat
from .lines import MAX_BYTES, STDIN, read_lines
from .reading import Reading, read_documents
from .report import Report
from .rows import ReadOptions

__all__ = [
    "MAX_BYTES",
    "STDIN",
    "DocumentFormat",
    "ReadOptions",
    "Reading",
    "Report",
    "folder_names",
    "read_documents",
    "read_lines",
]
