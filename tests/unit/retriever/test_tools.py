from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.documents import FileDocument
from lfm2_retrieval.errors import IndexClosedError, InvalidInputError, UnknownIdError
from lfm2_retrieval.retriever.tools import IndexTools

DOCUMENTS = [
    {"id": "rain", "text": "rain falls on quiet hills", "source": "hills.md", "lang": "en", "year": 2020},
    {"id": "boats", "text": "rivers carry boats past old towns", "lang": "en", "tags": ["a", "b"]},
    {"id": "markt", "text": "wer früh kommt, mahlt zuerst", "lang": "de", "nested": {"a": 1}},
]


@pytest.fixture(scope="module")
def retriever(checkpoint):
    with Retriever.index(DOCUMENTS, model=Encoder.load(checkpoint())) as retriever:
        yield retriever


@pytest.fixture(scope="module")
def tools(retriever):
    return IndexTools(retriever)


class TestSearch:
    def test_hits_are_numbered_and_name_their_place(self, tools, retriever):
        found = tools.search("rain falls on quiet hills", 3)
        hits = retriever.search("rain falls on quiet hills", 3)
        assert [one["id"] for one in found.values["results"]] == [hit.id for hit in hits]
        first = found.values["results"][[hit.id for hit in hits].index("rain")]
        assert (first["source"], first["span"]) == ("hills.md", [0, 25])
        assert f"[{first['number']}] id=rain span=0-25 (hills.md)\nrain falls on quiet hills" in found.text

    def test_filters_and_modes(self, tools):
        def ids(**options):
            return [one["id"] for one in tools.search("früh boats", **options).values["results"]]

        assert ids(filter="lang = 'de'") == ids(filter={"lang": "de"}) == ["markt"]
        assert sorted(ids(mode="lexical")) == ["boats", "markt"]
        assert len(ids(filter="", mode="hybrid")) == 3

    def test_nothing_found_says_what_fields_there_are(self, tools):
        found = tools.search("rain", filter="lang = 'fr'")
        assert found.values["results"] == []
        assert "Nothing meets the filter" in found.text
        assert "lang" in found.text
        assert "year" in found.text
        assert "no word" in tools.search("xyzzy", mode="lexical").text

    @pytest.mark.parametrize(
        "arguments",
        [
            {"query": ""},
            {"query": " "},
            {"query": 5},
            {"query": "rain", "k": 0},
            {"query": "rain", "k": 10**6},
            {"query": "rain", "k": True},
            {"query": "rain", "filter": "lang ="},
            {"query": "rain", "filter": {"lang": {"$like": "x"}}},
            {"query": "rain", "mode": "words"},
        ],
    )
    def test_what_can_not_be_used(self, tools, arguments):
        with pytest.raises(InvalidInputError):
            tools.search(**arguments)

    def test_long_texts_are_shortened_around_what_answers(self, checkpoint):
        text = (
            "People sell bread, cheese and wine. " * 40
            + "Rain falls on quiet hills. "
            + "Trains leave. " * 60
        )
        with Retriever.index([text], model=Encoder.load(checkpoint()), passages="none") as retriever:
            [found] = IndexTools(retriever).search("quiet hills", 1, mode="lexical").values["results"]
        assert len(found["text"]) == 600
        assert "Rain falls on quiet hills" in found["text"]
        assert text[slice(*found["span"])] == found["text"]


class TestFetch:
    def test_a_span_and_its_surroundings(self, tools):
        assert tools.fetch("rain").values == {
            "id": "rain",
            "text": "rain falls on quiet hills",
            "span": [0, 25],
            "length": 25,
            "metadata": {"source": "hills.md", "lang": "en", "year": 2020},
            "source": "hills.md",
        }
        assert tools.fetch("rain", 5, 10).values["text"] == "falls"
        assert tools.fetch("rain", 5, 10, around=3).values["text"] == "in falls on"
        assert tools.fetch("rain", 99).values["text"] == ""

    def test_long_documents_are_given_in_parts(self, checkpoint):
        text = "".join(f"{n:6}" for n in range(3000))
        with Retriever.index([{"id": "x", "text": text}], model=Encoder.load(checkpoint())) as retriever:
            parts, start = [], 0
            while start is not None:
                found = IndexTools(retriever).fetch("x", start)
                parts.append(found.values["text"])
                start = found.values.get("next_start")
                assert (start is not None) == ("goes on" in found.text)
        assert "".join(parts) == text

    def test_what_is_not_there(self, tools):
        with pytest.raises(UnknownIdError, match="search"):
            tools.fetch("nothing")
        for arguments in ((-1,), (0, -1), (0, None, -1), (1.5,)):
            with pytest.raises(InvalidInputError):
                tools.fetch("rain", *arguments)


def test_describe(tools):
    found = tools.describe()
    assert found.values["documents"] == 3
    assert found.values["languages"] == {"en": 2, "de": 1}
    assert found.values["fields"]["lang"] == {"type": "string", "count": 3, "examples": ["en", "de"]}
    assert found.values["fields"]["tags"]["type"] == "list"
    assert "3 documents" in found.text
    assert "- year: number, in 1, e.g. 2020" in found.text


def test_passages_name_their_document(checkpoint):
    text = "".join(f"# Part {n}\n\n{one['text']} and so on.\n\n" for n, one in enumerate(DOCUMENTS * 5))
    document = FileDocument("notes.md", text, {}, source="notes.md", format="markdown")
    with Retriever.index([document], model=Encoder.load(checkpoint())) as retriever:
        tools = IndexTools(retriever)
        for one in tools.search("quiet hills", 3).values["results"]:
            assert (one["id"], one["source"]) == ("notes.md", "notes.md")
            assert text[slice(*one["span"])].strip()
            fetched = tools.fetch(one["id"], *one["span"], around=20).values
            assert text[slice(*one["span"])] in fetched["text"]
            assert fetched["source"] == "notes.md"
        assert tools.describe().values["documents"] == 1


class TestAsTool:
    def test_it_says_of_itself_what_frameworks_ask(self, retriever):
        tool = retriever.as_tool()
        assert inspect.isfunction(tool)
        assert tool.__name__ == tool.name == "search_documents"
        assert list(inspect.signature(tool).parameters) == ["query", "k", "filter"]
        assert get_type_hints(tool) == {"query": str, "k": int, "filter": str | None, "return": str}
        assert tool.description.startswith("Search the documents")
        assert "Args:\n            query: A question" in tool.__doc__
        assert tool.parameters["required"] == ["query"]
        assert set(tool.parameters["properties"]) == {"query", "k", "filter"}
        assert all(one["description"] for one in tool.parameters["properties"].values())

    def test_it_searches(self, retriever):
        tool = retriever.as_tool(k=1)
        assert (
            tool("rain falls on quiet hills")
            == IndexTools(retriever).search("rain falls on quiet hills", 1).text
        )
        assert "id=markt" in tool("rain", k=2, filter="lang = 'de'")

    def test_it_is_named(self, retriever):
        tool = retriever.as_tool("search_weather", "Reports of the weather since 1990.")
        assert (tool.__name__, tool.description) == ("search_weather", "Reports of the weather since 1990.")
        assert "query: A question" in tool.__doc__
        assert retriever.as_tool().name == "search_documents"
        with pytest.raises(InvalidInputError):
            retriever.as_tool("search weather")

    def test_a_closed_index_says_so(self, checkpoint):
        with Retriever.index(["rain"], model=Encoder.load(checkpoint())) as retriever:
            tool = retriever.as_tool()
        with pytest.raises(IndexClosedError):
            tool("rain")
