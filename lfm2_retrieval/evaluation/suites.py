"""Suites as data, ``eval/suites/*.toml`` or one's own: what a suite runs and where its sets come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .datasets import DatasetRef, beir_ref
from .sources import choose, from_folder, from_folders, from_hub, from_ir_datasets, plain_name, refuse_twice
from .suite_files import check_suite

__all__ = ["Suite", "data_folder", "load_suite", "suite_names"]

_BUNDLED = Path(__file__).parent.parent / "collections"


@dataclass(frozen=True)
class Suite:
    """What a suite runs.

    Parameters
    ----------
    name, title
        The file's name and what people call it.
    model
        Measured unless another is named.
    cross_lingual
        Whether each language's documents are asked in every language.
    shared_queries
        Whether languages asked across are measured on the queries that all of them have.
    published
        Files to put ours beside: of `eval/published`, or beside the suite's own.
    home
        The folder with the suite's file; folders that it names are relative to that.
    facts
        The rest of the file.
    """

    name: str
    title: str
    model: str
    cross_lingual: bool
    shared_queries: bool
    published: Sequence[str]
    home: Path
    facts: Mapping[str, Any]

    def refs(
        self,
        tasks: Sequence[str] | None = None,
        languages: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
        repository: str | None = None,
        offline: bool = False,
    ) -> list[DatasetRef]:
        """The suite's sets, read when they are needed.

        Parameters
        ----------
        tasks, languages
            Some of them; "all" takes every language there is.
        folder
            Where the files lie; nothing is fetched then.
        repository
            Another of the suite's repositories on the hub.
        offline
            Use no network.

        Raises
        ------
        InvalidInputError
            If one asked for is not in the suite, or the folder holds none.
        """
        source = self.facts["source"]
        if (repository and source != "hub") or (folder and source == "bundled"):
            what = "other repositories" if repository else "files elsewhere"
            raise InvalidInputError(f"the suite {self.name} knows no {what}: its source is {source!r}")
        if source == "folder":
            folders = [self.home / name for name in self.facts["folders"]] if folder is None else [folder]
            refs = choose(
                from_folders(folders, self.facts.get("split", "test")),
                self.facts.get("tasks"),
                self.facts.get("languages"),
            )
            return choose(refs, tasks, None if languages == ["all"] else languages)
        known = list(self.facts.get("all_languages", self.facts["languages"]))
        wanted = list(self.facts["languages"]) if not languages else list(languages)
        wanted = known if wanted == ["all"] else wanted
        names = list(self.facts["tasks"])
        if source == "bundled":
            refs = [
                beir_ref(_BUNDLED / name, location=f"bundled, {name}")
                for name in (f"{task}-{language}" for task in names for language in known)
            ]
        elif source == "ir-datasets" and folder is None:
            refs = from_ir_datasets(self.facts["sets"], names, offline=offline)
        elif source == "ir-datasets" and folder is not None:
            refs = _in_folder(folder, self._names(names), known) or _no_sets(folder)
        else:
            refs = self._from_hub(repository, names, known, folder, offline)
        if folder is not None and not languages:
            wanted = [language for language in wanted if any(ref.language == language for ref in refs)]
        return choose(refs, tasks, wanted)

    def absent(self, refs: Sequence[DatasetRef]) -> list[str]:
        """The suite's tasks and languages that are not among the sets: a folder may hold fewer."""
        tasks, languages = {ref.task for ref in refs}, {ref.language for ref in refs}
        return [
            *(task for task in self.facts.get("tasks", ()) if task not in tasks),
            *(f"[{one}]" for one in self.facts.get("languages", ()) if one not in languages),
        ]

    def _names(self, tasks: Sequence[str]) -> dict[str, str]:
        """What folders of the tasks may be called, in plain: their names, and ir-datasets' → task."""
        sets = self.facts.get("sets", {})
        theirs = {task: str(sets[task]["id"]).rpartition("/")[2] for task in tasks if task in sets}
        return {plain_name(name): task for task in tasks for name in (task, theirs.get(task, task))}

    def _from_hub(
        self,
        name: str | None,
        tasks: Sequence[str],
        languages: Sequence[str],
        folder: Path | None,
        offline: bool,
    ) -> list[DatasetRef]:
        repositories = {entry["name"]: entry for entry in self.facts["repositories"]}
        if name is not None and name not in repositories:
            raise InvalidInputError(
                f"the suite {self.name} knows no repository {name!r}; {', '.join(repositories)}"
            )
        entry = repositories[name or next(iter(repositories))]
        if folder is not None and name is None:
            with suppress(InvalidInputError):  # then this repository's files are looked for, by name
                if found := _in_folder(folder, self._names(tasks), languages):
                    return found
        return from_hub(
            entry["name"],
            entry.get("revisions", entry.get("revision")),
            entry["layout"],
            tasks,
            languages,
            names=entry.get("names"),
            folder=folder,
            offline=offline,
        )


def _in_folder(folder: Path, names: Mapping[str, str], languages: Sequence[str]) -> list[DatasetRef]:
    """The suite's sets in a folder, in any layout; none where it holds others.

    Raises
    ------
    InvalidInputError
        If the folder holds no set at all, or one twice.
    """
    found = [
        _called(ref, task)
        for ref in from_folder(folder)
        if (task := names.get(plain_name(ref.task))) and ref.language in languages
    ]
    refuse_twice(found, f"{folder}: holds")
    return found


def _called(ref: DatasetRef, task: str) -> DatasetRef:
    """A set under the suite's name for it."""
    return ref if ref.task == task else replace(ref, task=task, load=lambda: replace(ref.load(), task=task))


def _no_sets(folder: Path) -> list[DatasetRef]:
    raise InvalidInputError(f"{folder}: holds none of the suite's sets")


def suite_names() -> list[str]:
    """The suites there are."""
    return sorted(path.stem for path in data_folder("suites").glob("*.toml"))


def load_suite(name: str) -> Suite:
    """Read a suite by its name, or from a file.

    Raises
    ------
    InvalidInputError
        If there is none, or the file is no suite.
    """
    own = name.endswith(".toml")
    path = Path(name) if own else data_folder("suites") / f"{name}.toml"
    if not path.is_file():
        there = (
            "no such file" if own else f"there are {', '.join(suite_names())}; of your own, give the .toml"
        )
        raise InvalidInputError(f"there is no suite {name!r}; {there}")
    facts = read_toml(path)
    check_suite(path, facts)
    return Suite(
        path.stem,
        facts["title"],
        facts["model"],
        facts.get("cross_lingual", False),
        facts.get("shared_queries", False),
        [_published(path, name) for name in facts.get("published", ())],
        path.parent,
        facts,
    )


def _published(suite: Path, name: str) -> str:
    """A file of published scores: its name in ours, else its path where it lies beside the suite."""
    if (data_folder("published") / name).is_file():
        return name
    if not (suite.parent / name).is_file():
        raise InvalidInputError(
            f"{suite}: 'published' names {name!r}, which is neither bundled nor beside it"
        )
    return str((suite.parent / name).absolute())


def data_folder(name: str) -> Path:
    """``eval/NAME``: in a wheel below this package, in a clone at its root."""
    here = Path(__file__).parent / "data" / name
    return here if here.is_dir() else Path(__file__).parents[2] / "eval" / name


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises
    ------
    InvalidInputError
        If it is none.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: can't be read: {error}") from error
