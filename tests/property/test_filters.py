"""Filters, by metadata and by columns of declared fields, held to the same filters in plain Python."""

import json
import random
import sqlite3
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfm2_retrieval.errors import InvalidInputError, RetrievalError
from lfm2_retrieval.indexes.catalogue.rows import ALIVE
from lfm2_retrieval.indexes.commits.columns import FieldValues
from lfm2_retrieval.indexes.commits.matching import matching
from lfm2_retrieval.indexes.filters.conditions import Sql
from lfm2_retrieval.indexes.filters.fields import check_fields, columns, declare
from lfm2_retrieval.indexes.filters.where import parse_where

FIELDS = ["lang", "year", "a.b", "a.b.x", "straße", "with space", "it's [a] $"]
ODD = ["", ".", "a..b", 'say "x"', "back\\slash", "a\x00b", "a.b.x.b.x"]
"""Names of fields that can't be declared, or whose columns aren't used."""
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([0.5, 2.0, -1e300]),
    st.sampled_from(["", "de", "en", "5", "'; DROP TABLE documents; --", "ß😀", 'a"b']),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.sampled_from("bx"), scalars))
records = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["lang", "year", "a", "a.b", "straße", "with space", "it's [a] $", *ODD[:-1]], values
    )
    | {"a": st.one_of(values, st.dictionaries(st.sampled_from(["b", "b.x", "", "x"]), values))},
)


def lookup(record, field):
    """The values that a field stands for, and whether it is there."""
    record = raw(record, field)
    if record is ABSENT:
        return [], False
    if isinstance(record, dict):
        return [], True
    return (record if isinstance(record, list) else [record]), True


ABSENT = object()


def raw(record, field):
    """What is under a field: of all keys that the name may begin with, the longest one that leads there."""
    if not isinstance(record, dict):
        return ABSENT
    for key in sorted(record, key=len, reverse=True):
        if key == field:
            return record[key]
        if field.startswith(key + ".") and (found := raw(record[key], field[len(key) + 1 :])) is not ABSENT:
            return found
    return ABSENT


def kind(value):
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


COMPARE = {
    "$eq": lambda a, b: a == b,
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
    "$prefix": lambda a, b: a.lower().startswith(b),  # of these tests alone, for LIKE
}


def holds(record, where):
    """The meaning of a mapping, as the module's documentation says it."""
    return all(holds_one(record, key, value) for key, value in where.items())


def holds_one(record, key, value):
    if key == "$and":
        return all(holds(record, part) for part in value)
    if key == "$or":
        return any(holds(record, part) for part in value)
    if key == "$not":
        return not holds(record, value)
    if not isinstance(value, dict):
        value = {"$eq": value}
    return all(compares(record, key, operator, operand) for operator, operand in value.items())


def compares(record, field, operator, operand):
    found, present = lookup(record, field)
    if operator == "$ne":
        return not compares(record, field, "$eq", operand)
    if operator == "$nin":
        return not compares(record, field, "$in", operand)
    if operator == "$in":
        return any(compares(record, field, "$eq", one) for one in operand)
    if operator == "$exists":
        return present == operand
    if operator == "$not":
        return not all(compares(record, field, *pair) for pair in operand.items())
    if operand is None:
        return raw(record, field) in (None, ABSENT)
    return any(kind(one) == kind(operand) and COMPARE[operator](one, operand) for one in found)


fields = st.sampled_from([*FIELDS, *ODD])
ordered = st.one_of(st.integers(-5, 5), st.sampled_from([0.5, 2.0]), st.sampled_from(["de", "5", "ß😀"]))
operators = st.one_of(
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$eq", "$ne"]), scalars),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ordered),
    st.builds(lambda o, v: {o: v}, st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=4)),
    st.builds(lambda v: {"$exists": v}, st.booleans()),
    st.builds(lambda v: {"$not": {"$gte": v}}, ordered),
)
leaves = st.builds(lambda f, v: {f: v}, fields, st.one_of(scalars, operators))
wheres = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda o, parts: {o: parts},
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(lambda a, b: {**a, **b}, inner, inner),
    ),
    max_leaves=6,
)


