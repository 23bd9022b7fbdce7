"""The settings of an index: what callers may keep there, and what is the index's own."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import __version__
from ...errors import InvalidInputError
from ..analysis.versions import SETTING
from ..filters.fields import check_fields
from ..quantization.codec import Tier

__all__ = [
    "CONTENT",
    "LONGEST",
    "RESERVED",
    "WIDEST",
    "check_settings",
    "faults",
    "make_settings",
    "parse_tier",
    "replaced_settings",
]

CONTENT = "content_id"
"""The setting that is another whenever the whole content is replaced; the first versions left it out."""

WIDEST = 1 << 20
"""No vector is wider; what says so is damaged."""
LONGEST = 1 << 24
"""So many characters of JSON a setting may have."""
RESERVED = (
    *("dim", "tier", "created_by", "uuid", "horizon", "seed", CONTENT),
    *("recall", "tuned", "min_score", "errors", "lexical", SETTING, "fields", "passages"),
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what couldn't be read again.

    Raises
    ------
    InvalidInputError
        If a name is not a str, or a lone surrogate is in it, or a value is not JSON, or too long.
    """
    try:
        if len(json.dumps(dict(settings), allow_nan=False)) > LONGEST:
            raise ValueError(f"they are longer than {LONGEST:,} characters")
        for name in settings:
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} is no str")
            name.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the settings are not JSON: {error}") from error


def make_settings(
    dim: int,
    settings: Mapping[str, Any] | None,
    *,
    tier: Tier | str = Tier.BALANCED,
    seed: int = 0,
    lexical: bool = True,
    fields: Sequence[str] = (),
    passages: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a new index.

    Raises
    ------
    InvalidInputError
        If ``dim`` is not a whole number from 1 to 2²⁰, there is no such tier, the seed is not one from 0 to
        2³¹ - 1, a setting is reserved or not JSON, or a field can't be named.
    """
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise InvalidInputError(f"dim must be a positive whole number, not {dim!r}")
    if dim > WIDEST:
        raise InvalidInputError(f"dim must be at most {WIDEST}, not {dim}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 31:
        raise InvalidInputError(f"seed must be a whole number from 0 to 2³¹ - 1, not {seed!r}")
    if reserved := sorted(set(settings or {}) & set(RESERVED)):
        raise InvalidInputError(f"these settings are the index's own: {', '.join(reserved)}")
    values = dict(settings or {})
    check_settings(values)
    return {
        "dim": int(dim),
        "tier": str(parse_tier(tier)),
        "seed": int(seed),
        "created_by": f"lfm2-retrieval {__version__}",
        CONTENT: uuid.uuid4().hex,
        "lexical": bool(lexical),
        "fields": check_fields(fields),
        **({} if passages is None else {"passages": _checked_passages(passages)}),
        **values,
    }


def _checked_passages(passages: Mapping[str, Any]) -> dict[str, Any]:
    if not _PASSAGES(dict(passages)):
        raise InvalidInputError(
            f"passages are described by tokens, overlap and headings, not {passages!r:.80}"
        )
    return dict(passages)


def replaced_settings(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an index whose content is replaced: what isn't given stays as it was.

    Raises
    ------
    InvalidInputError
        As for `make_settings`.
    """
    own = ("dim", "tier", "lexical", "fields", "passages")
    others = {key: value for key, value in given.items() if key not in own}
    dim, tier = (given.get(name, before[name]) for name in ("dim", "tier"))
    # Whether there are passages goes with the content, so that it is not as it was.
    made = make_settings(dim, others, tier=tier, seed=before.get("seed", 0), passages=given.get("passages"))
    return made | {name: given.get(name, before.get(name)) for name in ("lexical", "fields")}


def parse_tier(name: object) -> Tier:
    """The tier of a name.

    Raises
    ------
    InvalidInputError
        If there is none.
    """
    try:
        return Tier(str(name))
    except ValueError:
        raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {name!r}") from None


def faults(settings: Mapping[str, Any]) -> list[str]:
    """The index's own settings whose values can't be: of another type, out of range, or missing.

    A stored index may be somebody's work, with all its checksums right.
    """
    return [
        name
        for name, (needed, is_right) in _OWN.items()
        if not (_holds(is_right, settings[name]) if settings.get(name) is not None else not needed)
    ]


def _holds(is_right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return is_right(value)
    except (TypeError, ValueError, RecursionError):  # InvalidInputError is a ValueError
        return False


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _LARGEST and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and value <= 1


def _perhaps(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _object(
    needed: Mapping[str, Callable[[Any], bool]], others: Mapping[str, Callable[[Any], bool]]
) -> Callable[[Any], bool]:
    def is_right(value: Any) -> bool:
        if not isinstance(value, dict) or not needed.keys() <= value.keys():
            return False
        known = {**needed, **others}
        return all(known[name](one) for name, one in value.items() if name in known)

    return is_right


_LARGEST = 1e30
_count, _size = _whole(1, 1 << 40), _whole(0, 1 << 62)
_SEARCH = {name: _perhaps(_count) for name in ("nprobe", "candidates", "rerank")}
_PASSAGES = _object(
    {"overlap": _size, "headings": lambda value: type(value) is bool}, {"tokens": _perhaps(_count)}
)
_OWN: dict[str, tuple[bool, Callable[[Any], bool]]] = {
    "dim": (True, _whole(1, WIDEST)),
    "tier": (True, lambda value: value in ("compact", "balanced", "accurate", "exact")),
    "created_by": (True, lambda value: isinstance(value, str)),
    "uuid": (True, lambda value: bool(re.fullmatch("[0-9a-f]{32}", value))),
    "horizon": (True, _size),
    CONTENT: (False, lambda value: isinstance(value, str)),
    "seed": (False, _whole(0, (1 << 31) - 1)),
    "lexical": (False, lambda value: type(value) is bool),
    "fields": (False, lambda value: isinstance(value, list) and check_fields(value) == value),
    "passages": (False, _PASSAGES),
    "tuned": (False, _object({"k": _count, **_SEARCH}, {"target_recall": _share, "n_documents": _size})),
    "recall": (
        False,
        _object(
            {
                **{"recall": _share, "k": _count, "n_queries": _size, "milliseconds": _number},
                **{"n_documents": _size, "from_documents": lambda value: type(value) is bool},
            },
            {**_SEARCH, "error": _number, "n_tokens": _size},
        ),
    ),
    "errors": (
        False,
        _object(
            {
                **{"codec": _size, "measured": _size},
                **{"mean_square_to_centroid": _number, "mean_square_error": _number},
            },
            {"worst": _number},
        ),
    ),
}
"""Of each setting of the index itself: whether it must be there, and what it may be."""
