"""The MCP server, asked by the SDK's own client: in memory, as a subprocess, and by HTTP."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from lfm2_retrieval import Encoder, Retriever
from lfm2_retrieval.errors import MissingExtraError

pytest.importorskip("mcp.server.mcpserver")

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from lfm2_retrieval.integrations.mcp import make_server

DOCUMENTS = [
    {"id": "rain", "text": "rain falls on quiet hills", "source": "hills.md", "lang": "en", "year": 2020},
    {"id": "boats", "text": "rivers carry boats past old towns", "lang": "en"},
]


@pytest.fixture
def retriever(checkpoint):
    with Retriever.index(DOCUMENTS, model=Encoder.load(checkpoint())) as retriever:
        yield retriever


def asked(server, *calls):
    """The results of some calls of tools, by one client."""

    async def ask():
        async with Client(server) as client:
            return [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(ask())


def test_the_tools_say_what_they_do(retriever):
    async def listed(**options):
        async with Client(make_server(retriever, **options)) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    tools = asyncio.run(listed())
    assert set(tools) == {"search", "fetch", "describe"}
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools.values())
    assert set(tools["search"].input_schema["properties"]) == {"query", "k", "filter", "mode", "by"}
    assert all(one["description"] for one in tools["search"].input_schema["properties"].values())
    assert set(asyncio.run(listed(writable=True))) == {"search", "fetch", "describe", "add", "delete"}


def test_results_are_text_and_structured_content(retriever):
    search, fetch, describe = asked(
        make_server(retriever),
        ("search", {"query": "quiet hills", "mode": "lexical"}),
        ("fetch", {"id": "rain", "start": 5, "end": 10, "around": 3}),
        ("describe", {}),
    )
    [found] = search.structured_content["results"]
    assert (found["id"], found["source"], found["span"]) == ("rain", "hills.md", [0, 25])
    assert search.content[0].text == "[1] id=rain span=0-25 (hills.md)\nrain falls on quiet hills"
    assert fetch.structured_content["text"] == "in falls on"
    assert describe.structured_content["languages"] == {"en": 2}
    assert "lang: string" in describe.content[0].text


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {"query": "rain", "filter": "lang >> 'en'"}, "filter"),
        ("search", {"query": "rain", "filter": {"lang": {"$like": "e"}}}, r"\$in"),
        ("search", {"query": "rain", "k": 0}, "from 1 to 50"),
        ("search", {"query": " "}, "not empty"),
        ("search", {"query": "rain", "mode": "words"}, "hybrid"),
        ("fetch", {"id": "nothing"}, "search"),
        ("search", {}, "query"),
        ("add", {"documents": []}, "add"),
    ],
)
def test_errors_say_what_to_do(retriever, tool, arguments, says):
    [result] = asked(make_server(retriever), (tool, arguments))
    assert result.is_error
    assert re.search(says, result.content[0].text)


def test_a_closed_index_is_an_error_that_says_so(retriever):
    server = make_server(retriever)
    retriever.close()
    [result] = asked(server, ("search", {"query": "rain"}))
    assert result.is_error
    assert "closed" in result.content[0].text


def test_writing(retriever):
    server = make_server(retriever, writable=True)
    snow = {"id": "snow", "text": "snow falls", "metadata": {"year": 2024}}
    results = asked(
        server,
        ("add", {"documents": [snow, {"id": "rain", "text": "it rains"}]}),
        ("search", {"query": "snow", "filter": "year = 2024"}),
        ("delete", {"ids": ["boats", "not there"]}),
        ("add", {"documents": [{"id": "", "text": "no id"}, {"id": "x", "text": "rain"}]}),
    )
    assert [one.structured_content for one in results[:1]] == [{"stored": 2}]
    assert [one["id"] for one in results[1].structured_content["results"]] == ["snow"]
    assert results[2].structured_content == {"deleted": 1}
    assert results[3].is_error
    assert retriever.ids() == ["rain", "snow"]


def test_a_hundred_calls_at_once(retriever):
    async def many():
        async with Client(make_server(retriever)) as client:
            calls = (client.call_tool("search", {"query": f"rain {n}", "k": 1}) for n in range(100))
            return await asyncio.gather(*calls)

    found = [one.structured_content["results"][0]["id"] for one in asyncio.run(many())]
    assert found == [retriever.search(f"rain {n}", 1)[0].id for n in range(100)]


@pytest.fixture
def path(checkpoint, tmp_path):
    Retriever.index(DOCUMENTS, tmp_path / "index", model=Encoder.load(checkpoint())).close()
    return tmp_path / "index"


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_as_a_subprocess_that_sees_what_others_commit(path):
    arguments = ["-m", "lfm2_retrieval", "mcp", str(path), "--trust-model"]

    async def ask():
        server = StdioServerParameters(command=sys.executable, args=arguments, env=environment())
        async with Client(server) as client:
            first = await client.call_tool("search", {"query": "rain", "k": 2})
            with Retriever.open(path, trust_model=True) as other:
                other.add([{"id": "snow", "text": "snow falls"}])
            return first, await client.call_tool("fetch", {"id": "snow"})

    first, second = asyncio.run(ask())
    assert {one["id"] for one in first.structured_content["results"]} == {"rain", "boats"}
    assert second.structured_content["text"] == "snow falls"


def test_by_http(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["mcp", str(path), "--http", "--port", str(port), "--trust-model"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lfm2_retrieval", *options], env=environment(), stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        [found] = asked(f"http://127.0.0.1:{port}/mcp", ("search", {"query": "rain", "k": 1}))
        assert len(found.structured_content["results"]) == 1
    finally:
        process.terminate()
        process.wait(60)


def test_no_index_is_one_line_on_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lfm2_retrieval", "mcp", str(tmp_path / "nothing")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing" in done.stderr


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.delitem(sys.modules, "lfm2_retrieval.integrations.mcp")
    with pytest.raises(MissingExtraError, match=r"lfm2-retrieval\[mcp\]"):
        importlib.import_module("lfm2_retrieval.integrations.mcp")
