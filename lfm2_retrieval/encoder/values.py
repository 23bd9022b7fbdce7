"""Values of a checkpoint's JSON files, checked as they are read."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from ..errors import CheckpointError
from ..platform.plain_files import NotRegularError, read_regular
from ..printable import quoted

__all__ = ["Values", "read_file", "read_json"]

T = TypeVar("T")
_MOST_BYTES = 1 << 23
_MOST = (1 << 31) - 1
_NO_FILE = (errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM)
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

    def whole(self, name: str, default: int | None = None, *, least: int = 1, most: int = _MOST) -> int:
        """A whole number from ``least`` to ``most``."""
        found = self._value(name, int, default)
        if not least <= found <= most:
            bound = f"at least {least}" if found < least else f"at most {most:,}"
            raise CheckpointError(f"{self._file}: {name} must be {bound}, not {quoted(found)}")
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        found = self._value(name, float, default)
        try:
            if math.isfinite(found):
                return found
        except OverflowError:
            pass
        raise CheckpointError(f"{self._file}: {name} must be a finite number, not {quoted(found)}")

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
            return self.object(name).string("content", "") or None
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
        raise CheckpointError(f"{what} must be {_CALLED[kind]}, not {quoted(value)}; fetch the model again")
    if isinstance(value, str) and not _is_text(value):
        raise CheckpointError(f"{what} is no text: {quoted(value)}; fetch the model again")
    return value  # type: ignore[return-value]


def _is_text(value: str) -> bool:
    """Whether there is no lone surrogate in it, which the tokenizers library can't take."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_file(path: Path, most: int) -> bytes:
    """The contents of a file of a checkpoint: a regular one, or in the hub's cache a link to one.

    Raises
    ------
    FileNotFoundError
        If it isn't there.
    CheckpointError
        If it is something else than a regular file, can't be read or has more than ``most`` bytes.
    """
    try:
        with read_regular(path, follow=True) as file:
            data = file.read(most + 1)
    except (NotRegularError, ValueError) as error:
        raise CheckpointError(f"{quoted(str(path))} is no regular file; fetch the model again") from error
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise CheckpointError(f"{path} can't be read: {error.strerror}; fetch the model again") from error
    if len(data) > most:
        raise CheckpointError(f"{path} has more than {most:,} bytes, which no such file needs")
    return data


def read_json(path: Path, missing: Any = None) -> Any:
    """The contents of a JSON file; ``missing``, if given, where there is none.

    Raises
    ------
    CheckpointError
        If the file is missing with no substitute, is no regular file, too large or not JSON.
    """
    try:
        return json.loads(read_file(path, _MOST_BYTES).decode())
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise CheckpointError(
            f"{path} is missing: a checkpoint in the PyLate or sentence-transformers layout is expected"
        ) from None
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
