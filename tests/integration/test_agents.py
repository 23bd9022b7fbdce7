"""``as_tool`` in agent frameworks; DSPy and smolagents are large, and not among what tests install."""

from __future__ import annotations

import pytest

from lfm2_retrieval import Encoder, Retriever

pytestmark = pytest.mark.peer
DOCUMENTS = [
    {"id": "rain", "text": "rain falls on quiet hills", "source": "hills.md", "year": 2024},
    {"id": "boats", "text": "rivers carry boats past old towns", "year": 2020},
]


@pytest.fixture(scope="module")
def tool(checkpoint):
    with Retriever.index(DOCUMENTS, model=Encoder.load(checkpoint())) as retriever:
        yield retriever.as_tool("search_notes", "Notes on weather and boats.", k=1)


def test_dspy_s_agent_calls_it(tool):
    dspy = pytest.importorskip("dspy")
    asked = {"query": "rain falls on quiet hills", "filter": "year > 2022"}
    model = dspy.utils.DummyLM(
        [
            {"next_thought": "I search.", "next_tool_name": "search_notes", "next_tool_args": asked},
            {"next_thought": "That is it.", "next_tool_name": "finish", "next_tool_args": {}},
            {"reasoning": "It was found.", "answer": "on quiet hills [1]"},
        ]
    )
    with dspy.context(lm=model):
        found = dspy.ReAct("question -> answer", tools=[tool])(question="where does rain fall?")
    assert found.answer == "on quiet hills [1]"
    assert found.trajectory["observation_0"] == tool(**asked)
    assert "id=rain" in found.trajectory["observation_0"]


def test_smolagents_reads_its_description(tool):
    smolagents = pytest.importorskip("smolagents")
    made = smolagents.tool(tool)
    assert (made.name, made.description) == ("search_notes", "Notes on weather and boats.")
    assert set(made.inputs) == {"query", "k", "filter"}
    assert made(query="rain", k=2) == tool("rain", 2)
