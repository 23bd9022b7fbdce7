"""What is measured on: a judged collection in one language, checked; and references, read when needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..documents import read_documents
from ..errors import InvalidInputError, RetrievalError
from .collections import load_collection
from .metrics import GRADES

__all__ = ["UNDETERMINED", "Dataset", "DatasetRef", "beir_ref", "find_file", "sha256", "split_name"]

UNDETERMINED = "und"
"""The language of a set that names none (ISO 639-2)."""

_CODES = """
ab aa af ak sq am ar an hy as av ae ay az bm ba eu be bn bi bs br bg my ca ch ce ny zh cu
cv kw co cr hr cs da dv nl dz en eo et ee fo fj fi fr fy ff gd gl lg ka de el kl gn gu ht
ha he hz hi ho hu is io ig id ia ie iu ik ga it ja jv kn kr ks kk km ki rw ky kv kg ko kj
ku lo la lv li ln lt lu lb mk mg ms ml mt gv mi mr mh mn na nv nd nr ng ne no nb nn oc oj
or om os pi ps fa pl pt pa qu ro rm rn ru se sm sg sa sc sr sn sd si sk sl so st es su sw
ss sv tl ty tg ta tt te th bo ti to ts tn tr tk tw ug uk ur uz ve vi vo wa cy wo xh yi yo
za zu
"""
_LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True)
class Dataset:
    """Documents, judged queries and their judgements.

    Parameters
    ----------
    task, language
        What it is called; sets of one task in several languages share their ids.
    documents
        Document id → title and text, in the order of the corpus.
    queries
        Query id → text, of the judged queries.
    qrels
        Query id → document id → grade.
    source
        JSON values: where it came from, in which revision, and the SHA-256 of each file.

    Raises
    ------
    InvalidInputError
        If something is empty, a judgement names a query or a document that isn't there, or a grade is too
        great.
    """

    task: str
    language: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, content in (("documents", self.documents), ("judgements", self.qrels)):
            if not content:
                raise InvalidInputError(f"{self.where}: there are no {what}")
        for query, grades in self.qrels.items():
            if query not in self.queries:
                raise InvalidInputError(
                    f"{self.where}: the query {query!r} is judged, but not among the queries"
                )
            if unknown := grades.keys() - self.documents.keys():
                raise InvalidInputError(
                    f"{self.where}: for the query {query!r} the document {min(unknown)!r} is judged, but not "
                    "in the corpus"
                )
            for document, grade in grades.items():
                if grade > GRADES[1]:
                    raise InvalidInputError(
                        f"{self.where}: the grade of {document!r} for the query {query!r} is {grade}; "
                        f"{GRADES[1]:,} is the greatest that can be measured"
                    )

    @property
    def where(self) -> str:
        """The set, for messages."""
        return f"{self.task} [{self.language}], {self.source.get('location', 'made in memory')}"


@dataclass(frozen=True)
class DatasetRef:
    """A set that is read when needed.

    Parameters
    ----------
    task, language
        As for `Dataset`.
    load
        Reads it; raises InvalidInputError where that fails.
    count
        The number of documents, as cheaply as can be, for an estimate; 0 where it isn't known.
    """

    task: str
    language: str
    load: Callable[[], Dataset]
    count: Callable[[], int] = lambda: 0

    def read(self) -> Dataset:
        """The set; whatever keeps it from being read is an InvalidInputError, but a missing package."""
        try:
            return self.load()
        except RetrievalError:
            raise
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"{self.task} [{self.language}]: can't be read: {error or type(error).__name__}"
            ) from error


def split_name(name: str) -> tuple[str, str]:
    """``NAME-LANG`` as its two parts; the language is "und" where the last part is none (ISO 639-1)."""
    task, _, language = name.rpartition("-")
    return (task, language) if task and language in _LANGUAGES else (name, UNDETERMINED)


def beir_ref(
    folder: str | os.PathLike[str], split: str = "test", *, location: str | None = None
) -> DatasetRef:
    """A folder in BEIR layout; called ``NAME-LANG``, it is NAME in that language.

    Parameters
    ----------
    split
        Which ``qrels/SPLIT.tsv``.
    location
        What to call it in results, if not by its path.
    """
    home = Path(folder)
    task, language = split_name(home.absolute().name)

    def load() -> Dataset:
        collection = load_collection(home, split)
        corpus = find_file(home / "corpus.jsonl")
        files = [corpus, find_file(home / "queries.jsonl"), find_file(home / "qrels" / f"{split}.tsv")]
        return Dataset(
            task,
            language,
            unique(
                ((row["id"], joined(row.get("title"), row["text"])) for row in read_documents([corpus])),
                corpus,
            ),
            collection.queries,
            collection.qrels,
            {"location": location or str(home), "layout": "BEIR", "files": checksums(files, home)},
        )

    def count() -> int:
        try:
            return sum(1 for _ in read_documents([find_file(home / "corpus.jsonl")]))
        except InvalidInputError:
            return 0

    return DatasetRef(task, language, load, count)


def joined(title: object, text: str | None) -> str:
    """Title and text as one, as `Retriever` has them."""
    return f"{title} {text or ''}".strip() if isinstance(title, str) and title else text or ""


def unique(pairs: Iterable[tuple[str, str]], file: str | os.PathLike[str]) -> dict[str, str]:
    """The pairs as a mapping.

    Raises
    ------
    InvalidInputError
        If an id comes twice.
    """
    found: dict[str, str] = {}
    for id, text in pairs:
        if id in found:
            raise InvalidInputError(f"{file}: the id {id!r} comes twice")
        found[id] = text
    return found


def find_file(path: Path) -> Path:
    """A file, or the gzipped one beside it; the path itself where there is neither."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.is_file() and not path.is_file() else path


def checksums(files: Iterable[Path], root: Path) -> dict[str, str]:
    """File, relative to the root where it is below that → SHA-256."""
    return {
        (file.relative_to(root) if file.is_relative_to(root) else file).as_posix(): sha256(file)
        for file in files
    }


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
