"""Fields that a filter names and no document has: a filter with a misspelt one finds nothing, silently."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...errors import UnknownFieldWarning, callers_level
from .conditions import Sql
from .fields import ID, MISSING, field_value

if TYPE_CHECKING:
    import sqlite3

__all__ = ["check_known", "missing_fields", "warn_of"]

_MOST_CHECKED = 16
_SAMPLE, _LONGEST_SAMPLED = 200, 1 << 16
_MOST_NAMES, _DEEPEST = 1_000, 5
_SHOWN = 12


def check_known(connection: sqlite3.Connection, named: Iterable[str], alive: Sql, checked: set[str]) -> None:
    """Warn of the fields that no document has, once each.

    A field takes a pass over the documents, up to the first that has it.

    Parameters
    ----------
    connection
        To the catalogue.
    named
        The fields.
    alive
        The rows that count.
    checked
        The fields that were looked for before; those that are now are added.
    """
    new = (field for field in dict.fromkeys(named) if field != ID and field not in checked)
    fields = list(islice(new, _MOST_CHECKED))
    if not fields or _is_empty(connection, alive):
        return
    checked.update(fields)
    warn_of(*missing_fields(connection, fields, alive))


def missing_fields(
    connection: sqlite3.Connection, fields: Sequence[str], alive: Sql
) -> tuple[list[str], list[str]]:
    """Those of some fields that no document has, and, if there are any, fields that documents have."""
    unknown = [field for field in fields if not _occurs(connection, field, alive)]
    return unknown, _names(connection, alive) if unknown else []


def warn_of(unknown: Sequence[str], names: list[str]) -> None:
    """Warn of fields that no document has, given some that documents have."""
    for field in unknown:
        warnings.warn(_message(field, names), UnknownFieldWarning, stacklevel=callers_level())


def _is_empty(connection: sqlite3.Connection, alive: Sql) -> bool:
    rows = connection.execute(f"SELECT 1 FROM documents WHERE {alive.text} LIMIT 1", alive.parameters)
    return rows.fetchone() is None


def _occurs(connection: sqlite3.Connection, field: str, alive: Sql) -> bool:
    # Whichever keys the name is read as, the last one ends like this.
    last = json.dumps(field.rpartition(".")[2])[1:] + ":"
    rows = connection.execute(
        f"SELECT metadata FROM documents WHERE {alive.text} AND instr(metadata, ?)", (*alive.parameters, last)
    )
    return any(field_value(json.loads(metadata), field) is not MISSING for (metadata,) in rows)


def _names(connection: sqlite3.Connection, alive: Sql) -> list[str]:
    """Fields that some documents have, the most frequent first."""
    rows = connection.execute(
        f"SELECT metadata FROM documents WHERE {alive.text} AND length(metadata) BETWEEN 3 AND ? LIMIT ?",
        (*alive.parameters, _LONGEST_SAMPLED, _SAMPLE),
    )
    counts: dict[str, int] = {}
    for (metadata,) in rows:
        for name in _paths(json.loads(metadata), _DEEPEST):
            if name in counts or len(counts) < _MOST_NAMES:
                counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])


def _paths(metadata: Mapping[str, Any], levels: int) -> Iterator[str]:
    for key, value in metadata.items():
        if isinstance(value, dict) and value and levels > 1:
            yield from (f"{key}.{rest}" for rest in _paths(value, levels - 1))
        else:
            yield key


def _message(field: str, names: list[str]) -> str:
    known = [*names, ID]
    near = get_close_matches(field, known, 3)
    last = field.rpartition(".")[2].lower()
    near += [name for name in known if name not in near and name.rpartition(".")[2].lower() == last]
    said = f"no document here has the field {field[:80]!r}"
    if near:
        return f"{said}: did you mean {' or '.join(map(repr, near[:3]))}?"
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{said}; there are {shown}{more} and 'id'" if names else f"{said}: they have no metadata"
