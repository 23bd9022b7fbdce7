"""Rankings with scores, and TREC run files of them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..documents import read_lines
from ..errors import InvalidInputError
from .metrics import GRADES

__all__ = ["Run", "make_run", "read_run", "unword", "word", "write_qrels", "write_run"]

Run = Mapping[str, Sequence[tuple[str, float]]]
"""Query id → documents with scores, strictly decreasing, the best first."""


def make_run(ranking: Mapping[str, Iterable[tuple[str, float]]]) -> dict[str, list[tuple[str, float]]]:
    """A run from ranked documents, whose order stays: an equal score becomes the next smaller one.

    Scores differ in single precision, too, in which trec_eval reads them, so that no tool breaks a tie of
    ours.

    Parameters
    ----------
    ranking
        Query id → documents with scores, the best first.

    Raises
    ------
    InvalidInputError
        If a score is NaN or infinite, rises, or a document comes twice.
    """
    run: dict[str, list[tuple[str, float]]] = {}
    for query, ranked in ranking.items():
        rows: list[tuple[str, float]] = []
        seen: set[str] = set()
        last = np.float32(np.inf)
        before = math.inf
        for document, score in ranked:
            if not math.isfinite(score):
                raise InvalidInputError(f"the score of document {document!r} for query {query!r} is {score}")
            if score > before:
                raise InvalidInputError(f"query {query!r}: the score of {document!r} is above that before it")
            if document in seen:
                raise InvalidInputError(f"the ranking for query {query!r} holds {document!r} twice")
            seen.add(document)
            before = score
            last = min(np.float32(score), np.nextafter(last, np.float32(-np.inf)))
            rows.append((document, float(last)))
        run[query] = rows
    return run


def write_run(run: Run, path: str | os.PathLike[str], tag: str) -> None:
    """Write ``query Q0 document rank score tag``: ranks from 1, scores in all digits of single precision.

    White space in ids is escaped, see `word`.
    """
    lines = (
        f"{word(query)} Q0 {word(document)} {rank} {score:.9g} {tag}\n"
        for query, rows in run.items()
        for rank, (document, score) in enumerate(rows, 1)
    )
    write_lines(lines, Path(path))


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: str | os.PathLike[str]) -> None:
    """Write judgements as TREC has them: ``query 0 document grade``, no grade below -1 (see `GRADES`)."""
    lines = (
        f"{word(query)} 0 {word(document)} {max(GRADES[0], grade)}\n"
        for query, grades in qrels.items()
        for document, grade in grades.items()
    )
    write_lines(lines, Path(path))


def read_run(path: str | os.PathLike[str]) -> dict[str, list[tuple[str, float]]]:
    """Read a run, by this library or another: sorted by score, equal scores by rank.

    Raises
    ------
    InvalidInputError
        Naming file and line, if one is no line of a run, a score is no number, or a document comes twice.
    """
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for number, line in read_lines(os.fspath(path)):
        if not (fields := line.split()):
            continue
        try:
            query, _, document, rank, score, _ = fields
            query, document = unword(query), unword(document)
            value = float(score)
            place = int(rank)
        except ValueError:
            raise InvalidInputError(
                f"{path}:{number}: a line of a run is expected: query, Q0, document, rank, score, tag"
            ) from None
        if not math.isfinite(value):
            raise InvalidInputError(f"{path}:{number}: the score of {document!r} for {query!r} is {score}")
        rows = found.setdefault(query, {})
        if document in rows:
            raise InvalidInputError(f"{path}:{number}: the document {document!r} comes twice for {query!r}")
        rows[document] = (value, place)
    return {
        query: [
            (id, value) for id, (value, _) in sorted(rows.items(), key=lambda row: (-row[1][0], row[1][1]))
        ]
        for query, rows in found.items()
    }


def write_lines(lines: Iterable[str], path: Path) -> None:
    """Write a file as a whole: it is there, complete, or not at all; an OSError names it."""
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):  # of a full disk, it doesn't name the file
            why = f"{error.strerror or error}; make room, or see to the disk, and run again"
            raise OSError(error.errno, why, str(path)) from error
        raise


_SPACE = re.compile(r"\s|\\(?=u[0-9a-f]{4})")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def word(id: str) -> str:
    """An id as a TREC file has it: white space as JSON escapes it, ``a b`` as ``a\\u0020b``.

    A backslash that would be read as the beginning of such is escaped, too; any other id stays as it is.

    Raises
    ------
    InvalidInputError
        If it is empty.
    """
    if not id:
        raise InvalidInputError("an id is empty, which a TREC file can't hold")
    return _SPACE.sub(lambda found: f"\\u{ord(found[0]):04x}", id)


def unword(text: str) -> str:
    """The id of a word in a TREC file; see `word`."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\\u" in text else text
