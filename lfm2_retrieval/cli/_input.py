"""The options of the commands that read documents from files."""

from __future__ import annotations

from collections.abc import Callable

import click

from ..readers import DocumentFormat

__all__ = ["format_option", "input_option"]

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def input_option(metavar: str = "FILE...") -> Decorator:
    """The option ``--input``: at least one file or folder."""
    return click.option(
        "-i",
        "--input",
        "inputs",
        required=True,
        multiple=True,
        metavar=metavar,
        help="Files and folders to read; - is the standard input. Repeatable.",
    )


def format_option() -> Decorator:
    """The option ``--format``, of all inputs."""
    return click.option(
        "--format",
        type=click.Choice([str(one) for one in DocumentFormat]),
        help="How to read the files.  [default: as their names say; the standard input is jsonl]",
    )
