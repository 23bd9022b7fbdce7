"""Values as JSON, and as HTML for notebooks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["html_table", "to_json"]

_LONGEST = 300
"""What is shown of a longer text."""


def to_json(value: Any) -> Any:
    """A value as what ``json.dumps`` takes, in every implementation of JSON.

    Mappings become dicts with keys of ``str``, other sequences lists, NumPy's scalars and arrays Python's
    numbers and lists, dates ISO strings; NaN and infinity, which JSON has no word for, None; anything else
    its ``str``.
    """
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(one) for one in value]
    if hasattr(value, "tolist"):  # NumPy, which isn't imported for this
        return to_json(value.tolist())
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):  # exactly these: json.dumps has ideas of its own of classes derived from them
        if isinstance(value, kind):
            return kind(value) if kind is int or math.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def html_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose cells are escaped: nothing that a document holds is markup.

    Parameters
    ----------
    columns
        The heads; none for a table without.
    rows
        As many values each. Long ones are cut.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if columns else ''}<tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:.3f}"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, Mapping):
        text = json.dumps(to_json(value), ensure_ascii=False) if value else ""
    else:
        text = "" if value is None else str(value)
    cut = text[:_LONGEST] + ("…" if len(text) > _LONGEST else "")
    # Each text has its own direction, and none changes that of its neighbours.
    shown = escape(cut.encode("utf-8", "replace").decode())
    return f'<td style="text-align: start"><bdi>{shown}</bdi></td>'
