"""Haystack's filters as ours.

Ordering is that of numbers, and of ISO dates as strings: dates are comparable that are written alike. A list
in the metadata compares as any of its elements would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from haystack.errors import FilterError

from ...errors import InvalidInputError
from ...indexes import parse_where
from .documents import RESERVED

__all__ = ["to_where"]

_NEVER: Mapping[str, Any] = {"id": {"$in": []}}
_ORDERS = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_COMPARISONS = ("==", "!=", *_ORDERS, "in", "not in")
_NO_METADATA = ("content", "blob", "score", "embedding", "sparse_embedding", RESERVED)


def to_where(filters: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A filter of Haystack as ours; None where it says nothing.

    Raises
    ------
    FilterError
        If it is malformed, or asks for what there is not; the message says what to write.
    """
    if not filters:
        return None
    where = _condition(filters)
    try:
        parse_where(where)
    except InvalidInputError as error:
        raise FilterError(str(error)) from error
    return where


def _condition(filters: Any) -> Mapping[str, Any]:
    if not isinstance(filters, Mapping):
        raise FilterError(f"a filter is a dict with 'field' or 'conditions', not {filters!r:.80}")
    if "field" in filters:
        return _comparison(filters)
    for key in ("operator", "conditions"):
        if key not in filters:
            raise FilterError(f"'{key}' is missing in the filter {filters!r:.200}")
    operator, conditions = filters["operator"], filters["conditions"]
    if operator not in _LOGIC:
        raise FilterError(f"there is no logical operator {operator!r}; there are AND, OR and NOT")
    if not isinstance(conditions, list):
        raise FilterError(f"'conditions' must be a list, not {conditions!r:.80}")
    return _LOGIC[operator]([_condition(one) for one in conditions])


def _comparison(filters: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("operator", "value"):
        if key not in filters:
            raise FilterError(f"'{key}' is missing in the filter {filters!r:.200}")
    field, operator, value = _field(filters["field"]), filters["operator"], filters["value"]
    if operator not in _COMPARISONS:
        raise FilterError(f"there is no operator {operator!r}; there are {', '.join(_COMPARISONS)}")
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"{operator!r} on {field!r} takes a list of values, not {value!r:.80}")
        return {field: {"$in" if operator == "in" else "$nin": value}}
    if isinstance(value, (list, tuple, set, dict)):
        raise FilterError(
            f"{operator!r} on {field!r} takes one value, not {value!r:.80}: one of several is 'in', and a "
            "list in the metadata compares as any of its elements"
        )
    if operator in _ORDERS:
        return _order(field, operator, value)
    if value is None:
        return {field: None} if operator == "==" else {field: {"$ne": None}}
    return {field: {"$eq" if operator == "==" else "$ne": value}}


def _order(field: str, operator: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return _NEVER
    if isinstance(value, str) and not _is_date(value):
        raise FilterError(
            f"{operator!r} on {field!r} compares with the string {value!r:.80}; only numbers and ISO dates "
            "have an order"
        )
    return {field: {_ORDERS[operator]: value}}


def _is_date(text: str) -> bool:
    for parse in (datetime.fromisoformat, date.fromisoformat):
        try:
            parse(text)
        except ValueError:
            continue
        return True
    return False


def _field(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise FilterError(f"'field' is a name such as 'meta.year', not {name!r:.80}")
    if name in _NO_METADATA:
        raise FilterError(f"{name!r} can't be filtered by; metadata ('meta.year') and 'id' can")
    return name.removeprefix("meta.")


_LOGIC: Mapping[str, Callable[[list[Mapping[str, Any]]], Mapping[str, Any]]] = {
    "AND": lambda parts: {"$and": parts} if parts else {},
    "OR": lambda parts: {"$or": parts} if parts else _NEVER,
    "NOT": lambda parts: {"$not": {"$and": parts}} if parts else _NEVER,
}
