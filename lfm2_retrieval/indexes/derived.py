"""What the catalogue derives from its documents so as to find them: words, and columns of declared fields."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from .fields import check_fields, declare
from .word_tables import drop_words, make_words

__all__ = ["derive"]


def derive(
    connection: sqlite3.Connection, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Make and remove what the settings before and after differ in; inside a transaction that may write.

    Returns
    -------
    dict
        ``lexical`` and ``fields`` as they are now. Fields once declared stay.

    Raises
    ------
    InvalidInputError
        If the fields are too many; then nothing was done.
    """
    lexical, had = bool(after.get("lexical")), bool(before.get("lexical"))
    declared = list(before.get("fields") or [])
    fields = check_fields([*declared, *(after.get("fields") or [])])
    declare(connection, declared, fields)
    if lexical and not had:
        make_words(connection)
    elif had and not lexical:
        drop_words(connection)
    return {"lexical": lexical, "fields": fields}
