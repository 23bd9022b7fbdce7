"""Which files are read, and how, by their names."""

from __future__ import annotations

from enum import StrEnum
from os.path import splitext

__all__ = [
    "DEPENDENCIES",
    "TABLES",
    "DocumentFormat",
    "format_of",
    "is_readable",
    "rich_format",
    "suffix",
    "text_kind",
]


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
    PARQUET = "parquet"
    """One document a row, as of CSV."""
    RICH = "rich"
    """One document a file that a parser reads: PDF, Office, books, web pages, mail."""


TABLES = {
    **dict.fromkeys((".jsonl", ".ndjson"), DocumentFormat.JSONL),
    ".csv": DocumentFormat.CSV,
    ".tsv": DocumentFormat.TSV,
    ".parquet": DocumentFormat.PARQUET,
}
"""Files of many documents."""

_RICH = {
    **{
        f".{name}": name
        for name in ("pdf", "docx", "pptx", "xlsx", "ods", "odt", "rtf", "epub", "html", "eml", "msg")
    },
    **dict.fromkeys((".docm", ".dotx", ".dotm"), "docx"),
    **dict.fromkeys((".pptm", ".ppsx", ".potx"), "pptx"),
    **dict.fromkeys((".xlsm", ".xltx"), "xlsx"),
    **dict.fromkeys((".htm", ".xhtml"), "html"),
    # of an older kind, but some hold what the newer ones do
    **{f".{name}": f"{name}x" for name in ("doc", "ppt", "xls")},
}

_PROSE = {
    **dict.fromkeys((".md", ".mdx", ".markdown", ".mdown", ".mkd", ".rmd", ".qmd"), "markdown"),
    **dict.fromkeys((".adoc", ".asciidoc"), "asciidoc"),
    ".rst": "rst",
    ".tex": "latex",
    ".org": "org",
    ".ipynb": "notebook",
}
_CODE_NAMES = (
    "py pyi js mjs cjs jsx ts tsx vue svelte c h cc cpp cxx hpp hh cs java kt kts scala go rs rb php pl "
    "pm r jl swift m mm lua sh bash zsh fish ps1 bat cmake gradle groovy hs ml mli ex exs erl clj fs vb "
    "dart zig nim f f90 asm s v vhdl tf css scss less el lisp scm sql proto graphql"
)
_CODE = frozenset(f".{name}" for name in _CODE_NAMES.split())

_TEXTS = frozenset(
    f".{name}"
    for names in (
        "txt text md mdx markdown mdown mkd rst adoc asciidoc org tex bib log srt vtt wiki textile rmd qmd",
        "yaml yml toml ini cfg conf properties json diff patch",
        _CODE_NAMES,
        "ipynb",
    )
    for name in names.split()
)
"""Of prose, settings and source code."""

DEPENDENCIES = frozenset(("node_modules", "__pycache__", "site-packages"))
"""Folders that hold what others wrote or tools made."""


def suffix(name: str) -> str:
    """A file's extension, in small letters, without ``.gz``."""
    found = splitext(name.lower().removesuffix(".gz"))[1]  # noqa: PTH122  (called for each file)
    return found if len(found) > 1 else ""


def format_of(name: str, *, alone: bool) -> DocumentFormat | None:
    """The format that a name tells; None if it tells none.

    ``alone``: the file was named itself, so that ``.json`` is expected to hold documents. In a folder it is a
    text like any other.
    """
    found = suffix(name)
    if alone and found == ".json":
        return DocumentFormat.JSONL
    if found in _RICH and not name.lower().endswith(".gz"):
        return DocumentFormat.RICH
    return TABLES.get(found) or (DocumentFormat.TEXT if found in _TEXTS else None)


def text_kind(name: str) -> str:
    """How a text is written, by its name.

    That is ``markdown``, ``rst``, ``latex``, ``asciidoc``, ``org``, ``notebook``, ``code`` or ``text``.
    """
    found = suffix(name)
    return _PROSE.get(found) or ("code" if found in _CODE else "text")


def rich_format(name: str) -> str:
    """Which of the formats that need a parser a name tells; empty for none."""
    return _RICH.get(suffix(name), "")


def is_readable(name: str, format: DocumentFormat) -> bool:
    """Whether a file of a folder is one of a given format."""
    if format in (DocumentFormat.TEXT, DocumentFormat.LINES):
        return suffix(name) in _TEXTS or not suffix(name)
    if format is DocumentFormat.RICH:
        return suffix(name) in _RICH
    return TABLES.get(suffix(name)) is format
