"""Filters of an index: what they take, what they warn of, what they delete, and how much memory they need."""

import datetime
import json
import sqlite3
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from support import embeddings, start

from lfm2_retrieval.datatypes import SearchParams
from lfm2_retrieval.errors import InvalidInputError, UnknownFieldWarning
from lfm2_retrieval.indexes import Index
from lfm2_retrieval.indexes.catalogue.schema import write_settings

METADATA = [
    {"lang": "de", "year": 2020, "loc": {"page": 1}},
    {"lang": "en", "year": 2021, "loc.page": 1, "loc": {"page": 2}},
    {"lang": "en", "id": "own", 'say "x"': 1, "": 1},
    {"lang": "fr", "loc": {"page.no": 7}, "date": "2020-05-01"},
]


@pytest.fixture
def index():
    index = Index.create(None, 8, fields=["lang", "loc.page"], tier="exact")
    index.add(list("abcd"), embeddings([1] * 4, dim=8), ["some words"] * 4, METADATA)
    with index, warnings.catch_warnings():
        warnings.simplefilter("error")
        yield index


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"loc.page": 1}, "ab"),
        ('"loc.page" = 1', "ab"),
        ("loc.page = 1", "ab"),
        ('loc."page" = 2', ""),
        ({"loc.page.no": 7}, "d"),
        ('loc."page.no" = 7', "d"),
        ({'say "x"': 1}, "c"),
        ('"say ""x""" = 1', "c"),
        ({"": 1}, "c"),
        ('"" = 1', "c"),
        ({"id": "a"}, "a"),
        ("id IN ('a', 'd', 'own')", "acd"),
        ("id > 'a' AND id < 'd'", "b"),
        ({"id": {"$nin": ["a", "b"]}}, "cd"),
        ("id LIKE 'O%'", "c"),
        ("id IS NULL", ""),
        ({"id": {"$exists": True}}, "abcd"),
        ({"year": np.int64(2020)}, "a"),
        ({"year": {"$in": np.array([2020, 2021])}}, "ab"),
        ({"year": {"$in": {2020, 2021}}}, "ab"),
        ({"date": {"$lt": datetime.date(2020, 6, 1)}}, "d"),
        ({}, "abcd"),
    ],
)
def test_what_a_filter_finds_everywhere(index, where, ids):
    assert index.ids(where) == [entry.id for entry in index.documents(where)] == list(ids)
    assert index.count(where) == len(ids)
    [hits] = index.search(embeddings([1], dim=8), 9, where=where)
    assert sorted(hit.id for hit in hits) == list(ids)
    if where:
        assert index.delete(where=where) == len(ids)
        assert index.ids() == [id for id in "abcd" if id not in ids]


def test_groups_by_the_fields_that_filters_know(index):
    for field, n in (("loc.page", 3), ("", 4), ('say "x"', 4), ("lang", 3)):
        [hits] = index.search(embeddings([1], dim=8), SearchParams(9, group_by=field))
        assert len(hits) == n


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"yaer": 2020}, "'yaer': did you mean 'year'"),
        ("Lang = 'de'", "did you mean 'lang'"),
        ("page = 1", "did you mean 'loc.page'"),
        ({"_id": "a"}, "did you mean 'id'"),
        ({"$not": {"qqqqqq": 1}}, "'qqqqqq'; there are 'lang', "),
        ({"year__gte": 1}, "did you mean 'year'"),
        ({"lang": "de", "yaer": 2020}, "'yaer'"),
    ],
)
def test_a_field_that_no_document_has_is_warned_of_once(index, where, says):
    with pytest.warns(UnknownFieldWarning, match=says) as warned:
        index.count(where)
    assert warned[0].filename == __file__
    assert len(warned) == 1
    index.ids(where)  # the second time it is no news


