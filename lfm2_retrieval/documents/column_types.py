"""The types of columns whose cells are all text, as in CSV.

A column has a type if all its cells agree and come back the same: as ``7`` does of 7, and ``007`` doesn't.
Empty cells count for nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from ..errors import InvalidInputError

__all__ = ["ColumnType", "TypeFinder", "check_types", "convert", "fits"]

_WHOLE = re.compile(r"-?[1-9][0-9]{0,17}|0", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|[+-]?\.[0-9]+", re.ASCII)
_TRUTHS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_STYLES = ({"true", "false"}, {"True", "False"}, {"TRUE", "FALSE"})


class ColumnType(StrEnum):
    """What a column's cells are."""

    INT = "int"
    FLOAT = "float"
    """Numbers, of which some may be whole."""
    BOOL = "bool"
    STR = "str"


def check_types(types: Mapping[str, str]) -> None:
    """Refuse what is no type.

    Raises
    ------
    InvalidInputError
        Naming the column.
    """
    for column, type in types.items():
        if type not in set(ColumnType):
            raise InvalidInputError(f"{column}={type}: a type is one of {', '.join(ColumnType)}")


class TypeFinder:
    """Finds the types of some columns from all their cells, fed row by row."""

    def __init__(self, n_columns: int) -> None:
        self._found: list[ColumnType | None] = [None] * n_columns
        self._styles: list[set[str]] = [set() for _ in range(n_columns)]
        self._numeric = [True] * n_columns

    def feed(self, cells: Sequence[str]) -> None:
        """Look at a row."""
        for i, cell in enumerate(cells):
            if not cell or (self._found[i] is ColumnType.STR and not self._numeric[i]):
                continue
            self._numeric[i] = self._numeric[i] and _NUMBER.fullmatch(cell) is not None
            found, before = _type(cell), self._found[i]
            if found is ColumnType.BOOL:
                self._styles[i].add(cell)
            if before is None or before is found:
                self._found[i] = found
            elif {before, found} == {ColumnType.INT, ColumnType.FLOAT}:
                self._found[i] = ColumnType.FLOAT
            else:
                self._found[i] = ColumnType.STR

    def types(self) -> list[ColumnType]:
        """The type of each column."""
        return [
            found
            if found is not None and (found is not ColumnType.BOOL or any(styles <= one for one in _STYLES))
            else ColumnType.STR
            for found, styles in zip(self._found, self._styles, strict=True)
        ]

    def numeric(self) -> list[bool]:
        """Of each column whether it is text that consists of numbers."""
        return [
            numeric and found is ColumnType.STR
            for numeric, found in zip(self._numeric, self._found, strict=True)
        ]


def _type(cell: str) -> ColumnType:
    if _WHOLE.fullmatch(cell):
        return ColumnType.INT
    if cell in _TRUTHS:
        return ColumnType.BOOL
    if _NUMBER.fullmatch(cell) and math.isfinite(number := float(cell)) and repr(number) == cell:
        return ColumnType.FLOAT
    return ColumnType.STR


def fits(cell: str, type: ColumnType) -> bool:
    """Whether a cell comes back the same from a type that was found in others."""
    found = _type(cell)
    return type is ColumnType.STR or found is type or (found, type) == (ColumnType.INT, ColumnType.FLOAT)


def convert(cell: str, type: str) -> str | int | float | bool:
    """A cell's value, of a type that was found or asked for.

    Raises
    ------
    ValueError
        If it has none.
    """
    if type == ColumnType.STR:
        return cell
    if type == ColumnType.BOOL:
        return {"true": True, "1": True, "false": False, "0": False}[cell.strip().lower()]
    if not _NUMBER.fullmatch(cell.strip()):
        raise ValueError(f"{cell!r} is no number")
    number = float(cell)
    if type == ColumnType.INT:
        return int(cell)
    if not math.isfinite(number):
        raise ValueError(f"{cell!r} is beyond the numbers of 64-bit floats")
    return int(cell) if _WHOLE.fullmatch(cell) else number
