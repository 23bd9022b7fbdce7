"""The command ``integrations``: what each framework's component adds to a search, in turns in one process."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import click

from lfm2_retrieval import Document, Retriever
from lfm2_retrieval.cli._output import print_json
from lfm2_retrieval.datatypes import Hits
from lfm2_retrieval.retriever.tools import as_tool

from .syncing import WORDS

__all__ = ["integrations", "measure"]

_PASSAGES, _PASSAGE_WORDS = 5, 9
"""Of a document, and of a passage."""
_SEARCH = "Retriever.search"

Search = Callable[[str], Any]


class Answered:
    """A retriever whose searches are answered already: what a component takes beside the search is left."""

    def __init__(self, retriever: Retriever, k: int, queries: Sequence[str]) -> None:
        self._retriever = retriever
        self._hits = {query: retriever.search(query, k) for query in queries}

    def search(self, query: str, *_: Any, **__: Any) -> Hits:
        return self._hits[query]

    async def asearch(self, query: str, *_: Any, **__: Any) -> Hits:
        return self._hits[query]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._retriever, name)


def make_documents(n_passages: int, seed: int = 0) -> Iterator[Document]:
    """Documents of five short paragraphs each, with a few metadata."""
    dice = random.Random(seed)
    for number in range(-(-n_passages // _PASSAGES)):
        words = [dice.choices(WORDS, k=_PASSAGE_WORDS) for _ in range(_PASSAGES)]
        text = "\n\n".join(f"{' '.join(some).capitalize()}." for some in words)
        yield Document(f"note{number}", text, {"year": 2000 + number % 26, "lang": "en", "tags": ["a", "b"]})


def components(retriever: Any, k: int) -> dict[str, Search]:
    """What is measured, by name: all that is installed."""
    found: dict[str, Search] = {"as_tool": as_tool(retriever, k=k)}
    if find_spec("langchain_core"):
        from lfm2_retrieval.integrations import langchain

        chain, store = langchain.LFM2Retriever(retriever=retriever, k=k), langchain.LFM2VectorStore(retriever)
        found["LangChain retriever"] = chain.invoke
        found["LangChain vector store"] = lambda query: store.similarity_search(query, k)
        found["LangChain retriever, async"] = _awaited(chain.ainvoke)
    if find_spec("llama_index"):
        from lfm2_retrieval.integrations import llamaindex

        nodes = llamaindex.LFM2Retriever(retriever, k)
        found["LlamaIndex retriever"] = nodes.retrieve
        found["LlamaIndex retriever, async"] = _awaited(nodes.aretrieve)
    if find_spec("haystack"):
        os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")  # pipelines tell of their use
        from haystack import Pipeline

        from lfm2_retrieval.integrations import haystack

        text = haystack.LFM2TextRetriever(haystack.LFM2DocumentStore(retriever=retriever), top_k=k)
        pipeline = Pipeline()
        pipeline.add_component("retriever", text)
        found["Haystack retriever"] = text.run
        found["Haystack pipeline"] = lambda query: pipeline.run({"retriever": {"query": query}})
        found["Haystack retriever, async"] = _awaited(text.run_async)
    if find_spec("mcp"):
        from lfm2_retrieval.integrations.mcp import make_server

        server = make_server(retriever)
        found["MCP search"] = _awaited(lambda query: server.call_tool("search", {"query": query, "k": k}))
    return found


def measure(n_passages: int, n_queries: int, rounds: int, k: int = 10) -> dict[str, Any]:
    """Milliseconds of processor time at p50, beside those of ``Retriever.search``.

    Each query goes to all of them, one after the other, in an order that is drawn. ``beside`` is what a
    component takes where its search is answered already, and ``share`` that over a search.
    """
    from lfm2_retrieval.documents import Passages

    with Retriever.index(make_documents(n_passages), model="nano", passages=Passages(tokens=24)) as retriever:
        dice = random.Random(1)
        queries = [" ".join(dice.choices(WORDS, k=6)) for _ in range(n_queries)]
        systems = {_SEARCH: lambda query: retriever.search(query, k), **components(retriever, k)}
        beside = components(Answered(retriever, k, queries), k)
        whole = _times(systems, queries, rounds, dice)
        alone = _times(beside, queries, rounds, dice)
    search = statistics.median(whole[_SEARCH])
    rows = {}
    for name, some in whole.items():
        ratio = statistics.median(a / b for a, b in zip(some, whole[_SEARCH], strict=True))
        rows[name] = {"processor_ms": round(1e3 * statistics.median(some), 2), "ratio": round(ratio, 3)}
        if name in alone:
            took = statistics.median(alone[name])
            rows[name] |= {"beside_ms": round(1e3 * took, 2), "share": round(took / search, 3)}
    facts = {"passages": n_passages, "queries": n_queries, "rounds": rounds, "k": k, "model": "nano"}
    return {**facts, "components": rows}


def _times(
    systems: dict[str, Search], queries: list[str], rounds: int, dice: random.Random
) -> dict[str, list[float]]:
    """Seconds of the processor, query by query."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for search in systems.values():  # what is loaded and compiled at first use
        search(queries[0])
    for query in queries * rounds:
        for name in dice.sample(list(systems), len(systems)):
            started = time.process_time()
            systems[name](query)
            times[name].append(time.process_time() - started)
    return times


def _awaited(search: Callable[[str], Any]) -> Search:
    """An asynchronous search, awaited by a loop that lives on."""
    loop = asyncio.new_event_loop()

    def run(query: str) -> Any:
        return loop.run_until_complete(search(query))

    return run


@click.command("integrations")
@click.option("--passages", type=click.IntRange(min=10), default=20_000, show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=40, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits of a query.")
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def integrations(passages: int, queries: int, rounds: int, k: int, json_: bool) -> None:
    """Measure what components of LangChain, LlamaIndex, Haystack and MCP add to a search.

    On short passages of random words, encoded by nano, in turns in one process, in time of the processor;
    and what is left of it where the search is answered already.
    """
    report = measure(passages, queries, rounds, k)
    if json_:
        print_json(report)
        return
    click.echo("| component | processor, ms | ratio | beside the search, ms | share |\n|---|---|---|---|---|")
    for name, one in report["components"].items():
        alone = f"{one['beside_ms']} | {one['share']}" if "share" in one else "| "
        click.echo(f"| {name} | {one['processor_ms']} | {one['ratio']} | {alone} |")
    click.echo(f"\n{passages:,} passages; p50 of {queries} queries in {rounds} rounds")
