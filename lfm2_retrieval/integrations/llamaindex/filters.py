"""LlamaIndex's filters as ours, every operator of them.

A list in the metadata compares as any of its elements would. Two operators ask for what our filters don't
tell: whether a string holds another in the same case, and whether a list is empty. Documents that may meet
them are read, and named by their ids.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from ...errors import InvalidInputError
from ...searchable import Searchable
from .nodes import NODE_ID

__all__ = ["any_of", "one_of", "to_where"]

_COMPARISONS = {
    FilterOperator.EQ: "=",
    FilterOperator.CONTAINS: "=",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
}
_LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
_NEVER, _ALWAYS = "FALSE", "TRUE"


def to_where(
    filters: MetadataFilters | None,
    retriever: Searchable,
    *,
    documents: Sequence[str] | None = None,
    nodes: Sequence[str] | None = None,
) -> str | None:
    """A filter of LlamaIndex as ours, in SQL; None where it says nothing.

    Parameters
    ----------
    filters
        May be nested.
    retriever
        Is asked for documents where our filters can't tell.
    documents, nodes
        Ids of source documents, and of nodes, to choose from.

    Raises
    ------
    InvalidInputError
        If an operator can't do with a value; the message says what it takes.
    """
    parts = [] if filters is None or not filters.filters else [_filters(filters, retriever)]
    parts += [one_of("ref_doc_id", documents)] if documents else []
    parts += [any_of(nodes)] if nodes else []
    return " AND ".join(f"({part})" for part in parts) or None


def any_of(nodes: Sequence[str]) -> str:
    """The nodes of some ids; in an index that something else made, its documents."""
    return f"{one_of(NODE_ID, nodes)} OR {one_of('id', nodes)}" if nodes else _NEVER


def _filters(filters: MetadataFilters, retriever: Searchable) -> str:
    parts = [
        _filters(one, retriever) if isinstance(one, MetadataFilters) else _filter(one, retriever)
        for one in filters.filters
    ]
    condition = FilterCondition.AND if filters.condition is None else filters.condition
    if not parts:
        return _NEVER if condition is FilterCondition.OR else _ALWAYS
    if condition is FilterCondition.AND:
        return " AND ".join(f"({part})" for part in parts)
    joined = " OR ".join(f"({part})" for part in parts)
    return f"NOT ({joined})" if condition is FilterCondition.NOT else joined


def _filter(filter: MetadataFilter, retriever: Searchable) -> str:
    name, operator, value = _name(filter.key), filter.operator, filter.value
    if operator is FilterOperator.IS_EMPTY:
        return _is_empty(filter.key, retriever)
    if operator in (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE):
        return _text_match(filter.key, value, operator is FilterOperator.TEXT_MATCH, retriever)
    if operator in _LISTS:
        return _with_list(filter.key, operator, value)
    if isinstance(value, list):
        raise InvalidInputError(
            f"{operator.value!r} on {filter.key!r} takes one value, not {value!r:.80}; a list goes with "
            "'in', 'nin', 'any' and 'all'"
        )
    if value is None:
        if operator not in (FilterOperator.EQ, FilterOperator.NE):
            return _NEVER
        return f"{name} IS NULL" if operator is FilterOperator.EQ else f"{name} IS NOT NULL"
    return f"{name} {_COMPARISONS[operator]} {_literal(filter.key, value)}"


def _with_list(key: str, operator: FilterOperator, value: Any) -> str:
    if not isinstance(value, list):
        raise InvalidInputError(f"{operator.value!r} on {key!r} takes a list, not {value!r:.80}")
    if operator is FilterOperator.ALL:
        return " AND ".join(f"{_name(key)} = {_literal(key, one)}" for one in value) or _ALWAYS
    found = one_of(key, value)
    return f"NOT ({found})" if operator is FilterOperator.NIN else found


def _text_match(key: str, value: Any, same_case: bool, retriever: Searchable) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"text_match on {key!r} takes a string, not {value!r:.80}")
    pattern = "%" + "".join(f"{part}%" for part in re.findall(r"[ -$&-^`-~]+", value))
    may = f"{_name(key)} LIKE {_literal(key, pattern)}"
    if not same_case and pattern == f"%{value}%":
        return may
    sought = value if same_case else value.lower()

    def holds(found: Any) -> bool:
        return isinstance(found, str) and sought in (found if same_case else found.lower())

    return _among(retriever, key, may, lambda found: any(map(holds, _elements(found))))


def _is_empty(key: str, retriever: Searchable) -> str:
    """Missing, null, an empty string or an empty list."""
    name = _name(key)
    some = f"{name} >= -1.7e308 OR {name} > '' OR {name} IN (TRUE, FALSE)"
    read = _among(retriever, key, f"NOT ({some}) AND {name} IS NOT NULL", lambda found: found in ("", []))
    return f"{name} IS NULL OR {read}"


def _among(retriever: Searchable, key: str, may: str, holds: Callable[[Any], bool]) -> str:
    """Of the documents that may meet a condition, those that do."""
    return any_of([one.id for one in retriever.documents(may) if holds(one.metadata.get(key))])


def _elements(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]


def one_of(key: str, values: Sequence[Any]) -> str:
    """A field that has one of some values."""
    if not values:
        return _NEVER
    return f"{_name(key)} IN ({', '.join(_literal(key, value) for value in values)})"


def _name(key: str) -> str:
    if not key:
        raise InvalidInputError("a filter needs the key of a metadata field")
    return '"' + key.replace('"', '""') + '"'


def _literal(key: str, value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if value is None:
        return "NULL"
    if not math.isfinite(value):
        raise InvalidInputError(f"the filter on {key!r} compares with {value}, which no document has")
    return repr(value)
