"""Which files are read, and how, by their names."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

__all__ = ["DEPENDENCIES", "TABLES", "DocumentFormat", "format_of", "is_readable", "suffix"]


class DocumentFormat(StrEnum):
    """How a file holds documents."""

    JSONL = "jsonl"
    """One JSON object a line: ``_id`` or ``id``, ``text``, perhaps ``title``; other keys are metadata.

    An id is a string, or a whole number, which counts as its digits. A ``.json`` file is a list of such
    objects.
    """
    CSV = "csv"
    """With a header of the same names, separated by commas, or by what the header's names are."""
    TSV = "tsv"
    """The same with tabs."""
    TEXT = "text"
    """One document a file."""
    LINES = "lines"
    """One document a line."""


TABLES = {
    **dict.fromkeys((".jsonl", ".ndjson"), DocumentFormat.JSONL),
    ".csv": DocumentFormat.CSV,
    ".tsv": DocumentFormat.TSV,
}
"""Files of many documents."""

_TEXTS = frozenset(
    f".{name}"
    for names in (
        "txt text md mdx markdown mdown mkd rst adoc asciidoc org tex bib log srt vtt wiki textile rmd qmd",
        "yaml yml toml ini cfg conf properties json proto graphql sql diff patch",
        "py pyi js mjs cjs jsx ts tsx vue svelte c h cc cpp cxx hpp hh cs java kt kts scala go rs rb php pl",
        "pm r jl swift m mm lua sh bash zsh fish ps1 bat cmake gradle groovy hs ml mli ex exs erl clj fs vb",
        "dart zig nim f f90 asm s v vhdl tf css scss less el lisp scm",
    )
    for name in names.split()
)
"""Of prose, settings and source code."""

DEPENDENCIES = frozenset(("node_modules", "__pycache__", "site-packages"))
"""Folders that hold what others wrote or tools made."""


def suffix(name: str) -> str:
    """A file's extension, in small letters, without ``.gz``."""
    return Path(name.lower().removesuffix(".gz")).suffix


def format_of(name: str, *, alone: bool) -> DocumentFormat | None:
    """The format that a name tells; None if it tells none.

    ``alone``: the file was named itself, so that ``.json`` is expected to hold documents. In a folder it is a
    text like any other.
    """
    found = suffix(name)
    if alone and found == ".json":
        return DocumentFormat.JSONL
    return TABLES.get(found) or (DocumentFormat.TEXT if found in _TEXTS else None)


def is_readable(name: str, format: DocumentFormat) -> bool:
    """Whether a file of a folder is one of a given format."""
    if format in (DocumentFormat.TEXT, DocumentFormat.LINES):
        return suffix(name) in _TEXTS or not suffix(name)
    return TABLES.get(suffix(name)) is format
