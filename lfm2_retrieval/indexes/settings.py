"""The settings of an index: what callers may keep there, and what is the index's own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..errors import InvalidInputError
from .fields import check_fields

__all__ = ["CONTENT", "RESERVED", "WIDEST", "check_settings", "make_settings"]

CONTENT = "content_id"
"""The setting that is another whenever the whole content is replaced; the first versions left it out."""

WIDEST = 1 << 20
"""No vector is wider; what says so is damaged."""
RESERVED = (
    *("dim", "tier", "created_by", "uuid", "horizon", "seed", CONTENT),
    *("recall", "tuned", "min_score", "errors", "lexical", "fields"),
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what couldn't be read again.

    Raises
    ------
    InvalidInputError
        If a name is not a str, or a lone surrogate is in it, or a value is not JSON.
    """
    try:
        json.dumps(dict(settings), allow_nan=False)
        for name in settings:
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} is no str")
            name.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the settings are not JSON: {error}") from error


def make_settings(
    dim: int, settings: Mapping[str, Any] | None, *, lexical: bool = True, fields: Sequence[str] = ()
) -> dict[str, Any]:
    """The settings of a new index.

    Raises
    ------
    InvalidInputError
        If ``dim`` is not a whole number from 1 to 2²⁰, a setting is reserved or not JSON, or a field can't be
        named.
    """
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise InvalidInputError(f"dim must be a positive whole number, not {dim!r}")
    if dim > WIDEST:
        raise InvalidInputError(f"dim must be at most {WIDEST}, not {dim}")
    if reserved := sorted(set(settings or {}) & set(RESERVED)):
        raise InvalidInputError(f"these settings are the index's own: {', '.join(reserved)}")
    values = dict(settings or {})
    check_settings(values)
    derived = {"lexical": bool(lexical), "fields": check_fields(fields)}
    return {
        "dim": int(dim),
        "tier": "exact",
        "created_by": f"lfm2-retrieval {__version__}",
        CONTENT: uuid.uuid4().hex,
        **derived,
        **values,
    }
