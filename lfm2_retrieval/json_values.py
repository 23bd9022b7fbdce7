"""Python's and other libraries' values as JSON values."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from .errors import InvalidInputError

__all__ = ["is_absent", "plain", "whole_number"]

_PLAIN = frozenset((str, bool, int))
_EXACT = 1 << 53
"""Up to here a float tells whole numbers apart."""


def is_absent(value: Any) -> bool:  # noqa: PLR0911  (a line a kind)
    """Whether a value stands for none: None, NaN, NaT, pandas' NA, NumPy's masked."""
    if value is None:
        return True
    if isinstance(value, (str, bytes, int)):
        return False
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    if _is_numpy_scalar(value):
        return bool(getattr(value.dtype, "kind", "f") in "fcmM" and value != value)  # noqa: PLR0124  (NaN, NaT)
    return _is_arrow_scalar(value) and is_absent(value.as_py())


def whole_number(value: Any) -> int | None:
    """A whole number of any type, floats included; None for what is none, such as a bool."""
    value = _python_scalar(value)
    if isinstance(value, (bool, Enum)):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (float, Decimal)) and math.isfinite(value):
        number = int(value)
        return number if number == value and abs(number) <= _EXACT else None
    return None


def plain(value: Any, *, keep_none: bool = False) -> Any:
    """A value as JSON has it.

    Dates and times become strings in ISO format that compare as they do (with a zone: in UTC), a duration
    its seconds; numbers of other libraries become numbers; UUIDs and paths strings; an ``Enum`` is its value;
    sets (sorted), tuples and arrays become lists. What is absent (:func:`is_absent`) is left out of mappings,
    and null in lists.

    Parameters
    ----------
    value
        Nested as deeply as one likes.
    keep_none
        Leave None in mappings.

    Raises
    ------
    InvalidInputError
        If there is no such value.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {
            str(key) if isinstance(key, str) else key: plain(item, keep_none=keep_none)
            for key, item in value.items()
            if not is_absent(item) or (keep_none and item is None)
        }
    if type(value) in (list, tuple):
        return [None if is_absent(item) else plain(item, keep_none=keep_none) for item in value]
    if _is_arrow_scalar(value):
        return plain(value.as_py())
    if isinstance(value, Enum):
        return plain(value.value)
    return _scalar(value)


def _scalar(value: Any) -> Any:  # noqa: PLR0911, PLR0912  (a line a kind)
    """A value that is no plain JSON, nor a mapping or list."""
    value = _python_scalar(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise InvalidInputError(f"{value} is no JSON number")
        return float(value)
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, (date, time, timedelta)):
        return _time(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, UUID) or type(value).__name__ in ("ObjectId", "Period"):  # of MongoDB, of pandas
        return str(value)
    if isinstance(value, Set):
        return _sorted([plain(item) for item in value])
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise InvalidInputError(f"{type(value).__name__} can't be stored; decode them, or leave them out")
    if callable(tolist := getattr(value, "tolist", None)):  # NumPy, pandas, torch
        return plain(tolist())
    if isinstance(value, Iterable) and hasattr(value, "__len__") and not hasattr(value, "keys"):
        return plain(list(value))
    raise InvalidInputError(f"a {type(value).__name__} is none of JSON's values; convert or leave it out")


def _python_scalar(value: Any) -> Any:
    """A scalar of NumPy or Arrow as one of Python; all else as it is."""
    if _is_arrow_scalar(value):
        return value.as_py()
    if not _is_numpy_scalar(value) or isinstance(value, (str, bytes)):
        return value
    kind = getattr(value.dtype, "kind", "")  # torch's types have none
    if kind == "M":
        return _numpy_time(str(value))
    if kind == "m":
        return value.astype("timedelta64[us]").item()
    return value.item()


def _is_numpy_scalar(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "shape", None) == ()


def _is_arrow_scalar(value: Any) -> bool:
    return callable(getattr(value, "as_py", None))


def _sorted(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=lambda item: (type(item).__name__, str(item)))


def _numpy_time(text: str) -> str:
    """A time as NumPy writes it, with as many digits of the second as Python gives."""
    seconds, point, digits = text.partition(".")
    digits = digits.rstrip("0")
    return seconds + (point + digits.ljust(6 if len(digits) <= 6 else 9, "0") if digits else "")


def _time(value: date | time | timedelta) -> str | float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime) and value.utcoffset() is not None:
        value = value.astimezone(UTC)
    return value.isoformat()


def _decimal(value: Decimal) -> int | float | str:
    """The number where a float or a whole number is the same one, else its digits."""
    if not value.is_finite():
        raise InvalidInputError(f"{value} is no JSON number")
    if value == value.to_integral_value() and abs(value) <= _EXACT:
        return int(value)
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)
