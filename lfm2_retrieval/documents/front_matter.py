"""Front matter: settings at the head of a Markdown file, which become metadata."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInputError
from ..json_values import plain

__all__ = ["split_front_matter"]

_YAML = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_TOML = re.compile(r"\+\+\+[ \t]*\r?\n(.*?)^\+\+\+[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_MOST = 1 << 16


def split_front_matter(text: str) -> tuple[dict[str, Any], int]:
    """The settings at the head of a Markdown text, and where the rest begins.

    What is malformed, or no mapping, stays text.
    """
    for pattern, parse in ((_YAML, _parse_yaml), (_TOML, _parse_toml)):
        if found := pattern.match(text[:_MOST]):
            values = parse(found[1])
            if values is not None:
                return values, found.end()
    return {}, 0


def _parse_yaml(text: str) -> dict[str, Any] | None:
    import yaml  # comes with transformers

    try:
        # Of few aliases a document of any size could be made.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            return None
        return _values(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None


def _parse_toml(text: str) -> dict[str, Any] | None:
    try:
        return _values(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _values(found: object) -> dict[str, Any] | None:
    if not isinstance(found, Mapping):
        return None
    try:
        values = {str(key): plain(value) for key, value in found.items()}
    except (InvalidInputError, RecursionError):
        return None
    return {key: value for key, value in values.items() if value is not None}
