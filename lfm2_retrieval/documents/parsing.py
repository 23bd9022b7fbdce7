"""PDF, Office files, books, web pages and mail as text with its structure, by kreuzberg; Parquet by pyarrow.

This runs in a process of its own (:mod:`.worker`): what reads here is native code, and the files are other
people's.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..json_values import plain
from ..platform.plain_files import is_hollow, read_regular
from .lines import MAX_BYTES
from .mail import page_of
from .sniffing import RICH, archive_kind, rich_kind, sniff
from .structure import Heading, Region, Structure, TextKind
from .word import protect, restore

__all__ = ["MAX_RICH_BYTES", "Refused", "parse", "rows"]

MAX_RICH_BYTES = 256 << 20
"""How large a file may be that needs a parser."""

_MAX_UNPACKED = 1 << 30
_MARK = "lfm2slide"
_ROWS = 256
_FIELDS = {
    "title": "title",
    "subject": "subject",
    "authors": "authors",
    "created_at": "created",
    "language": "language",
    "from_email": "from",
    "to_emails": "to",
}
_MOST = 1000
_CELL = re.compile(rb'<c\s[^>]*?\br="([A-Z]{1,3})([0-9]{1,7})"[^>]*[^/]>')


class Refused(Exception):  # noqa: N818  (what is refused is no error of ours)
    """A file that gives no document; ``reason`` in few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def parse(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a request asks for: rows of a Parquet file, or one document.

    Yields
    ------
    dict
        ``rows``; or ``format``, ``text``, ``metadata`` and ``structure``; or ``no_parser`` where the bytes
        are those of a plain text, whatever the name says.
    """
    if request.get("want") == "rows":
        yield from rows(request["path"])
        return
    for attempt in range(2):
        data, changed = _read(request["path"])
        if not changed:
            break
        if attempt:
            raise Refused("changed while it was read")
    kind = _kind(data, request["format"])
    if kind is None:
        yield {"no_parser": True}
        return
    yield _document(data, kind)


def rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, some at a time; columns of bytes are left out."""
    from pyarrow import ArrowException, parquet, types

    try:
        with read_regular(path, follow=True) as stream, parquet.ParquetFile(stream) as file:
            kept = [
                one.name
                for one in file.schema_arrow
                if not (types.is_binary(one.type) or types.is_large_binary(one.type))
            ]
            for batch in file.iter_batches(batch_size=_ROWS, columns=kept):
                yield {"rows": [plain(row) for row in batch.to_pylist()]}
    except (ArrowException, OSError, ValueError) as error:
        raise Refused("broken", str(error)[:200]) from error


def _read(path: str) -> tuple[bytes, bool]:
    """A file's bytes, and whether it changed meanwhile."""
    with read_regular(path, follow=True) as stream:
        before = os.fstat(stream.fileno())
        if before.st_size > MAX_RICH_BYTES:
            raise Refused("too long", f"of more than {MAX_RICH_BYTES >> 20} MiB")
        if is_hollow(before):
            raise Refused("broken", "a sparse file, most of which is no data")
        data = stream.read(MAX_RICH_BYTES + 1)
        after = os.fstat(stream.fileno())
    return data, (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _kind(data: bytes, named: str) -> str | None:
    """What a file is by its bytes; None for plain text."""
    if not data.strip(b"\0 \t\r\n"):
        raise Refused("empty")
    found = sniff(data[:4096])
    if found == "zip":
        try:
            found = archive_kind(data)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise Refused("broken", f"a damaged archive: {error}"[:200]) from error
        if found is None:
            raise Refused("of a kind that is not read")
        _check_unpacked(data)
    elif found == "ole":
        found = rich_kind(data)
        if found is None:
            raise Refused("of a kind that is not read")
    if found == "encrypted":
        raise Refused("encrypted")
    if found in RICH:
        return found
    if found is not None or b"\0" in data[:4096]:
        raise Refused("broken", f"no {named}" if found is None else f"{found} under another name")
    # These have no first bytes of their own.
    return named if named in ("eml", "html") else None


def _check_unpacked(data: bytes) -> None:
    import io

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED:
            raise Refused("too long", f"of more than {_MAX_UNPACKED >> 20} MiB unpacked")


def _document(data: bytes, kind: str) -> dict[str, Any]:
    import kreuzberg

    slides = kind == "pptx"
    config = kreuzberg.ExtractionConfig(
        output_format="markdown",
        include_document_structure=True,
        use_cache=False,  # it would lie in the working directory
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
        pages=kreuzberg.PageConfig(insert_page_markers=slides, marker_format=f"\n\n{_MARK} {{page_num}}\n\n"),
    )
    result = _extract(protect(data) if kind == "docx" else data, RICH[kind], config)
    nodes = list((result.document or {}).get("nodes", ()))
    if kind == "eml" and (page := page_of(data)) is not None:
        body = _extract(page, RICH["html"], config).document or {}
        nodes = [node for node in nodes if (node.get("content") or {}).get("node_type") == "metadata_block"]
        nodes += body.get("nodes", ())
    text = _Text()
    if kind in ("xlsx", "ods"):
        names = list(result.metadata.get("sheet_names") or ())
        corners = _corners(data) if kind == "xlsx" else {}
        for table in result.tables:
            number = table.page_number
            name = names[number - 1] if 0 < number <= len(names) else str(number)
            text.sheet(name, table.cells, corners.get(name, (1, 1)) if corners or kind == "ods" else None)
    else:
        for node in nodes:
            text.node(node, slides=slides)
    whole, structure = text.finish()
    if not whole.strip():
        raise Refused("scanned pages without text; needs OCR" if kind == "pdf" else "no text")
    if len(whole) > MAX_BYTES:
        raise Refused("too long", f"its text has more than {MAX_BYTES >> 20} million characters")
    return {
        "format": kind,
        "text": whole,
        "metadata": _metadata(result.metadata),
        "structure": structure.to_dict(),
    }


def _extract(data: bytes, media: str, config: Any) -> Any:
    """What the parser finds.

    Raises
    ------
    Refused
        If it finds nothing.
    """
    import kreuzberg

    try:
        return kreuzberg.extract_bytes_sync(data, media, config)
    except Exception as error:  # its errors have no common root
        said = str(error)
        if re.search("password|encrypt", said, re.I):
            raise Refused("encrypted") from error
        if "limit exceeded" in said:
            raise Refused("too long", said.rpartition("exceeded: ")[2][:200]) from error
        parts = dict.fromkeys(said.removeprefix("ParsingError: ").split(": "))  # some are said twice
        raise Refused("broken", ": ".join(parts)[:200]) from error


def _metadata(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself, in bounds."""
    metadata: dict[str, Any] = {}
    for name, ours in _FIELDS.items():
        value = found.get(name)
        if isinstance(value, str) and value.strip():
            metadata[ours] = value.strip()[:_MOST]
        elif isinstance(value, (list, tuple)):
            texts = [one[:_MOST] for one in value if isinstance(one, str) and one.strip()][:100]
            if texts:
                metadata[ours] = texts
    if found.get("format_type") == "email":
        metadata["title"] = metadata.get("subject")
        metadata["date"] = metadata.pop("created", None)
        metadata.pop("authors", None)
    count = (found.get("pages") or {}).get("total_count")
    if isinstance(count, int) and (found.get("pages") or {}).get("unit_type") in ("page", "slide"):
        metadata["pages"] = count
    return {name: value for name, value in metadata.items() if value is not None}


class _Text:
    """A text in the making, with its headings and regions."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._regions: list[Region] = []
        self._page: int | None = None
        self._page_start = 0
        self._list = False

    def add(self, text: str, gap: str = "\n\n") -> tuple[int, int]:
        """A block; returns its span."""
        if self._length:
            self._parts.append(gap)
            self._length += len(gap)
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        return start, self._length

    def heading(self, level: int, title: str) -> None:
        """A heading, as Markdown has it."""
        title = " ".join(title.split())
        if title:
            span = self.add(f"{'#' * min(max(level, 1), 6)} {title}")
            self._headings.append(Heading(min(max(level, 1), 6), title[:200], *span))

    def page(self, number: int | None) -> None:
        """What follows is of this page."""
        if number == self._page:
            return
        if self._page is not None and self._length > self._page_start:
            self._regions.append(Region(self._page_start, self._length, page=self._page))
        self._page = number
        self._page_start = self._length + (2 if self._length else 0)

    def node(self, node: Mapping[str, Any], *, slides: bool) -> None:
        """An element of the parser's."""
        content = node.get("content") or {}
        kind = content.get("node_type")
        text = content.get("text")
        text = _clean(text) if isinstance(text, str) else ""
        if slides and text.startswith(f"{_MARK} ") and text[len(_MARK) + 1 :].isdigit():
            self.page(int(text[len(_MARK) + 1 :]))
            return
        if isinstance(page := node.get("page"), int) and not slides and kind != "table":
            self.page(page)
        item = kind == "list_item"
        if kind in ("heading", "title") and text:
            self.heading(int(content.get("level") or 1), text)
        elif kind == "table":
            self.add("\n".join(_table(content.get("grid") or {})))
        elif kind == "metadata_block":
            entries = content.get("entries") or ()
            self.add("\n".join(f"{name}: {_clean(str(value))}" for name, value in entries))
        elif kind == "code" and text.strip():
            fence = "```" if "```" not in text else "~~~~"
            self.add(f"{fence}\n{text}\n{fence}")
        elif text.strip():
            self.add(f"- {text}" if item else text, "\n" if item and self._list else "\n\n")
        else:
            return
        self._list = item

    def sheet(self, name: str, cells: Sequence[Sequence[str]], corner: tuple[int, int] | None) -> None:
        """A sheet, a row a line. ``corner``: its first row and column; None where they are not known."""
        lines = [_row(row) for row in cells]
        if not any(lines):
            return
        self.heading(1, name)
        span = self.add("\n".join(lines))
        width = max(map(len, cells), default=1)
        if corner is None:
            self._regions.append(Region(*span, sheet=name))
            return
        row, column = corner
        columns = (_letters(column), _letters(column + max(width, 1) - 1))
        self._regions.append(Region(*span, sheet=name, columns=columns, first=row))

    def finish(self) -> tuple[str, Structure]:
        """The whole."""
        self.page(None)
        return "".join(self._parts), Structure(TextKind.MARKDOWN, tuple(self._headings), tuple(self._regions))


def _clean(text: str) -> str:
    return restore(text).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _row(cells: Iterable[str]) -> str:
    texts = [" ".join(_clean(str(cell)).split()) for cell in cells]
    return " | ".join(texts) if any(texts) else ""


def _table(grid: Mapping[str, Any]) -> list[str]:
    """The rows of a table within a text."""
    table: dict[int, list[str]] = {}
    for cell in grid.get("cells") or ():
        table.setdefault(int(cell.get("row", 0)), []).append(str(cell.get("content", "")))
    return [line for number in sorted(table) if (line := _row(table[number]))]


def _letters(column: int) -> str:
    """The letters of a column, from 1."""
    letters = ""
    while column > 0:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters or "A"


def _corners(data: bytes) -> dict[str, tuple[int, int]]:
    """Of each sheet the first row and column that hold anything, where the parser's table begins."""
    import io
    from xml.etree import ElementTree

    corners = {}
    relation = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
            parts = {one.get("Id"): one.get("Target", "") for one in links}
            for sheet in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():
                if sheet.tag.endswith("}sheet"):
                    target = parts.get(sheet.get(relation), "")
                    part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
                    corners[sheet.get("name", "")] = _corner(archive, part)
    except (KeyError, ElementTree.ParseError, zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return {}
    return {name: corner for name, corner in corners.items() if corner is not None}


def _corner(archive: zipfile.ZipFile, part: str) -> tuple[int, int] | None:
    least_row = least_column = 1 << 30
    rest = b""
    with archive.open(part) as stream:
        while block := stream.read(1 << 20):
            rest += block
            end = 0
            for found in _CELL.finditer(rest):
                end = found.end()
                column = 0
                for letter in found[1]:
                    column = column * 26 + letter - 64
                least_row, least_column = min(least_row, int(found[2])), min(least_column, column)
            rest = rest[end:][-(1 << 12) :]
    return None if least_row == 1 << 30 else (least_row, least_column)
