"""How the commands print: JSON for machines, hits for people, a progress bar while something runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..printable import without_hidden

if TYPE_CHECKING:
    from ..datatypes import Hit
    from ..indexes import Entry, MinScore, StoredDocument, Where

__all__ = [
    "describe_min_score",
    "document_json",
    "format_bytes",
    "format_document",
    "format_hit",
    "mark",
    "print_json",
    "where_option",
]

_WIDTH, _INDENT = 96, " " * 5


def where_option(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option ``--where``, for ``what`` of the documents."""
    text = f"{what} that meet this, such as \"lang = 'de' AND year >= 2020\", or a mapping as JSON."
    return click.option("--where", callback=_read_filter, help=text)


def _read_filter(context: click.Context, option: click.Parameter, value: str | None) -> Where | None:
    if value is None or not value.lstrip().startswith("{"):
        return value
    try:
        mapping: dict[str, Any] = json.loads(value)
    except (ValueError, RecursionError) as error:
        example = '{"year": {"$gte": 2020}}'
        raise click.BadParameter(f"{value!r} is no JSON ({error}); write it like {example}") from error
    return mapping


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, in printable ASCII, which any terminal and pipe can carry."""
    click.echo(json.dumps(value).replace("\x7f", "\\u007f"))


def document_json(entry: Entry | StoredDocument) -> dict[str, Any]:
    """A stored document as JSON values, which `read_documents` takes again."""
    return {"_id": entry.id, "text": entry.text or "", "metadata": dict(entry.metadata)}


def format_document(entry: Entry | StoredDocument, limit: int | None = None) -> str:
    """A document in a few lines: id, metadata and the text, or what it begins with; nothing hides in it."""
    text = entry.text or ""
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    head = f"{_plain(entry.id)}  {json.dumps(dict(entry.metadata)) if entry.metadata else ''}"
    body = _wrapped(_plain(text))
    return "\n".join([head.rstrip(), *body])


def format_hit(
    hit: Hit,
    spans: Sequence[tuple[int, int]] = (),
    limit: int = 600,
    *,
    span: tuple[int, int] | None = None,
    bold: bool | None = None,
    name: str | None = None,
    title: str | None = None,
) -> str:
    """A hit in a few lines: rank, score, id and title, then the text with ``spans`` marked.

    Control characters are blanked and what hides is left out, so that no document can steer the terminal.

    Parameters
    ----------
    hit, spans
        The hit, and what of its text matched.
    limit
        How many characters of its text are shown at most.
    span
        What of the text is shown; by default what stands behind its title.
    bold
        Whether marks are bold, or not shown; None: bold on a terminal, and asterisks elsewhere.
    name, title
        Instead of the id, and of the title in the metadata.
    """
    text = hit.text or ""
    head = f"{hit.rank:>3}. {hit.score:7.3f}  {_plain(hit.id if name is None else name)}"
    own = hit.metadata.get("title")
    if title is None:
        title = own if isinstance(own, str) and own and (text.startswith(own) or span) else ""
        start, end = span or (len(title), len(text))
        marked = [one for one in spans if one[1] <= len(title)] if span is None else []
        title = mark(title, marked)
    else:
        start, end = span or (0, len(text))
    head += f"  {_plain(title)}" if title else ""
    before, behind = "… " if span and start else "", "…" if min(end, start + limit) < len(text) else ""
    cut = text[start : min(end, start + limit)] + ("…" if end > start + limit else "")
    shown = mark(cut, [(one[0] - start, one[1] - start) for one in spans if one[0] >= start])
    if span is not None:
        shown = before + shown.removesuffix("…") + (f" {behind}" if behind else "")
    lines = _wrapped(_plain(shown))
    return _emphasize("\n".join([head, *lines]), bold)


def _wrapped(text: str) -> list[str]:
    """Indented lines that take up to ``_WIDTH`` columns, whatever is wide in them: letters, emoji, marks."""
    from rich.cells import cell_len, chop_cells

    room = _WIDTH - len(_INDENT)
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and cell_len(line) + 1 + cell_len(word) <= room:
            line += f" {word}"
            continue
        if line and (cell_len(word) <= room or cell_len(line) + 3 > room):
            lines.append(line)
            line = ""
        # A word longer than a line, as Chinese is written, is broken where the line ends.
        first = f"{line} {word}" if line else word
        *full, line = chop_cells(first, room) or [""]
        lines += full
    return [_INDENT + line for line in [*lines, line] if line]


_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: as wide as what they become, or nearly


def mark(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """``text`` with placeholders around the spans, which ascend and do not overlap."""
    parts, at = [], 0
    for start, end in spans:
        if start < at or end > len(text):
            continue
        parts += [text[at:start], _OPEN, text[start:end], _CLOSE]
        at = end
    return "".join([*parts, text[at:]])


def _emphasize(text: str, bold: bool | None) -> str:
    """Marks made bold, nothing or, by default where this is no terminal, asterisks."""
    if bold is None:
        bold = sys.stdout.isatty()
        marks = ("\x1b[1m", "\x1b[0m") if bold else ("*", "*")
    else:
        marks = ("\x1b[1m", "\x1b[0m") if bold else ("", "")
    return text.replace(_OPEN, marks[0]).replace(_CLOSE, marks[1])


def _plain(text: str) -> str:
    return " ".join(without_hidden(text).split())


def describe_min_score(learnt: MinScore) -> str:
    """What was learnt for ``--min-score auto``, with its errors."""
    source = "passages of documents, easier than real questions" if learnt.from_documents else "queries given"
    return (
        f"normalized scores from {learnt.value:.3f} on; keeps {learnt.kept:.1%} of {learnt.n_queries} "
        f"{source}, and {learnt.nonsense_kept:.1%} of {learnt.n_nonsense} of random words of the collection"
    )


def format_bytes(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
