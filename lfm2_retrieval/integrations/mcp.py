"""An MCP server over an index, for assistants: ``lfm2-retrieve mcp PATH``. Needs the extra ``mcp``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .. import __version__
from ..errors import MissingExtraError, RetrievalError
from ..retriever.tools import IndexTools, ToolResult
from ..searchable import Searchable
from .common import writable as writable_retriever

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import CallToolResult, TextContent, ToolAnnotations
    from pydantic import BaseModel, Field
except ModuleNotFoundError as error:
    raise MissingExtraError("the MCP server", "mcp") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["make_server"]

_INSTRUCTIONS = (
    "Search in a collection of documents. search finds passages by meaning; cite them by number with their "
    "source. fetch reads on around a passage. describe tells what the collection holds and which fields "
    "filters can use."
)


class NewDocument(BaseModel):
    """A document to store."""

    id: str = Field(description="A stable name, such as a path; one that is there is replaced")
    text: str
    metadata: dict[str, Any] = Field(default_factory=dict)


def make_server(retriever: Searchable, *, name: str = "lfm2-retrieve", writable: bool = False) -> MCPServer:
    """The server, with the tools ``search``, ``fetch`` and ``describe``.

    Parameters
    ----------
    retriever
        What searches; it isn't closed here.
    name
        As assistants show it.
    writable
        Whether there are ``add`` and ``delete``, too.

    Returns
    -------
    MCPServer
        ``run()`` serves on stdin and stdout, ``run("streamable-http", host=…, port=…)`` by HTTP.

    Raises
    ------
    InvalidInputError
        If it is to be writable, and the retriever isn't.
    """
    tools = IndexTools(retriever)
    server: MCPServer = MCPServer(name, instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @server.tool(annotations=reading)
    def search(
        query: Annotated[str, Field(description="A question, or what to find, in plain words")],
        k: Annotated[int, Field(description="How many passages, from 1 to 50")] = 5,
        filter: Annotated[
            str | dict[str, Any] | None,
            Field(description="On metadata: \"year >= 2020 AND lang = 'de'\", or {'year': {'$gte': 2020}}"),
        ] = None,
        mode: Annotated[
            Literal["dense", "lexical", "hybrid"],
            Field(description="By meaning, by words (exact names and codes), or by both"),
        ] = "dense",
        by: Annotated[
            Literal["passage", "document"],
            Field(description="All passages, or the best one of each document"),
        ] = "passage",
    ) -> CallToolResult:
        """Find the passages that answer a question best: numbered, with id, source and span."""
        return _answer(lambda: tools.search(query, k, filter, mode, by))

    @server.tool(annotations=reading)
    def fetch(
        id: Annotated[str, Field(description="An id that search gave, of a document or a passage")],
        start: Annotated[int, Field(description="From which character on; the start of a span")] = 0,
        end: Annotated[int | None, Field(description="Up to which character; the end of a span")] = None,
        around: Annotated[int, Field(description="How many characters before and after to add")] = 0,
    ) -> CallToolResult:
        """Read a document: from its beginning, or a passage's span with its neighbours."""
        return _answer(lambda: tools.fetch(id, start, end, around))

    @server.tool(annotations=reading)
    def describe() -> CallToolResult:
        """Tell what the collection holds: counts, languages, and the fields for filters with examples."""
        return _answer(tools.describe)

    if writable:
        _add_writing(server, retriever)
    return server


def _add_writing(server: MCPServer, retriever: Searchable) -> None:
    index = writable_retriever(retriever)

    @server.tool(annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True))
    def add(
        documents: Annotated[list[NewDocument], Field(description="Stored as a whole or not at all")],
    ) -> CallToolResult:
        """Store documents; those of the same ids are replaced."""

        def change() -> ToolResult:
            given = [one.model_dump() for one in documents]
            count = int(index.add(given, on_conflict="replace")) if given else 0
            return ToolResult(f"Stored {count} documents.", {"stored": count})

        return _answer(change)

    @server.tool(annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True))
    def delete(
        ids: Annotated[list[str], Field(description="Ids of documents")],
    ) -> CallToolResult:
        """Delete documents; ids that aren't there are passed over."""

        def change() -> ToolResult:
            count = index.delete(ids, missing_ok=True)
            return ToolResult(f"Deleted {count} documents.", {"deleted": count})

        return _answer(change)


def _answer(ask: Callable[[], ToolResult]) -> CallToolResult:
    """What a tool found, as text for the model and as structured content."""
    with _errors_to_act_on():
        found = ask()
    return CallToolResult(
        content=[TextContent(type="text", text=found.text)], structured_content=found.values
    )


@contextmanager
def _errors_to_act_on() -> Iterator[None]:
    """Let the model read what this library's errors say."""
    try:
        yield
    except RetrievalError as error:
        raise ToolError(str(error)) from error
