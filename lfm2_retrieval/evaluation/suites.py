"""Suites as data, ``eval/suites/*.toml``: what a suite runs and where its sets come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .datasets import DatasetRef, beir_ref
from .sources import choose, from_folder, from_hub, from_ir_datasets

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
        Files of `eval/published` to put ours beside.
    facts
        The rest of the file.
    """

    name: str
    title: str
    model: str
    cross_lingual: bool
    shared_queries: bool
    published: Sequence[str]
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
        known = list(self.facts.get("all_languages", self.facts["languages"]))
        wanted = list(self.facts["languages"]) if not languages else list(languages)
        wanted = known if wanted == ["all"] else wanted
        names = list(self.facts["tasks"])
        source = self.facts["source"]
        if source == "bundled":
            refs = [
                beir_ref(_BUNDLED / name, location=f"bundled, {name}")
                for name in (f"{task}-{language}" for task in names for language in known)
            ]
        elif source == "ir-datasets" and folder is None:
            refs = from_ir_datasets(self.facts["sets"], names, offline=offline)
        elif source == "ir-datasets" and folder is not None:
            refs = _english(folder)
        else:
            refs = self._from_hub(repository, names, known, folder, offline)
        return choose(refs, tasks, wanted)

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
        if folder is not None and any(folder.rglob("*.parquet")) and name is None:
            return _any_layout(folder, tasks, languages) or _no_sets(folder)
        return from_hub(
            entry["name"],
            entry.get("revisions", entry.get("revision")),
            entry["layout"],
            tasks,
            languages,
            folder=folder,
            offline=offline,
        )


def _any_layout(folder: Path, tasks: Sequence[str], languages: Sequence[str]) -> list[DatasetRef]:
    return [ref for ref in from_folder(folder) if ref.task in tasks and ref.language in languages]


def _english(folder: Path) -> list[DatasetRef]:
    return [ref for ref in from_folder(folder) if ref.language == "en"] or _no_sets(folder)


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
    path = Path(name) if name.endswith(".toml") else data_folder("suites") / f"{name}.toml"
    if not path.is_file():
        raise InvalidInputError(f"there is no suite {name!r}; there are {', '.join(suite_names())}")
    facts = read_toml(path)
    if missing := {"title", "source", "model", "languages", "tasks"} - facts.keys():
        raise InvalidInputError(f"{path}: a suite has {min(missing)!r}")
    return Suite(
        path.stem,
        facts["title"],
        facts["model"],
        bool(facts.get("cross_lingual", False)),
        bool(facts.get("shared_queries", False)),
        facts.get("published", ()),
        facts,
    )


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
