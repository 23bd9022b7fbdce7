"""The command ``lfm2-retrieve``: one module a command, imported when the command is.

A command's module imports click and the standard library at its top, and all else inside its body, so that
``--help`` is instant. Every expected error is one line on stderr. Exit codes: 1 a library or system error,
2 a wrong use, 130 interrupted.
"""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword

import click

from .. import __version__
from ..platform.threads import MOST, VARIABLE, using
from ._group import SETTINGS, Group

__all__ = ["main"]

_COMMANDS = (
    *("add", "backup", "bench", "configure", "delete", "demo", "eval", "export", "get", "import"),
    *("index", "info", "list", "mcp", "merge", "models", "plan", "reindex", "repair", "rerank"),
    *("reshard", "search", "serve", "sync", "tune", "verify"),
)


class _Commands(Group):
    """Imports its commands when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]  # the name list is a command's module here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}{'_' * iskeyword(cmd_name)}", __name__).command
        return command


@click.group(cls=_Commands, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="lfm2-retrieve")
@click.option(
    "--threads",
    type=click.IntRange(1, MOST),
    help="How many threads may work: encode, search, compress. Given before the command.  [default: "
    f"${VARIABLE}; else one for a query, and for all else as many as there are processors to use]",
)
@click.pass_context
def main(ctx: click.Context, /, *, threads: int | None) -> None:
    """Index documents and search in them by late interaction with LFM2-ColBERT."""
    ctx.with_resource(using(threads))
