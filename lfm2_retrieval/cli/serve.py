"""``lfm2-retrieve serve``: an HTTP API and a page on an index."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ._input import MOVED, model_options, trust_option
from ._output import print_json


class _Serve(click.Group):
    """``serve PATH`` serves, ``serve keys`` is about keys; an index of that name is ``./keys``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.list_commands(ctx)
        return super().parse_args(ctx, args if named else [str(_run.name), *args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All but the one that is meant where none is named."""
        return [name for name in super().list_commands(ctx) if name != _run.name]

    def get_help(self, ctx: click.Context) -> str:
        """That of the one, which tells of the others."""
        inner = _RunContext(
            _run,
            parent=ctx,
            terminal_width=ctx.terminal_width,
            max_content_width=ctx.max_content_width,
        )
        return _run.get_help(inner)


class _RunContext(click.Context):
    """Of the command that is meant where none is named, so that its help doesn't name one."""

    @property
    def command_path(self) -> str:
        """As of any context."""
        return self.parent.command_path if self.parent is not None else super().command_path


class _Run(click.Command):
    context_class = _RunContext


@click.group(cls=_Serve, short_help="Serve the index PATH over HTTP.")
def command() -> None:
    """Serve the index PATH over HTTP, with a page to search it in the browser."""


@command.command(
    name="run", cls=_Run, epilog="serve keys add|list|revoke is about the keys; see serve keys --help."
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="The port.")
@click.option("--writable", is_flag=True, help="Let keys with the scope write change documents.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="How many processes."
)
@click.option(
    "--keys", type=click.Path(path_type=Path), help="The file of keys.  [default: in the user's settings]"
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A further name that the server goes by, such as that of a proxy in front. Repeatable.",
)
@click.option(
    "--cors",
    multiple=True,
    metavar="ORIGIN",
    help="Pages of https://example.org whose scripts may ask. Repeatable.  [default: none]",
)
@click.option("--rate", type=click.FloatRange(min=0.01), help="Requests a second a client may make.")
@click.option(
    "--max-k", type=click.IntRange(min=1), default=1000, show_default=True, help="Hits a query at most."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds that a request may take.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Of a collection in shards: search them by actors of the Ray cluster at HOST:PORT, of the one on "
    "this machine (auto), or of one that is started (local).  [default: in this process]",
)
@click.option(
    "--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="With --ray: actors a shard."
)
@click.option(
    "--allow-partial", is_flag=True, help="Answer also while shards are missing; answers name these."
)
@model_options(MOVED)
@trust_option()
def _run(path: Path, keys: Path | None, **given: Any) -> None:
    """Serve the index, or collection in shards, PATH over HTTP, with a page to search it in the browser.

    It listens on this machine alone, and changes nothing, unless told otherwise. Another --host, and
    --writable, take keys: serve keys add NAME makes one. The API is described under /openapi.json. Ctrl-C, or
    SIGTERM, ends it, when what was begun is done.
    """
    from ..server import ServerOptions, run

    options = ServerOptions(keys=None if keys is None else str(keys), **given)
    host = f"[{options.host}]" if ":" in options.host else options.host

    def tell(port: int) -> None:
        click.echo(f"Serving {path} at http://{host}:{port}", err=True)

    run(path, options, on_start=tell)


@command.group(name="keys")
def _keys() -> None:
    """Make, list and revoke the keys that a server takes."""


_FILE = click.option("--keys", "file", type=click.Path(path_type=Path), help="The file.  [default: as serve]")


@_keys.command(name="add")
@click.argument("name")
@click.option("--write", is_flag=True, help="It may change documents, too.")
@_FILE
def _add(name: str, *, write: bool, file: Path | None) -> None:
    """Make a key and print it; it can't be shown again."""
    from ..server import KeyFile

    secret, key = KeyFile(file).add(name, write=write)
    click.echo(
        f"Key {key.id} of {name}, which may {'read and write' if write else 'read'}; shown once:", err=True
    )
    click.echo(secret)


@_keys.command(name="list")
@_FILE
@click.option("--json", "json_", is_flag=True, help="Print a JSON object a key.")
def _list(*, file: Path | None, json_: bool) -> None:
    """List the keys by their ids."""
    from ..server import KeyFile

    for key in KeyFile(file).known():
        scopes = ["read", "write"] if key.write else ["read"]
        created = datetime.fromtimestamp(key.created, UTC).date().isoformat()
        if json_:
            print_json({"id": key.id, "name": key.name, "scopes": scopes, "created": created})
        else:
            click.echo(f"{key.id}  {created}  {'+'.join(scopes):10}  {key.name}")


@_keys.command(name="revoke")
@click.argument("id")
@_FILE
def _revoke(id: str, *, file: Path | None) -> None:
    """Revoke the key ID; servers refuse it within seconds."""
    from ..server import KeyFile

    click.echo(f"Revoked the key of {KeyFile(file).revoke(id).name}")
