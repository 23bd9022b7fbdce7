"""Filters as other libraries write them, told by their form, so that an error can say what was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["OURS", "foreign_form", "foreign_operator"]

OURS = (
    'here a filter is a mapping like {"lang": "de", "year": {"$gte": 2020}, "tags": {"$in": ["a", "b"]}} or '
    "SQL like \"lang = 'de' AND year >= 2020\""
)

_HAYSTACK = {"==", "!=", ">", ">=", "<", "<=", "in", "not in"}
_WEAVIATE = {"Equal", "NotEqual", "GreaterThan", "GreaterThanEqual", "LessThan", "LessThanEqual", "Like"} | {
    *("ContainsAny", "ContainsAll", "IsNull", "And", "Or"),
}
_WORDS = _HAYSTACK | {
    *("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "any", "all", "contains", "text_match", "is_empty"),
    *("and", "or", "not", "AND", "OR", "NOT"),
}
_QDRANT = {"must", "should", "must_not", "min_should"}
_QDRANT_TESTS = {"match", "range", "values_count", "geo_radius", "geo_bounding_box", "is_empty", "is_null"}
_ELASTIC = {
    *("bool", "term", "terms", "range", "match", "match_phrase", "match_all", "exists", "prefix", "wildcard"),
    *("regexp", "ids", "query_string", "multi_match", "nested", "constant_score", "query", "filter"),
}
_LOGIC = {"and", "or", "not"}
_MODULES = {"qdrant_client", "weaviate", "haystack", "llama_index", "chromadb", "pymilvus", "elasticsearch"}


def foreign_form(where: Any) -> str | None:
    """Whose filter a mapping or another object looks like; None if it may be one of ours."""
    if isinstance(where, Mapping):
        return next((name for name, fits in _FORMS.items() if fits(set(where), where)), None)
    kind = type(where)
    if kind.__name__ in ("MetadataFilters", "MetadataFilter", "ExactMatchFilter"):
        return "LlamaIndex's"
    module = kind.__module__.partition(".")[0]
    return f"that of {module}" if module in _MODULES else None


def foreign_operator(operator: object) -> str:
    """What to write here in the place of an operator that there isn't; empty if that is unknown."""
    if not isinstance(operator, str):
        return ""
    if operator in _INSTEAD:
        return f" (instead: {_INSTEAD[operator]})"
    named = f"${operator.lower().removeprefix('$')}"
    return f" (it is {named!r} here)" if named in _OPERATORS else ""


_OPERATORS = {
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"),
    *("$exists", "$not", "$and", "$or"),
}
_CONTAINS = (
    "a list is compared as any of its elements are, as in {'tags': 'a'}; in a text SQL's LIKE finds words: "
    "title LIKE '%word%'"
)
_INSTEAD = {
    **dict.fromkeys(("$contains", "$not_contains"), _CONTAINS),
    **dict.fromkeys(("$like", "$ilike", "$regex", "$text", "$search"), "SQL's LIKE: title LIKE '%word%'"),
    "$between": '{"$gte": 1, "$lte": 2}',
    "$nor": '{"$not": {"$or": […]}}',
    "$all": '{"$and": [{"tags": "a"}, {"tags": "b"}]}',
}


def _is_haystack(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    if "conditions" in keys:
        return keys <= {"operator", "conditions"} and _is_list(where["conditions"])
    return {"field", "operator", "value"} <= keys and _is_word(where["operator"], _HAYSTACK)


def _is_weaviate(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    parts = keys & {"path", "operands"} or any(str(key).startswith("value") for key in keys)
    return "operator" in keys and bool(parts) and _is_word(where["operator"], _WEAVIATE)


def _is_llama_index(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    if "filters" in keys:
        return keys <= {"filters", "condition", "type"} and _is_list(where["filters"])
    word = where.get("operator", where.get("type"))
    return {"key", "value"} < keys <= {"key", "value", "operator", "type"} and _is_word(word, _WORDS)


def _is_qdrant(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    if "key" in keys:
        return {"key"} < keys <= {"key"} | _QDRANT_TESTS and _are_nested(where, keys - {"key"})
    return bool(keys) and keys <= _QDRANT and _are_nested(where, keys)


def _is_elastic(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    """One word of its language, and below it no operator of ours."""
    [key] = keys if len(keys) == 1 else [None]
    below = where.get(key)
    return (
        key in _ELASTIC
        and isinstance(below, Mapping)
        and not any(str(name).startswith("$") for name in below)
    )


def _is_unsigned(keys: set[Any], where: Mapping[Any, Any]) -> bool:
    """Ours, but for the sign before AND, OR and NOT."""
    [key] = keys if len(keys) == 1 else [None]
    return str(key).lower() in _LOGIC and isinstance(where[key], (Mapping, list, tuple))


_FORMS: dict[str, Callable[[set[Any], Mapping[Any, Any]], bool]] = {
    "Haystack's": _is_haystack,
    "Weaviate's": _is_weaviate,
    "LlamaIndex's or OpenAI's": _is_llama_index,
    "Qdrant's": _is_qdrant,
    "Elasticsearch's": _is_elastic,
    "ours without the $ of $and, $or and $not": _is_unsigned,
}


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_word(value: Any, words: set[str]) -> bool:
    return isinstance(value, str) and value in words


def _are_nested(where: Mapping[Any, Any], keys: set[Any]) -> bool:
    return all(isinstance(where[key], (Mapping, list, tuple)) for key in keys)