def matches(record, condition):
    with table([record], []) as connection:
        return chosen(connection, condition) == {0}


@settings(max_examples=400, deadline=None)
@given(records, wheres)
def test_a_mapping_means_in_an_index_what_it_means_in_python(record, where):
    assert matches(record, parse_where(where)) == holds(record, where)


WORDS = ["comment", "begin", "use", "set", "order", "group", "date", "key", "user", "left", "end", "desc"]
"""Words of SQL that are names of fields, too."""
PAIRS = [
    ("lang = 'de' AND year >= 2020", {"lang": "de", "year": {"$gte": 2020}}),
    ("lang = 'de' OR NOT (year < 3)", {"$or": [{"lang": "de"}, {"$not": {"year": {"$lt": 3}}}]}),
    ("2020 <= year", {"year": {"$gte": 2020}}),
    ("year BETWEEN -1 AND 2.5", {"year": {"$gte": -1, "$lte": 2.5}}),
    ("lang NOT LIKE 'd%'", {"$not": {"lang": {"$prefix": "d"}}}),
    ("NOT (lang NOT LIKE 'd%')", {"lang": {"$prefix": "d"}}),
    ("year NOT BETWEEN -1 AND 2.5", {"$not": {"year": {"$gte": -1, "$lte": 2.5}}}),
    ("NOT NOT year = 3", {"year": 3}),
    ("lang IN ('de', 'en', NULL)", {"lang": {"$in": ["de", "en", None]}}),
    ("lang NOT IN ('de', 'en')", {"lang": {"$nin": ["de", "en"]}}),
    ("lang != 'it''s'", {"lang": {"$ne": "it's"}}),
    ("a.b IS NULL", {"a.b": None}),
    ("a.b IS NOT NULL", {"a.b": {"$ne": None}}),
    ('"with space" = TRUE', {"with space": True}),
    ('"straße" <> 5', {"straße": {"$ne": 5}}),
    ("draft", {"draft": True}),
    ("NOT draft", {"$not": {"draft": True}}),
    ("a.b.c.d.e.f = 1", {"a.b.c.d.e.f": 1}),
    ("TRUE", {}),
    *((f"{word} = 5 AND a.{word} < 3", {word: 5, f"a.{word}": {"$lt": 3}}) for word in WORDS),
]


@pytest.mark.parametrize(("text", "mapping"), PAIRS)
@settings(max_examples=40, deadline=None)
@given(record=records)
def test_sql_means_what_the_mapping_means(text, mapping, record):
    assert matches(record, parse_where(text)) == holds(record, mapping)


def test_refusals_say_why():
    with pytest.raises(
        InvalidInputError, match=r"^the filter 'lang = ' is not SQL that can be used: a value was expected"
    ):
        parse_where("lang = ")
    with pytest.raises(InvalidInputError, match=r"nested too deep|not SQL"):
        parse_where("(" * 5000)


@settings(max_examples=300, deadline=None)
@given(st.text("aAbBßÄ_%\n.", max_size=8), st.text("aAbBßÄ_%\n.", max_size=12))
def test_like_is_that_of_sqlite(pattern, text):
    connection = sqlite3.connect(":memory:")
    (found,) = connection.execute("SELECT ? LIKE ?", (text, pattern)).fetchone()
    connection.close()
    quoted = pattern.replace("'", "''")
    assert matches({"x": text}, parse_where(f"x LIKE '{quoted}'")) is bool(found)


def in_sql(where):
    """A mapping in SQL; `$exists` has no words there."""
    parts = []
    for key, value in where.items():
        if key in ("$and", "$or"):
            parts.append("(" + f" {key[1:]} ".join(map(in_sql, value)) + ")")
        elif key == "$not":
            parts.append(f"NOT {in_sql(value)}")
        else:
            field = '"' + key.replace('"', '""') + '"'
            operators_ = value if isinstance(value, dict) else {"$eq": value}
            parts += [one_in_sql(field, *pair) for pair in operators_.items()]
    return "(" + " AND ".join(parts) + ")"


