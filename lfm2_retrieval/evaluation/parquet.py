"""NanoBEIR's parquet files, in each layout in which they are published.

``sentence-transformers/NanoBEIR-xx``
    ``corpus/TASK-*.parquet``, ``queries/…``, ``qrels/…``: a repository a language.
``LiquidAI/nanobeir-multilingual-extended``
    ``TASK_xx/corpus-*.parquet``, ``TASK_xx/queries-*.parquet``, ``TASK_xx_qrels/qrels-*.parquet``.
``lightonai/nanobeir-multilingual``
    The same with ``TASK/qrels-*.parquet`` for all languages.
``zeta-alpha-ai/TASK``, English
    ``corpus/train-*.parquet``, ``queries/…``, ``qrels/…``.
a folder called TASK or TASK-xx
    ``corpus.parquet``, ``queries.parquet``, ``qrels.parquet``, or shards of them.

The hub's converted files, ``TASK_xx/corpus/0000.parquet`` or ``corpus/TASK/0000.parquet``, count as well.
Columns, in any order and among others, are ``_id`` and ``text``, perhaps ``title``; ``query-id`` and
``corpus-id``, perhaps ``score``, which is 1 where there is none. Ids are strings, or whole numbers, which
count as their digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, MissingExtraError
from .collections import whole_number
from .datasets import UNDETERMINED, Dataset, DatasetRef, checksums, joined, split_name

__all__ = ["Files", "find_parquet_sets", "load_parquet", "patterns", "read_rows"]

PARTS = ("corpus", "queries", "qrels")
_SPLITS = ("train", "dev", "validation", "test")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_CONFIGURATION = re.compile(r"(?P<task>[A-Za-z0-9]+)_(?P<language>[a-z]{2})")

Files = Mapping[str, Sequence[Path]]
"""Part ("corpus", "queries", "qrels") → its files."""


def patterns(layout: str, task: str, language: str) -> dict[str, str]:
    """Part → where its files lie in a repository, for messages and downloads.

    Parameters
    ----------
    layout
        ``"split"`` (a split a task, as sentence-transformers has it), ``"config"`` (a configuration a task
        and language), ``"config-shared-qrels"``, or ``"plain"``.
    """
    if layout == "plain":
        return {part: f"{part}.parquet" for part in PARTS}
    if layout == "split":
        return {part: f"{part}/{task}-*.parquet" for part in PARTS}
    judged = task if layout == "config-shared-qrels" else f"{task}_{language}_qrels"
    home = f"{task}_{language}"
    return {
        "corpus": f"{home}/corpus-*.parquet",
        "queries": f"{home}/queries-*.parquet",
        "qrels": f"{judged}/qrels-*.parquet",
    }


def find_parquet_sets(
    root: Path,
    language: str | None = None,
    source: Mapping[str, Any] | None = None,
    split: str = "test",
) -> list[DatasetRef]:
    """The sets in a folder in any of the layouts; none where it is of no such layout.

    A set that lacks a part is found too, and says so when it is loaded.

    Parameters
    ----------
    root
        A repository's folder.
    language
        Of a repository with a language of its own; by default its name's last part, or "en".
    source
        JSON values to note in each set's source.
    split
        Which judgements, where a set has several splits of them.
    """
    notes = {"location": str(root), **(source or {})}
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    layouts: dict[tuple[str, str], str] = {}
    name = _name(root)
    own = language or split_name(name)[1]
    own = "en" if own == UNDETERMINED else own
    for part in PARTS:
        for task, files in _folder_of(root, part, split_name(name)[0], split).items():
            found.setdefault((task, own), {})[part] = files
            layouts[task, own] = "split"
    plain = {part: _plain(root, part) for part in PARTS}
    if any(plain.values()):
        task = split_name(name)[0]
        found[task, own], layouts[task, own] = plain, "plain"
    for folder in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else ():
        if not (match := _CONFIGURATION.fullmatch(folder.name)) or match["language"] == "qrels":
            continue
        files_of = {part: _part(folder, part) for part in ("corpus", "queries")}
        shared, separate = root / match["task"], root / f"{folder.name}_qrels"
        files_of["qrels"] = _part(separate, "qrels") or _part(shared, "qrels") or _part(folder, "qrels")
        if any(files_of.values()):
            found[match["task"], match["language"]] = files_of
            layouts[match["task"], match["language"]] = "config-shared-qrels" if shared.is_dir() else "config"
    return [
        DatasetRef(
            task,
            code,
            partial(load_parquet, task, code, files, root, notes, patterns(layouts[task, code], task, code)),
            partial(_count, files),
        )
        for (task, code), files in found.items()
    ]


def _folder_of(root: Path, part: str, name: str, split: str) -> dict[str, list[Path]]:
    """Task → its files in a part's folder, which is of the one task ``name``, or has a file for each.

    Of one task it may hold several splits: all of queries are taken, as the judged ones alone count, and of
    judgements the one asked for, or the only one where none was.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    for file in sorted([*(root / part).glob("*.parquet"), *(root / part).glob("*/*.parquet")]):
        stem, above = _SHARD.sub("", file.stem), file.parent.name
        labels = [label for label in (stem, above) if not label.isdigit() and label != part]
        task = next((label for label in labels if label not in _SPLITS), name)
        here = next((label for label in labels if label in _SPLITS), "")
        found.setdefault(task, {}).setdefault(here, []).append(file)
    chosen: dict[str, list[Path]] = {}
    for task, splits in found.items():
        if part != "qrels" or (split not in splits and split == "test" and len(splits) == 1):
            chosen[task] = [file for files in splits.values() for file in files]
        else:
            chosen[task] = splits.get(split, [])
    return chosen


