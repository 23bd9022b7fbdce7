"""JSON and JSON Lines: an object is a document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NoReturn

from .lines import read_lines, read_text, refuse
from .report import ReadingReport
from .rows import LOOKED_AT, ReadOptions, Row, to_row

__all__ = ["read_json", "read_jsonl"]

Objects = Iterator[tuple[int, Row]]


def documents_of(
    objects: Objects, path: str, name: str, options: ReadOptions, report: ReadingReport | None = None
) -> Iterator[Row]:
    """Objects as documents, with the text under the key that is found in the first ones, if none is named."""
    first = list(islice(objects, LOOKED_AT if options.text is None else 1))
    options = options.with_text([row for _, row in first])
    if report is not None and first:
        report.text_columns[path] = str(options.text)
    for number, row in chain(first, objects):
        yield to_row(row, path, name, number, options)


def read_jsonl(
    path: str, name: str, options: ReadOptions, report: ReadingReport | None = None
) -> Iterator[Row]:
    """The documents of JSON Lines."""
    return documents_of(_lines(path, options), path, name, options, report)


def _lines(path: str, options: ReadOptions) -> Objects:
    for number, line in read_lines(path, options.encoding):
        if not line.strip():
            continue
        row = _parse(line, path, number)
        if not isinstance(row, dict):
            refuse(path, number, f"a JSON object is expected, not {line.strip()[:40]}")
        yield number, row


def read_json(
    path: str, name: str, options: ReadOptions, report: ReadingReport | None = None
) -> Iterator[Row]:
    """A list of objects, numbered from 1; one object; or JSON Lines after all."""
    text = read_text(path, options.encoding)
    try:
        found = json.loads(text, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError):
        return read_jsonl(path, name, options, report)
    rows = found if isinstance(found, list) else [found]
    documents = documents_of(_objects(rows, path), path, name, options, report)
    return ({key: value for key, value in row.items() if key != "line"} for row in documents)


def _objects(rows: list[Any], path: str) -> Objects:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            refuse(path, number, f"a JSON object is expected, not {json.dumps(row)[:40]}")
        yield number, row


def _parse(line: str, path: str, number: int) -> Any:
    try:
        return json.loads(line, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        refuse(path, number, f"not valid JSON: {getattr(error, 'msg', error)}{at}")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:40]} is beyond the numbers of 64-bit floats")
    return number


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
