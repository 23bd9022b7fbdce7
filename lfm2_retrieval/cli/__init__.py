"""The command ``lfm2-retrieve``: one module a command, imported when the command is.

A command's module imports click and the standard library at its top, and all else inside its body, so that
``--help`` is instant. Every expected error is one line on stderr. Exit codes: 1 a library or system error,
2 a wrong use, 130 interrupted.
"""

from __future__ import annotations

import errno
import warnings
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import RetrievalError, on_command_line
from ..printable import printable
from ._terminal import guarded

__all__ = ["main"]

_COMMANDS = (
    *("add", "backup", "bench", "configure", "delete", "demo", "eval", "export", "get", "index"),
    *("info", "list", "merge", "models", "reindex", "repair", "rerank", "search", "tune", "verify"),
)


class _Group(click.Group):
    """A group that imports its commands when they are needed, and turns errors into lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS]  # the name list is a command's module here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __name__).command
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with guarded():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings(), on_command_line():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except (RetrievalError, MemoryError) as error:
                raise click.ClickException(_one_line(error)) from error
            except OSError as error:
                if error.errno == errno.EPIPE:  # click ends quietly
                    raise
                raise click.ClickException(_one_line(error)) from error
            except KeyboardInterrupt:
                click.echo("Interrupted", err=True)
                ctx.exit(130)


def _one_line(error: BaseException) -> str:
    parts = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    return " ".join("; ".join(parts).split())


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {printable(' '.join(str(message).split()))}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lfm2-retrieve")
def main() -> None:
    """Index documents and search in them by late interaction with LFM2-ColBERT."""