def load_parquet(  # noqa: PLR0917
    task: str,
    language: str,
    files: Files,
    root: Path,
    source: Mapping[str, Any],
    expected: Mapping[str, str],
) -> Dataset:
    """Read a set.

    Raises
    ------
    InvalidInputError
        Naming the file, if a part is missing, unreadable or contradicts another.
    MissingExtraError
        If pyarrow is not installed.
    """
    for part in PARTS:
        if not files.get(part):
            raise InvalidInputError(
                f"{task} [{language}]: {root / expected[part]} is missing; fetch it, or leave this set out"
            )
    documents, asked = _read_texts(files["corpus"]), _read_texts(files["queries"])
    qrels = _read_judgements(files["qrels"])
    everything = [file for part in PARTS for file in files[part]]
    queries = {id: text for id, text in asked.items() if id in qrels}
    return Dataset(
        task, language, documents, queries, qrels, {**source, "files": checksums(everything, root)}
    )


def _read_texts(files: Sequence[Path]) -> dict[str, str]:
    """Id → title and text, over all shards."""
    found: dict[str, str] = {}
    for file in files:
        for number, row in enumerate(read_rows(file, ("_id", "text"), ("title",)), 1):
            id = _id(row, "_id", file, number)
            if id in found:
                raise InvalidInputError(f"{file}: row {number}: the id {id!r} comes twice")
            title, text = (_text(row, name, file, number) for name in ("title", "text"))
            found[id] = joined(title, text)
    return found


def _read_judgements(files: Sequence[Path]) -> dict[str, dict[str, int]]:
    """Query id → document id → grade, over all shards."""
    qrels: dict[str, dict[str, int]] = {}
    for file in files:
        for number, row in enumerate(read_rows(file, ("query-id", "corpus-id"), ("score",)), 1):
            query, document = (_id(row, name, file, number) for name in ("query-id", "corpus-id"))
            grade = _grade(row.get("score"), file, number)
            if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
                raise InvalidInputError(
                    f"{file}: row {number}: another grade of {document!r} for {query!r} than before"
                )
    return qrels


def _id(row: Mapping[str, Any], name: str, file: Path, number: int) -> str:
    value = row[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(row, name, file, number)
    if not text:
        raise InvalidInputError(f"{file}: row {number}: {name!r} is empty")
    return text


def _text(row: Mapping[str, Any], name: str, file: Path, number: int) -> str:
    """A string, also one that is stored as bytes; empty for null."""
    value = row.get(name)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidInputError(f"{file}: row {number}: {name!r} is not UTF-8") from None
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"{file}: row {number}: {name!r} is {value!r}, a string is expected")
    return value or ""


def _grade(value: Any, file: Path, number: int) -> int:
    try:
        return 1 if value is None else whole_number(value)
    except ValueError:
        raise InvalidInputError(
            f"{file}: row {number}: the score is {value!r}, a whole number is expected"
        ) from None


def read_rows(file: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, with some of its columns.

    Raises
    ------
    InvalidInputError
        If it is truncated, no parquet file, or lacks a column.
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("reading parquet files", "eval") from None
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            names = table.schema_arrow.names
            if missing := [name for name in columns if name not in names]:
                raise InvalidInputError(f"{file}: has no column {missing[0]!r}; it has {', '.join(names)}")
            wanted = [*columns, *(name for name in optional if name in names)]
            for batch in table.iter_batches(columns=wanted):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InvalidInputError(
            f"{file}: can't be read as parquet, perhaps it is truncated ({reason}); fetch it again"
        ) from error


def _name(root: Path) -> str:
    """A folder's name; in the hub's cache, where folders are called by their commit, the repository's."""
    home = root.absolute()
    return home.parent.parent.name.rpartition("--")[2] if home.parent.name == "snapshots" else home.name


def _plain(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}-*.parquet")) or sorted(folder.glob(f"{part}.parquet"))


def _part(folder: Path, part: str) -> list[Path]:
    """Files of a part: as pushed to the hub, or as the hub converts them."""
    return sorted(folder.glob(f"{part}-*.parquet")) or sorted((folder / part).glob("*.parquet"))


def _count(files: Files) -> int:
    """Documents, from the files' footers; 0 where these can't be read."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return 0
    try:
        return sum(pq.read_metadata(file).num_rows for file in files.get("corpus", ()))
    except (pa.ArrowException, OSError):
        return 0