def test_unknown_fields_of_deletes_and_of_groups(index):
    with pytest.warns(UnknownFieldWarning, match="'yaer'"):
        assert index.delete(where={"yaer": 2020}) == 0
    with pytest.warns(UnknownFieldWarning, match="'lnag'"):
        index.search(embeddings([1], dim=8), SearchParams(9, group_by="lnag"))


def test_nothing_is_unknown_of_an_empty_index():
    with warnings.catch_warnings(), Index.create(None, 8, tier="exact") as index:
        warnings.simplefilter("error")
        assert index.count({"lang": "de"}) == 0


MetadataFilters = type("MetadataFilters", (), {})


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"field": "meta.lang", "operator": "==", "value": "de"}, "Haystack"),
        ({"operator": "AND", "conditions": [{"field": "a", "operator": ">", "value": 1}]}, "Haystack"),
        ({"must": [{"key": "lang", "match": {"value": "de"}}]}, "Qdrant"),
        ({"must_not": {"key": "lang", "match": {"value": "de"}}}, "Qdrant"),
        ({"key": "lang", "match": {"value": "de"}}, "Qdrant"),
        ({"term": {"lang": "de"}}, "Elasticsearch"),
        ({"bool": {"filter": [{"term": {"lang": "de"}}]}}, "Elasticsearch"),
        ({"range": {"year": {"gte": 2020}}}, "Elasticsearch"),
        ({"key": "lang", "value": "de", "operator": "=="}, "LlamaIndex"),
        ({"filters": [{"key": "lang", "value": "de"}], "condition": "and"}, "LlamaIndex"),
        ({"type": "eq", "key": "lang", "value": "de"}, "OpenAI"),
        (MetadataFilters(), "LlamaIndex"),
        ({"path": ["lang"], "operator": "Equal", "valueText": "de"}, "Weaviate"),
        ({"AND": [{"lang": "de"}]}, "without the"),
        ({"lang": {"$contains": "d"}}, "LIKE"),
        ({"$contains": "d"}, "LIKE"),
        ({"year": {"gte": 2020}}, r"it is '\$gte'"),
        ({"year": {"$between": [1, 2]}}, r"\$gte"),
        ({"lang": ["de", "en"]}, r"\$in"),
        ({"$and": [{"term": {"lang": "de"}}]}, "Elasticsearch"),
        ([("year", ">=", 2020)], "mapping like"),
        (SimpleNamespace(), "mapping like"),
        ('lang = "de"', "single quotes"),
        ("lang == 'de' && year > 3", "AND"),
        ("year in [2020]", "parentheses"),
        ("lang = 'de", "closing quote"),
        ("lang eq 'de'", "expected before 'eq'"),
        ("lang = 'de' AND", "its end"),
        ("lang = " + "x" * 10_000, "…"),
    ],
)
def test_filters_of_others_are_errors_that_say_so(index, where, says):
    for call in (index.count, index.ids, index.documents):
        with pytest.raises(InvalidInputError, match=says) as raised:
            call(where)
        assert len(str(raised.value)) < 1_000


def test_names_of_others_may_be_fields_of_ours():
    fields = [
        {"field": "x", "operator": "plus", "value": 3},
        {"key": 1, "value": 2},
        {"must": 1},
        {"term": 1},
    ]
    with Index.create(None, 8, tier="exact") as index:
        index.add(list("abcd"), embeddings([1] * 4, dim=8), metadata=fields)
        for id, where in zip("abcd", fields, strict=True):
            assert index.ids(where) == [id]
        assert index.ids({"term": {"$gte": 1}}) == ["d"]


@pytest.mark.parametrize(
    "where",
    [
        {},
        "",
        "  ",
        {"$and": [{}]},
        {"$or": [{"lang": "de"}, {}]},
        {"$not": {"year": {"$in": []}}},
        "NOT FALSE",
    ],
)
def test_a_delete_takes_a_filter_that_says_something(index, where):
    with pytest.raises(InvalidInputError, match=r"all=True \(--all\)"):
        index.delete(where=where)
    assert len(index) == 4


