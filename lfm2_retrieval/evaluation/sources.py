"""Where data sets come from: folders, the Hugging Face hub, ir-datasets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, MissingExtraError
from ..hub import fetch, is_whole
from .datasets import Dataset, DatasetRef, beir_ref, find_file
from .parquet import PARTS, find_parquet_sets, load_parquet, patterns

__all__ = [
    "choose",
    "from_folder",
    "from_folders",
    "from_hub",
    "from_ir_datasets",
    "plain_name",
    "refuse_twice",
]

_DEPTH = 3


def from_folder(folder: str | os.PathLike[str], split: str = "test") -> list[DatasetRef]:
    """The sets in a folder: one in BEIR layout, in a parquet layout of NanoBEIR, or a folder of such.

    Folders called ``NAME-LANG`` are one task in several languages.

    Raises
    ------
    InvalidInputError
        If there is none.
    """
    home = Path(folder)
    if not home.is_dir():
        raise InvalidInputError(f"{home}: no such folder")
    refs = list(_search(home, split, _DEPTH))
    if not refs:
        raise InvalidInputError(
            f"{home}: holds neither a collection in BEIR layout (corpus.jsonl, queries.jsonl, "
            f"qrels/{split}.tsv) nor NanoBEIR's parquet files, nor folders with such"
        )
    refuse_twice(refs, f"{home}: holds")
    return refs


def from_folders(folders: Sequence[str | os.PathLike[str]], split: str = "test") -> list[DatasetRef]:
    """The sets in several folders, see `from_folder`.

    Raises
    ------
    InvalidInputError
        If one holds none, or two hold the same.
    """
    refs = [ref for folder in folders for ref in from_folder(folder, split)]
    refuse_twice(refs, "the folders hold")
    return refs


def refuse_twice(refs: Sequence[DatasetRef], who: str) -> None:
    """Raise InvalidInputError where two sets are of one task in one language."""
    seen: set[tuple[str, str]] = set()
    for ref in refs:
        if (ref.task, ref.language) in seen:
            raise InvalidInputError(f"{who} {ref.task} [{ref.language}] twice; give one of them")
        seen.add((ref.task, ref.language))


def _search(home: Path, split: str, depth: int) -> Iterable[DatasetRef]:
    if any(find_file(home / name).is_file() for name in ("corpus.jsonl", "queries.jsonl")):
        yield beir_ref(home, split)
    elif found := find_parquet_sets(home, split=split):
        yield from found
    elif depth:
        for child in sorted(home.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _search(child, split, depth - 1)


def choose(
    refs: Sequence[DatasetRef], tasks: Sequence[str] | None = None, languages: Sequence[str] | None = None
) -> list[DatasetRef]:
    """Some of the sets, by task and language; case doesn't count, nor a leading "Nano".

    Raises
    ------
    InvalidInputError
        If one asked for is not there.
    """

    for what, wanted, have in (
        ("task", tasks, {plain_name(ref.task): ref.task for ref in refs}),
        ("language", languages, {plain_name(ref.language): ref.language for ref in refs}),
    ):
        for name in wanted or ():
            if plain_name(name) not in have:
                raise InvalidInputError(
                    f"there is no {what} {name!r}; there are {', '.join(sorted(have.values()))}"
                )
    return [
        ref
        for ref in refs
        if (not tasks or plain_name(ref.task) in map(plain_name, tasks))
        and (not languages or plain_name(ref.language) in map(plain_name, languages))
    ]


def plain_name(name: str) -> str:
    """A task's name without what people leave out: case and a leading "Nano"."""
    return name.casefold().removeprefix("nano")


@dataclass(frozen=True)
class _Repository:
    """A repository on the hub. ``own``: the language of all that is in it; None where its sets say theirs."""

    name: str
    revision: str | None
    layout: str
    own: str | None


@dataclass
class _Hub:
    """Whether to do without the network: once it couldn't be reached, as each attempt takes long."""

    offline: bool


def from_hub(
    repository: str,
    revision: str | Mapping[str, str] | None,
    layout: str,
    tasks: Sequence[str],
    languages: Sequence[str],
    *,
    names: Mapping[str, str] | None = None,
    folder: Path | None = None,
    offline: bool = False,
) -> list[DatasetRef]:
    """Sets of a repository on the hub, each fetched when it is loaded; the hub's client caches and resumes.

    Parameters
    ----------
    repository
        ``OWNER/NAME``; ``{language}`` in it stands for a language.
    revision
        The commit, or that of each language's repository; None for the newest, which is noted.
    layout
        See `lfm2_retrieval.evaluation.parquet.patterns`.
    names
        Language → its repository, where that is called otherwise.
    folder
        Where the files lie already: the repository's folder, or one with ``OWNER/NAME`` or ``NAME`` in it.
        Nothing is fetched then.
    offline
        Take the hub's cache and no network.
    """
    hub = _Hub(offline)

    def of(language: str) -> _Repository:
        name = (names or {}).get(language) or repository.format(language=language)
        commit = revision.get(language) if isinstance(revision, Mapping) else revision
        return _Repository(name, commit, layout, language if "{language}" in repository else None)

    return [
        DatasetRef(
            task,
            language,
            partial(_load_from_hub, of(language), task, language, folder, hub),
            partial(_count_in_folder, of(language), task, language, folder),
        )
        for task in tasks
        for language in languages
    ]