def one_in_sql(field, operator, value):
    if operator == "$not":
        return f"NOT {field} >= {literal(value['$gte'])}"
    if operator in ("$in", "$nin"):
        some = ", ".join(map(literal, value)) or "'nothing' , 'at all'"
        return f"{field} {'NOT ' * (operator == '$nin')}IN ({some})"
    if value is None:
        return f"{field} IS {'NOT ' * (operator == '$ne')}NULL"
    sign = {"$eq": "=", "$ne": "<>", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}[operator]
    return f"{field} {sign} {literal(value)}"


def literal(value):
    if value is None or isinstance(value, bool):
        return str(value).upper().replace("NONE", "NULL")
    return repr(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


@settings(max_examples=300, deadline=None)
@given(records, wheres.filter(lambda where: "$exists" not in str(where)))
def test_a_filter_means_the_same_in_both_forms(record, where):
    assert matches(record, parse_where(in_sql(where))) == holds(record, where)


def test_like():
    for pattern, found in (("ab%", True), ("AB_", True), ("b%", False), ("%'%", False)):
        quoted = pattern.replace("'", "''")
        assert matches({"x": "abc"}, parse_where(f"x LIKE '{quoted}'")) is found


HOSTILE = [
    "",
    "   ",
    "lang = ",
    "lang = 'de'; DROP TABLE documents",
    "lang = 'de' --",
    "1 = 1",
    "lang = (SELECT id FROM documents)",
    "EXISTS (SELECT 1)",
    "lang IN (SELECT id FROM documents)",
    "load_extension('x')",
    "lang = load_extension('x')",
    "lang = year",
    "lang || 'x' = 'y'",
    "CASE WHEN 1 THEN 1 ELSE 0 END",
    "lang = ?",
    "lang = :x",
    "year + 1 = 2",
    "lang LIKE 'a' ESCAPE '\\'",
    "lang GLOB '*'",
    "lang REGEXP '.*'",
    "* = 1",
    "lang = x'00'",
    "lang = '\x00'",
    "year = 1e999",
    "year < " + "9" * 400,
    "year = " + "9" * 5000,
    "year BETWEEN SYMMETRIC 3 AND 1",
    "lang LIKE ANY ('a', 'b')",
    "lang ILIKE 'DE'",
    "lang LIKE '" + "%a" * 30_000 + "'",
    " OR ".join(["lang = 'de'"] * 5_000),
    "year > NULL",
    "draft > TRUE",
    "(" * 500 + "a" + ")" * 500,
    "NOT " * 300 + "a",
    "lang = 'de' UNION SELECT 1",
    "'; --",
    "\x00",
]


def sqls(condition, declared):
    """What reaches the database."""
    sure, possible, _ = condition.bounds(columns(declared))
    return sure.text, possible.text


LETTERS = set("0123456789").union(
    *sqls(
        parse_where("lang = 'x' AND NOT (a IN (1, 2, 'b', TRUE, NULL)) OR b <= 1 OR a > 2 OR a LIKE 'b'"),
        ["a", "b", "lang"],
    )
)


@pytest.mark.parametrize("text", HOSTILE)
def test_other_sql_is_refused(text):
    try:
        condition = parse_where(text)
    except RetrievalError:
        return
    # What is read as a harmless condition must be one: no text of the caller's in the SQL.
    assert matches({"lang": "de"}, condition) in (True, False)
    for sql in (*sqls(condition, []), *sqls(condition, ["lang", "year", "draft", "a"])):
        assert set(sql) <= LETTERS


@pytest.mark.parametrize(
    "where",
    [
        {"lang": {"$regex": "x"}},
        {"$where": "1"},
        {"$and": []},
        {"$or": {"lang": "de"}},
        {"$not": 1},
        {"lang": {}},
        {"lang": {"$in": "de"}},
        {"lang": {"$in": {"a": 1}}},
        {"lang": {"$exists": 1}},
        {"lang": {"$gt": None}},
        {"lang": {"$gt": True}},
        {"lang": float("nan")},
        {"lang": "\ud800"},
        {"lang": "a\x00b"},
        {"lang": {"$in": ["a\x00b"]}},
        {"year": 10**400},
        {"year": {"$gt": -(10**400)}},
        {"year": {"$in": [1, 10**400]}},
        {"$or": [{"year": 1}] * 2_001},
        {"lang": object()},
        {"lang": ["de"]},
        {"lang": b"de"},
        {1: 1},
        5,
        ["lang"],
        None,
    ],
)
def test_bad_mappings_are_refused(where):
    with pytest.raises(InvalidInputError):
        parse_where(where)


def test_nesting_and_lists_have_a_limit():
    deep = {"a": 1}
    for _ in range(200):
        deep = {"$not": deep}
    with pytest.raises(InvalidInputError, match="deep"):
        parse_where(deep)
    with pytest.raises(InvalidInputError, match="at most"):
        parse_where({"a": {"$in": list(range(20_000))}})
    assert matches({"a": 4999}, parse_where({"a": {"$in": list(range(5_000))}}))
    assert matches({"a": 1 << 70}, parse_where({"a": {"$gte": 1 << 69}}))
    most = {"$or": [{"a": number} for number in range(2_000)]}
    for declared in ([], ["a"]):
        with table([{"a": 1999}, {"a": 2000}, {"a": [7]}], declared) as connection:
            assert chosen(connection, parse_where(most), declared) == {0, 2}


@pytest.mark.parametrize("declared", [[], ["a", "b"]])
@pytest.mark.parametrize("levels", [3, 12, 21])
def test_what_is_deep_but_not_too_deep_means_the_same(declared, levels):
    """Each level is an AND, an OR or a NOT, so that none of them can be left out."""
    rng = random.Random(levels)
    some = [{"a": a, "b": [b, a]} for a in range(4) for b in range(4)]
    for _ in range(5):
        where = {"a": {"$in": [rng.randrange(4), "x", None, True]}}
        for _ in range(levels):
            other = {rng.choice("ab"): rng.randrange(4)}
            where = rng.choice([{"$and": [other, where]}, {"$or": [other, where]}, {"$not": where}])
        with table(some, declared) as connection:
            expected = {key for key, record in enumerate(some) if holds(record, where)}
            assert chosen(connection, parse_where(where), declared) == expected


# Declared fields


@contextmanager
def table(some, declared):
    """The documents of an index with declared fields, as far as filters see them."""
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE documents (row INTEGER PRIMARY KEY, key INTEGER, born INTEGER, died INTEGER, "
        "id BLOB, metadata TEXT, text TEXT)"
    )
    rows = [(key, b"%d" % key, json.dumps(record)) for key, record in enumerate(some)]
    half = len(rows) // 2  # some are there before the fields are declared, some come after
    insert = "INSERT INTO documents (key, born, id, metadata) VALUES (?, 1, ?, ?)"
    connection.executemany(insert, rows[:half])
    declare(connection, [], declared)
    connection.executemany(insert, rows[half:])
    yield connection
    connection.close()


def chosen(connection, condition, declared=()):
    keys = [key for (key,) in matching(connection, condition, "key", Sql(ALIVE, (1, 1)), declared)]
    assert len(set(keys)) == len(keys)
    return set(keys)


@settings(max_examples=300, deadline=None)
@given(st.lists(records, max_size=6), wheres, st.lists(st.sampled_from(FIELDS), unique=True))
def test_declared_fields_change_no_meaning(some, where, declared):
    with table(some, declared) as connection:
        expected = {key for key, record in enumerate(some) if holds(record, where)}
        assert chosen(connection, parse_where(where), declared) == expected
        assert chosen(connection, parse_where(where)) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.lists(records, max_size=6),
    st.lists(st.tuples(st.integers(0, 7), records), max_size=4),
    wheres,
)
def test_values_in_memory_change_no_meaning(some, changes, where):
    condition = parse_where(where)
    fields = list(dict.fromkeys(condition.fields()))
    held = FieldValues()

    def by_columns(current, commit):
        places = SimpleNamespace(keys=np.array(sorted(current), np.int64))
        snapshot = SimpleNamespace(commit=commit, fields=FIELDS, places=places)
        columns = held.of(connection, snapshot, fields)
        if columns is None:
            assert not set(fields) <= set(FIELDS) or any(field.count(".") > 3 for field in fields)
            return None
        return set(places.keys[condition.mask(columns)].tolist())

    with table(some, FIELDS) as connection:
        current = dict(enumerate(some))
        for commit in (1, 2):
            if commit == 2:
                change(connection, current, changes)
            found = by_columns(current, commit)
            assert found in (None, {key for key, record in current.items() if holds(record, where)})


