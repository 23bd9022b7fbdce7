"""A group of commands whose expected errors are one line each, and whose output passes the guard."""

from __future__ import annotations

import errno
import warnings
from pathlib import Path
from typing import Any

import click

from ..errors import RetrievalError, on_command_line
from ..printable import printable
from ._terminal import guarded

__all__ = ["SETTINGS", "Group"]

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Group(click.Group):
    """Turns errors into lines and exit codes: 1 a library or system error, 130 interrupted."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with guarded():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings(), on_command_line():
            warnings.showwarning = _show_warning
            _check_working_directory()
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


def _check_working_directory() -> None:
    """Refuse to work in one that was deleted: MKL would end the process, with words about torch's files."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise click.ClickException("the working directory is gone: cd to another") from None


def _one_line(error: BaseException) -> str:
    parts = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    return " ".join("; ".join(parts).split())


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {printable(' '.join(str(message).split()))}", err=True)
