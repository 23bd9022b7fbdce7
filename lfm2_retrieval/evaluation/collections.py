"""Collections in BEIR layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv`` (or gzipped)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..documents import read_documents, read_lines
from ..errors import InvalidInputError

__all__ = ["Collection", "load_collection", "read_qrels", "whole_number"]

_HEADINGS = frozenset(("score", "grade", "label", "rel", "relevance", "relevancy", "judgment", "judgement"))


@dataclass(frozen=True)
class Collection:
    """Documents, questions and which of them answer which.

    Parameters
    ----------
    folder
        Where it lies.
    queries
        Query id → text, of the judged queries.
    qrels
        Query id → document id → grade.
    """

    folder: Path
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    def corpus(self) -> Iterator[dict[str, Any]]:
        """The documents, read anew each time, by :func:`lfm2_retrieval.documents.read_documents`."""
        return read_documents([_find(self.folder / "corpus.jsonl")])


def load_collection(folder: str | os.PathLike[str], split: str = "test") -> Collection:
    """Read a collection's questions and judgements; its documents are read when asked for.

    Raises
    ------
    InvalidInputError
        Naming file and line, if something is missing or contradicts itself.
    """
    home = Path(folder)
    _find(home / "corpus.jsonl")
    judgements = _find_judgements(home / "qrels", split)
    qrels = read_qrels(judgements)
    questions = _find(home / "queries.jsonl")
    queries: dict[str, str] = {}
    for row in read_documents([questions]):
        if row["id"] in queries:
            raise InvalidInputError(f"{questions}: the query {row['id']!r} comes twice")
        queries[row["id"]] = row["text"]
    if missing := qrels.keys() - queries.keys():
        raise InvalidInputError(f"{judgements}: judges the query {min(missing)!r}, which {questions} lacks")
    return Collection(home, {id: text for id, text in queries.items() if id in qrels}, qrels)


def _find_judgements(folder: Path, split: str) -> str:
    there = sorted({file.name.partition(".tsv")[0] for file in folder.glob("*.tsv*")})
    if there and split not in there:
        raise InvalidInputError(
            f"{folder}: there is no split {split!r}; there are {', '.join(there)}: --split"
        )
    return _find(folder / f"{split}.tsv")


def _find(path: Path) -> str:
    packed = path.with_name(path.name + ".gz")
    for file in (path, packed):
        if file.is_file():
            return str(file)
    raise InvalidInputError(f"{path}: no such file, nor {packed.name}; a collection in BEIR layout has it")


def read_qrels(path: str) -> dict[str, dict[str, int]]:
    """Judgements from a table of query id, document id and grade: query id → document id → grade.

    The first line may be a heading, whose last field is called score, grade or the like.

    Raises
    ------
    InvalidInputError
        Naming file and line, if one is no judgement.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if not line.strip():
            continue
        try:
            query, document, score = fields
            grade = whole_number(score)
        except ValueError:
            if number == 1 and len(fields) == 3 and fields[2].strip().casefold() in _HEADINGS:
                continue
            raise InvalidInputError(
                f"{path}:{number}: query id, document id and a whole number are expected, separated by tabs"
            ) from None
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InvalidInputError(
                f"{path}:{number}: another grade of {document!r} for {query!r} than before"
            )
    return qrels


def whole_number(value: Any) -> int:
    """A grade: a whole number, also as a float or as text; ValueError if it is none."""
    try:
        number = float(value)
        if not number.is_integer():
            raise ValueError(value)
    except (TypeError, OverflowError) as error:
        raise ValueError(value) from error
    return int(number)
