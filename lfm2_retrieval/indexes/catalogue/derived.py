"""What the catalogue derives from its documents so as to find them: words, and columns of declared fields."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from ..analysis.versions import ANALYSIS, SETTING
from ..filters.fields import check_fields, declare
from .fts import drop_words, make_words

__all__ = ["derive"]


def derive(
    connection: sqlite3.Connection, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Make and remove what the settings before and after differ in; inside a transaction that may write.

    Words of an older analysis are made anew.

    Returns
    -------
    dict
        ``lexical``, the number of its analysis and ``fields`` as they are now. Fields once declared stay.

    Raises
    ------
    InvalidInputError
        If the fields are too many; then nothing was done.
    """
    lexical, had = bool(after.get("lexical")), bool(before.get("lexical"))
    declared = list(before.get("fields") or [])
    fields = check_fields([*declared, *(after.get("fields") or [])])
    declare(connection, declared, fields)
    kept = lexical and had and before.get(SETTING) == ANALYSIS
    if had and not kept:
        drop_words(connection)
    if lexical and not kept:
        make_words(connection)
    return {"lexical": lexical, SETTING: ANALYSIS, "fields": fields}
