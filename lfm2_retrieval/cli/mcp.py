"""``lfm2-retrieve mcp``: serve an index to assistants."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import click

from ._input import TextCommand, trust_option


@click.command(cls=TextCommand)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--http", is_flag=True, help="Serve Streamable HTTP at /mcp instead of stdin and stdout.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="With --http.")
@click.option("--writable", is_flag=True, help="Let assistants add and delete documents, too.")
@click.option("--name", default="lfm2-retrieve", show_default=True, help="As assistants show the server.")
@click.option("--model", help="Where the index's own model lies now.")
@trust_option()
def command(
    path: Path,
    *,
    http: bool,
    host: str,
    port: int,
    writable: bool,
    name: str,
    model: str | None,
    trust_model: bool,
) -> None:
    """Serve the index PATH to assistants by the Model Context Protocol.

    It has the tools search, fetch and describe, and sees what others commit. Needs the extra mcp.
    """
    from ..integrations.mcp import make_server
    from ._opening import open_retriever

    with open_retriever(path, model=model, trust_model=trust_model, auto_refresh=True) as retriever:
        server = make_server(retriever, name=name, writable=writable)
        if http:
            click.echo(f"serving {path} at http://{host}:{port}/mcp", err=True)
            server.run("streamable-http", host=host, port=port)
        else:
            with redirect_stdout(sys.__stdout__):  # the protocol's, without what is escaped for terminals
                server.run("stdio")
