"""What a suite's file may hold; what is wrong in one is told with the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .systems import parse_systems

__all__ = ["LAYOUTS", "SOURCES", "check_suite"]

LAYOUTS = ("config", "config-shared-qrels", "split")
_COMMON: Mapping[str, type] = {
    "title": str,
    "source": str,
    "model": str,
    "tasks": list,
    "languages": list,
    "cross_lingual": bool,
    "shared_queries": bool,
    "published": list,
    "documents_per_language": int,
    "settings": dict,
}
SOURCES: Mapping[str, Mapping[str, type]] = {
    "bundled": {},
    "folder": {"folders": list, "split": str},
    "hub": {"repositories": list, "all_languages": list},
    "ir-datasets": {"sets": dict},
}
"""Where sets come from → the keys that this source has of its own; the first of each is needed."""
_SETTINGS: Mapping[str, type | tuple[str, ...]] = {
    "systems": list,
    "compat": ("pylate", "sentence-transformers", "mteb"),
    "depth": int,
    "batch_size": int,
    "seed": int,
}
_KINDS = {str: "a string", list: "a list", bool: "true or false", int: "a whole number", dict: "a table"}


def check_suite(path: Path, facts: Mapping[str, Any]) -> None:
    """Hold a suite's file to what a suite is.

    Raises
    ------
    InvalidInputError
        Naming the file and the key.
    """
    source = facts.get("source")
    if "source" in facts and (not isinstance(source, str) or source not in SOURCES):
        raise InvalidInputError(f"{path}: the source is one of {', '.join(SOURCES)}, not {source!r}")
    own = SOURCES.get(str(source), {})
    needed = ["title", "source", "model", *list(own)[:1]]
    if source != "folder":  # a folder says itself what it holds
        needed += ["languages", "tasks"]
    for key in needed:
        if key not in facts:
            raise InvalidInputError(f"{path}: a suite has {key!r}")
    known = {**_COMMON, **own}
    for key, value in facts.items():
        if key not in known:
            raise InvalidInputError(
                f"{path}: knows no {key!r}; a suite of this source has {', '.join(known)}"
            )
        _check_kind(path, key, value, known[key])
    for key in ("tasks", "languages", "all_languages", "published", "folders"):
        _check_names(path, key, facts)
    if absent := set(facts.get("languages", ())) - set(
        facts.get("all_languages", facts.get("languages", ()))
    ):
        raise InvalidInputError(f"{path}: 'all_languages' lacks {min(absent)!r}, which 'languages' has")
    for key, value in facts.get("settings", {}).items():
        _check_setting(path, key, value)
    for number, repository in enumerate(facts.get("repositories", ()), 1):
        _check_repository(path, number, repository)
    if source == "ir-datasets":
        for task in facts["tasks"]:
            _check_set(path, task, facts["sets"].get(task))


def _check_kind(path: Path, key: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidInputError(f"{path}: {key!r} is {value!r}; {_KINDS[kind]} is expected")


def _check_names(path: Path, key: str, facts: Mapping[str, Any]) -> None:
    names = facts.get(key, ["-"])
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidInputError(f"{path}: {key!r} is {names!r}; a list of strings is expected")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"{path}: {key!r} names one twice")
    if not names and key != "published":
        raise InvalidInputError(f"{path}: {key!r} is empty")


def _check_setting(path: Path, key: str, value: Any) -> None:
    if key not in _SETTINGS:
        raise InvalidInputError(f"{path}: there is no setting {key!r}; there are {', '.join(_SETTINGS)}")
    kind = _SETTINGS[key]
    if isinstance(kind, type):
        _check_kind(path, key, value, kind)
        if kind is list:
            _check_systems(path, value)
            return
        least = {"depth": 100, "batch_size": 1}.get(key, 0)
        if value < least:
            raise InvalidInputError(f"{path}: {key!r} is {value}; at least {least} is expected")
    elif value not in kind:
        raise InvalidInputError(f"{path}: {key!r} is {value!r}; one of {', '.join(kind)} is expected")


def _check_systems(path: Path, names: list[Any]) -> None:
    try:
        parse_systems(map(str, names))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: 'systems': {error}") from None


def _check_repository(path: Path, number: int, repository: Any) -> None:
    place = f"{path}: repository {number}"
    if not isinstance(repository, dict) or not isinstance(repository.get("name"), str):
        raise InvalidInputError(f"{place} needs a 'name': OWNER/NAME")
    if repository.get("layout") not in LAYOUTS:
        raise InvalidInputError(
            f"{place}: the layout is one of {', '.join(LAYOUTS)}, not {repository.get('layout')!r}"
        )
    if not isinstance(repository.get("revision", ""), str):
        raise InvalidInputError(f"{place}: the revision is a string")
    for key, what in (("revisions", "commit"), ("names", "OWNER/NAME")):
        table = repository.get(key, {})
        if not isinstance(table, dict) or not all(isinstance(one, str) for one in table.values()):
            raise InvalidInputError(f"{place}: {key} are a table of language and {what}")


def _check_set(path: Path, task: str, facts: Any) -> None:
    md5 = facts.get("md5") if isinstance(facts, dict) else None
    parts = ("corpus", "queries", "qrels")
    if (
        not isinstance(facts, dict)
        or not isinstance(facts.get("id"), str)
        or not isinstance(md5, dict)
        or not all(isinstance(md5.get(part), str) and len(md5[part]) == 32 for part in parts)
    ):
        raise InvalidInputError(
            f"{path}: the task {task!r} needs [sets.{task}] with 'id' and the MD5 of {', '.join(parts)}"
        )
