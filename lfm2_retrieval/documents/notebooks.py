"""Jupyter notebooks: their cells as Markdown, code in fences."""

from __future__ import annotations

import json
from typing import Any

from .headings import markdown_headings
from .structure import Heading, Region, Structure, TextKind

__all__ = ["read_notebook"]


def read_notebook(text: str) -> tuple[str, Structure]:
    """A notebook's cells as one text. Outputs are left out.

    Raises
    ------
    ValueError
        If it isn't a notebook.
    """
    try:
        notebook = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no cells")
    language = _language(notebook)
    parts: list[str] = []
    regions: list[Region] = []
    headings: list[Heading] = []
    length = 0
    for number, cell in enumerate(cells, 1):
        source = _source(cell)
        if not source.strip():
            continue
        code = cell.get("cell_type") == "code"
        fence = "`" * max(3, _ticks(source) + 1)
        before, after = (f"{fence}{language}\n", f"\n{fence}\n\n") if code else ("", "\n\n")
        start = length + len(before)
        parts += [before, source, after]
        length = start + len(source) + len(after)
        regions.append(Region(start, start + len(source), cell=number, first=1))
        if cell.get("cell_type") == "markdown":
            headings += [
                Heading(one.level, one.title, one.start + start, one.end + start)
                for one in markdown_headings(source)
            ]
    return "".join(parts), Structure(TextKind.MARKDOWN, tuple(headings), tuple(regions))


def _source(cell: Any) -> str:
    source = cell.get("source") if isinstance(cell, dict) else None
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source.strip("\n") if isinstance(source, str) else ""


def _ticks(source: str) -> int:
    """The longest run of back ticks."""
    longest = run = 0
    for character in source:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest


def _language(notebook: dict[str, Any]) -> str:
    try:
        language = notebook["metadata"]["kernelspec"]["language"]
    except (KeyError, TypeError):
        return ""
    return language if isinstance(language, str) and language.isalnum() else ""
