"""Values of fields as arrays: a comparison says of each what it says of a document."""

import itertools
import json

import numpy as np
import pytest

from lfm2_retrieval.indexes.filters import columns
from lfm2_retrieval.indexes.filters.columns import Column, Columns, Kind, NotInMemoryError, column_of
from lfm2_retrieval.indexes.filters.conditions import ALWAYS, NEVER
from lfm2_retrieval.indexes.filters.document import Row
from lfm2_retrieval.indexes.filters.where import parse_where

LARGE = 1 << 53
VALUES = [
    *(0, 1, -1, LARGE, LARGE + 1, LARGE + 2, (1 << 63) - 1, -(1 << 63)),
    *(0.5, -0.0, 1.0, float(LARGE), float(LARGE + 2), 1e300, -1e300, float(1 << 63)),
    *("", "a", "b", "ß", "5", True, False, None, {}),
]
LISTS = [[], [1, "a"], [LARGE + 1, 0.5], [True, None], [[1]], ["b", "ß"], [1 << 70], [{"x": 1}]]
BOUNDS = [one for one in VALUES if type(one) in (int, float, str)]


def sqlite_of(value):
    """A value as SQLite gives it, with the name of its type."""
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return str(value).lower(), int(value)
    if isinstance(value, (int, float)):
        return ("integer" if isinstance(value, int) else "real"), value
    if isinstance(value, str):
        return "text", value.encode()
    return ("array" if isinstance(value, list) else "object"), json.dumps(value)


@pytest.mark.parametrize("operator", ["$lt", "$lte", "$gt", "$gte", "$eq"])
@pytest.mark.parametrize("bound", BOUNDS)
def test_comparisons_are_exact(bound, operator):
    condition = parse_where({"x": {operator: bound}})
    some = [*VALUES, *LISTS]
    held = Columns(len(some), {"x": column_of([[*map(sqlite_of, some)]])})
    assert condition.mask(held).tolist() == [condition.holds(Row({"x": value})) for value in some]
    assert (~condition).mask(held).tolist() == [not condition.holds(Row({"x": value})) for value in some]


@pytest.mark.parametrize(
    "where",
    [
        {"x": {"$in": [*range(20), "b", 0.5]}},
        {"x": None},
        {"x": {"$in": [None, True, "a"]}},
        {"x": {"$exists": True}},
        "x LIKE '%A%'",
        "x LIKE '_'",
        "x > 0 AND NOT x = 1 OR x = 'b'",
    ],
)
def test_conditions_mean_the_same(where):
    condition = parse_where(where)
    some = [*VALUES, *LISTS]
    held = Columns(len(some) + 1, {"x": column_of([[*map(sqlite_of, some), ("", None)]])})
    rows = [*(Row({"x": value}) for value in some), Row({})]
    assert condition.mask(held).tolist() == [condition.holds(row) for row in rows]


def test_constants():
    held = Columns(3, {})
    assert ALWAYS.mask(held).all()
    assert not NEVER.mask(held).any()


def test_columns_are_joined_and_chosen_from():
    some, more = [*VALUES, *LISTS], ["c", "aa", ["ß", 7], 3, None, ["zz"]]
    joined = column_of([[*map(sqlite_of, some)]]).followed_by(column_of([[*map(sqlite_of, more)]]))
    which = np.array([31, 3, 18, 27, 24, 25, 28, 32, 26])
    taken = joined.take(which)
    every = [*some, *more]
    for bound, operator in itertools.product([*BOUNDS, "aa", 7], ["$eq", "$gte"]):
        condition = parse_where({"x": {operator: bound}})
        expected = [condition.holds(Row({"x": every[at]})) for at in which.tolist()]
        assert condition.mask(Columns(len(which), {"x": taken})).tolist() == expected


def test_what_is_too_much_is_left_to_the_rows(monkeypatch):
    monkeypatch.setattr(columns, "_LARGEST_COLUMN", 100)
    with pytest.raises(NotInMemoryError):
        column_of([[("text", b"%d" % at * 30)] for at in range(4)])
    monkeypatch.setattr(columns, "_MOST_STEPS", 240)
    long = Column(np.array([Kind.TEXT], np.uint8), np.zeros(1, np.int64), [b"x" * 11])
    assert not parse_where("x LIKE '%a%' OR x LIKE '%b%'").mask(Columns(1, {"x": long})).any()
    with pytest.raises(NotInMemoryError):
        parse_where("x LIKE '%a%' OR x LIKE '%b%' OR x LIKE '%c%'").mask(Columns(1, {"x": long}))


def test_a_string_that_is_no_utf8_matches_no_pattern_here():
    odd = column_of([[("text", b"a\xed\xa0\x80")]])
    assert parse_where("x > 'a'").mask(Columns(1, {"x": odd})).all()
    with pytest.raises(NotInMemoryError):
        parse_where("x LIKE 'a%'").mask(Columns(1, {"x": odd}))


def test_what_is_no_json_is_left_to_the_rows():
    with pytest.raises(NotInMemoryError):
        column_of([[("array", "[" * 100_000)]])
