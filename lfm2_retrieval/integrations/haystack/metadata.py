"""What the metadata of some documents hold, as Haystack asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["count_unique", "field_types", "min_max", "unique_values"]

Metadata = Mapping[str, Any]


def key_of(field: str) -> str:
    """A field's key, with or without ``meta.`` in front."""
    return field.removeprefix("meta.")


def count_unique(documents: Iterable[Metadata], fields: Iterable[str]) -> dict[str, int]:
    """How many values each field has."""
    keys = [key_of(field) for field in fields]
    found: dict[str, set[str]] = {key: set() for key in keys}
    for metadata in documents:
        for key in keys:
            if metadata.get(key) is not None:
                found[key].add(_distinct(metadata[key]))
    return {key: len(values) for key, values in found.items()}


def field_types(documents: Iterable[Metadata]) -> dict[str, dict[str, str]]:
    """Each field's type: ``keyword``, ``int``, ``float`` or ``boolean``."""
    types = {}
    for metadata in documents:
        for key, value in metadata.items():
            if value is not None:
                names = {bool: "boolean", int: "int", float: "float"}
                types[key] = {"type": names.get(type(value), "keyword")}
    return types


def min_max(documents: Iterable[Metadata], field: str) -> dict[str, Any]:
    """The least and the greatest value of a field; None where there is none, or values have no order."""
    key = key_of(field)
    values = [found for one in documents if isinstance(found := one.get(key), (int, float, str))]
    try:
        return {"min": min(values), "max": max(values)}
    except (TypeError, ValueError):
        return {"min": None, "max": None}


def unique_values(
    documents: Iterable[Metadata], field: str, search_term: str | None, first: int, size: int
) -> tuple[list[Any], int]:
    """Some of a field's values, in order, and how many there are."""
    key = key_of(field)
    found = {}
    for metadata in documents:
        value = metadata.get(key)
        if value is not None and (search_term or "").lower() in str(value).lower():
            found[_distinct(value)] = value
    ordered = [found[name] for name in sorted(found, key=lambda name: (str(found[name]), name))]
    return ordered[first : first + size], len(ordered)


def _distinct(value: Any) -> str:
    """What is the same for the same values alone: 1, 1.0, "1" and True are four."""
    return json.dumps(value, sort_keys=True)