def test_deleting_everything_is_said(index):
    for arguments in ({}, {"all": False}, {"ids": ["a"], "all": True}, {"where": "lang = 'de'", "all": True}):
        with pytest.raises(InvalidInputError, match="all=True"):
            index.delete(**arguments)
    assert index.delete([]) == 0
    assert index.delete(all=True) == 4
    assert index.delete(all=True) == len(index) == 0


def test_columns_by_path_alone_of_older_indexes_open_and_filter_the_same(tmp_path):
    with Index.create(tmp_path / "index", 8, fields=["lang"], tier="exact") as index:
        index.add(list("abcd"), embeddings([1] * 4, dim=8), metadata=METADATA)
    connection = sqlite3.connect(tmp_path / "index" / "index.db")
    with connection:  # as they were made
        path = '$."loc"."page"'
        for column in (
            f"field_2_type AS (coalesce(json_type(metadata, '{path}'), ''))",
            f"field_2 AS (json_extract(metadata, '{path}'))",
        ):
            connection.execute(f"ALTER TABLE documents ADD COLUMN {column}")
        connection.execute("CREATE INDEX by_field_2 ON documents (field_2_type, field_2, died, born, key)")
        write_settings(connection, {"fields": ["lang", "loc.page"]})
    connection.close()
    with Index.open(tmp_path / "index") as index:
        assert index.settings["fields"] == ["lang", "loc.page"]
        assert index.ids({"loc.page": 1}) == ["a", "b"]
        assert index.ids({"loc.page": 2}) == []
        index.configure(fields=["a.b"])
        index.verify()
        assert index.delete(where="loc.page = 1 AND lang = 'en'") == 1


MEMORY = """
import json, resource, sys
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.indexes import Index
from support import embeddings
shape, form, declared = sys.argv[1:]
wide = {f"key{i}": f"value {i} of some length" for i in range(16_000)}
metadata = {
    "wide": {"a": 1, "b": ["x"], **wide},
    "list": {"a": list(range(100_000)), "b": "x"},
    "texts": {"a": [f"text {i}" for i in range(50_000)], "b": "x"},
    "deep": {"a": [[[i] * 3] * 20 for i in range(2_000)], "b": "x"},
}[shape]
where = {
    "or": {"$or": [{"a": {"$gt": 10**6 + i}} for i in range(2_000)]},
    "and": {"$and": [{"$or": [{"a": -i}, {"b": {"$ne": "x"}}]} for i in range(1, 1_000)]},
    "fields": {"$or": [{f"key{i}": "nope"} for i in range(2_000)]},
    "in": {"$or": [{"$and": [{"a": {"$in": list(range(-10**4 - i, -i))}}, {"b": "x"}]} for i in range(1, 9)]},
    "like": " OR ".join(f"a LIKE '%nope{i}%'" for i in range(1_000)),
}[form]
with Index.create(None, 8, fields=json.loads(declared)) as index:
    index.add(["d"], embeddings([1], dim=8), metadata=[metadata])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        print(index.count(where), end=" ")
    except InvalidInputError as error:
        print("refused" if "too much work" in str(error) else error, end=" ")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("declared", [[], ["a", "b"]])
@pytest.mark.parametrize(
    ("shape", "form"),
    [
        *(("wide", "or"), ("wide", "and"), ("wide", "fields"), ("wide", "like")),
        *(("list", "or"), ("list", "in"), ("texts", "like"), ("deep", "or")),
    ],
)
def test_memory_does_not_grow_with_size_times_comparisons(shape, form, declared):
    process = start(MEMORY, shape, form, json.dumps(declared))
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    found, megabytes = out.split()
    assert found == ("refused" if (shape, form) == ("texts", "like") else "0")
    assert int(megabytes) < 250  # a comparison that kept a parse of its own took 3.5 MB each