def change(connection, current, changes):
    """Some documents get other metadata, or are new; the last one dies, too."""
    for key, record in dict(changes).items():
        connection.execute("UPDATE documents SET died = 2 WHERE key = ? AND died IS NULL", (key,))
        row = key, b"%d" % key, json.dumps(record)
        connection.execute("INSERT INTO documents (key, born, id, metadata) VALUES (?, 2, ?, ?)", row)
        current[key] = record
    if current:
        key, _ = current.popitem()
        connection.execute("UPDATE documents SET died = 2 WHERE key = ? AND died IS NULL", (key,))


@pytest.mark.parametrize("text", HOSTILE)
def test_other_sql_is_refused_with_declared_fields(text):
    try:
        condition = parse_where(text)
    except RetrievalError:
        return
    declared = ["lang", "year", "draft", "a"]
    with table([{"lang": "de"}], declared) as connection:
        assert chosen(connection, condition, declared) == chosen(connection, condition)


NAMES = [
    "it's",
    "'); DROP TABLE documents; --",
    "naïve 猫",
    "a.b.c",
    "field_1",
    "key",
    "?",
    "%s{}",
    "x" * 500,
]


def test_any_name_can_be_declared():
    some = []
    for number, name in enumerate(NAMES):
        record = {}
        for part in reversed(name.split(".")):
            record = {part: record or number}
        some.append(record)
    with table(some, NAMES) as connection:
        for number, name in enumerate(NAMES):
            assert chosen(connection, parse_where({name: number}), NAMES) == {number}
            assert chosen(connection, parse_where({name: {"$exists": False}}), NAMES) == {
                *range(len(NAMES))
            } - {number}
            found = plan(connection, parse_where({name: number}), NAMES)
            assert f"by_field_{number + 1}" in found