def _load_from_hub(
    repository: _Repository, task: str, language: str, folder: Path | None, hub: _Hub
) -> Dataset:
    name, revision = repository.name, repository.revision
    wanted = patterns(repository.layout, task, language)
    at = f" at revision {revision}" if revision else ""
    what = f"{task} [{language}]: {', '.join(wanted.values())} of the data set {name}{at}"
    copy = f"copy the files to DIR/{name.rsplit('/', maxsplit=1)[-1]}/ and give --data DIR"
    if folder is not None:
        found = _in_folder(repository, task, language, folder)
        if found is None:
            raise InvalidInputError(f"{what} are not below {folder}; {copy}")
        return found.load()
    files = [*wanted.values(), *(one.replace("-*", "/*") for one in wanted.values())]
    try:
        root = fetch(name, files, revision=revision, data=True, offline=hub.offline)
    except OSError as error:
        problem = "are not in the local cache" if hub.offline else "could not be fetched"
        hub.offline |= isinstance(error, FileNotFoundError)  # the hub can't be reached
        raise InvalidInputError(
            f"{what} {problem} ({error}); run again with a network and without --offline, or {copy}"
        ) from error
    for file in (found for pattern in files for found in sorted(root.glob(pattern))):
        if not is_whole(file):
            raise InvalidInputError(
                f"{task} [{language}]: {file.resolve()} is damaged, its checksum is not the hub's; delete "
                "it, so that it is fetched again"
            )
    notes = {"location": f"{name} on the Hugging Face hub", "repository": name, "revision": root.name}
    for ref in find_parquet_sets(root, repository.own, notes):
        if (ref.task, ref.language) == (task, language):
            return ref.load()
    raise InvalidInputError(f"{what} are not there; {copy}")


def _in_folder(repository: _Repository, task: str, language: str, folder: Path) -> DatasetRef | None:
    name = repository.name
    for home in (folder / name, folder / name.split("/")[-1], folder, folder / task):
        if not home.is_dir():
            continue
        for ref in find_parquet_sets(home, repository.own, {"repository": name}):
            if (ref.task, ref.language) == (task, language):
                return ref
    return None


def _count_in_folder(repository: _Repository, task: str, language: str, folder: Path | None) -> int:
    ref = None if folder is None else _in_folder(repository, task, language, folder)
    return 0 if ref is None else ref.count()


def from_ir_datasets(
    sets: Mapping[str, Mapping[str, Any]], tasks: Sequence[str], *, offline: bool = False
) -> list[DatasetRef]:
    """English NanoBEIR through ir-datasets, every file held to its checksum, also those already there.

    Parameters
    ----------
    sets
        Task → ``id`` in ir-datasets, and ``md5``: part → checksum of its parquet file.
    """
    return [
        DatasetRef(task, "en", partial(_load_ir_dataset, task, sets[task], offline), lambda: 0)
        for task in tasks
    ]


def _load_ir_dataset(task: str, facts: Mapping[str, Any], offline: bool) -> Dataset:
    try:
        import ir_datasets
    except ImportError:
        raise MissingExtraError("NanoBEIR through ir-datasets", "eval") from None
    root = Path(ir_datasets.util.home_path()) / facts["id"]
    files = {part: [root / f"{part}.parquet"] for part in PARTS}
    absent = [file for (file,) in files.values() if not file.is_file()]
    _hold_to_checksums(files, facts["md5"])
    if absent:
        problem = ", ".join(map(str, absent))
        remedy = (
            f"copy them there from https://huggingface.co/datasets/zeta-alpha-ai/{task}, or give --data DIR"
        )
        if offline:
            raise InvalidInputError(
                f"{task} [en]: without a network these files are missing: {problem}; {remedy}"
            )
        try:
            collection, _, name = facts["id"].partition("/")
            downloads = ir_datasets.util.DownloadConfig.context(collection, root.parent)
            for part in (file.stem for file in absent):  # not by docs_iter, which has a store of its own
                downloads[f"{name}/{'docs' if part == 'corpus' else part}"].path()
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidInputError(
                f"{task} [en]: these files could not be fetched: {problem} ({reason}); {remedy}"
            ) from error
        _hold_to_checksums(files, facts["md5"])
    notes = {"location": str(root), "ir_datasets": facts["id"], "md5": dict(facts["md5"])}
    return load_parquet(task, "en", files, root, notes, {part: f"{part}.parquet" for part in PARTS})


def _hold_to_checksums(files: Mapping[str, Sequence[Path]], expected: Mapping[str, str]) -> None:
    for part, (file,) in files.items():
        if not file.is_file():
            continue
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != expected[part]:
            raise InvalidInputError(
                f"{file}: its MD5 is {found}, not {expected[part]}: it is damaged or another version; "
                "delete it, "
                "so that it is fetched again"
            )
