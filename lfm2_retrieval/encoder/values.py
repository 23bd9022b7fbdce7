"""Values of a checkpoint's JSON files, checked as they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from ..errors import CheckpointError

__all__ = ["Values", "read_json"]

T = TypeVar("T")
_CALLED = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    list: "an array",
    dict: "an object",
}


class Values:
    """The object in a JSON file. A name that isn't there and null are the same: the default.

    Parameters
    ----------
    raw
        What the file holds.
    file
        How errors call it.

    Raises
    ------
    CheckpointError
        If ``raw`` is no object; by the methods, if a value is of another kind, or missing with no default.
    """

    def __init__(self, raw: object, file: str) -> None:
        self._raw, self._file = _checked(raw, dict, file), file

    def __contains__(self, name: str) -> bool:
        return self._raw.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def whole(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number, ``least`` or more."""
        found = self._value(name, int, default)
        if found < least:
            raise CheckpointError(f"{self._file}: {name} must be at least {least}, not {found}")
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        return self._value(name, float, default)

    def string(self, name: str, default: str | None = None) -> str:
        """A string."""
        return self._value(name, str, default)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        return self._value(name, bool, default)

    def array(self, name: str, kind: type[T], default: Iterable[T] | None = None) -> tuple[T, ...]:
        """An array of values of one kind; a single value counts as an array of one."""
        found = self._raw.get(name)
        if not isinstance(found, list | NoneType):
            found = [found]
        elif found is None:
            found = self._value(name, list, None if default is None else [*default])
        return tuple(_checked(one, kind, f"{self._file}: each of {name}") for one in found)

    def token(self, name: str) -> str | None:
        """A special token: a string, or an object with its ``content``."""
        if isinstance(self._raw.get(name), dict):
            return self.object(name).token("content")
        return self.string(name, "") or None

    def object(self, name: str) -> Values:
        """An object; an empty one by default."""
        return Values(self._raw.get(name) or {}, f"{self._file}: {name}")

    def _value(self, name: str, kind: type[T], default: T | None) -> T:
        found = self._raw.get(name)
        if found is None:
            if default is None:
                raise CheckpointError(f"{self._file} lacks {name!r}, which an LFM2 checkpoint has there")
            return default
        return _checked(found, kind, f"{self._file}: {name}")


def _checked(value: object, kind: type[T], what: str) -> T:
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise CheckpointError(f"{what} must be {_CALLED[kind]}, not {value!r:.60}; fetch the model again")
    return value  # type: ignore[return-value]


def read_json(path: Path, missing: Any = None) -> Any:
    """The contents of a JSON file; ``missing``, if given, where there is none.

    Raises
    ------
    CheckpointError
        If the file is missing with no substitute, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise CheckpointError(
            f"{path} is missing: a checkpoint in the PyLate or sentence-transformers layout is expected"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