@pytest.mark.parametrize(
    "bad", ["lang", [1], ["a..b"], [""], ['a"b'], ["a\x00"], [f"f{i}" for i in range(65)]]
)
def test_what_cannot_be_declared(bad):
    with pytest.raises(InvalidInputError):
        check_fields(bad)


def plan(connection, condition, declared):
    """How SQLite carries out what a filter asks it."""

    class Recorder:
        found = ""

        def execute(self, sql, parameters=()):
            if "FROM documents" in sql:
                rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
                self.found += " ".join(row[-1] for row in rows)
            return connection.execute(sql, parameters)

    recorder = Recorder()
    list(matching(recorder, condition, "key", Sql(ALIVE, (1, 1)), declared))
    return recorder.found


@pytest.mark.parametrize(
    "where",
    [
        {"lang": "de"},
        {"year": {"$gte": 2020}},
        {"year": {"$in": [1, 2, 3]}},
        {"lang": None},
        {"draft": True},
        {"lang": "de", "year": {"$lt": 3}},
        {"$or": [{"lang": "de"}, {"year": 3}]},
        "year BETWEEN 3 AND 5 AND lang IN ('de', 'en')",
    ],
)
def test_filters_on_declared_fields_use_their_indexes(where):
    declared = ["lang", "year", "draft"]
    with table([{"lang": "de"}], declared) as connection:
        found = plan(connection, parse_where(where), declared)
        assert "by_field_" in found
        assert "SCAN documents" not in found
        assert "SCAN documents" in plan(connection, parse_where(where), [])
