"""The options of the commands that read documents from files."""

from __future__ import annotations

from collections.abc import Callable

import click

from ..readers import DocumentFormat

__all__ = ["MOVED", "format_option", "input_option", "model_options"]

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


MOVED = "Where the index's model lies now, if it was moved."


def model_options(help: str) -> Decorator:
    """The options ``--model``, with this help, ``--device`` and ``--dtype``, of all that loads a model."""
    options = (
        click.option("--model", help=help),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
        click.option(
            "--dtype",
            type=click.Choice(["auto", "float32", "float16", "bfloat16", "int8"]),
            default="auto",
            show_default=True,
            help="Of the model's forward pass.",
        ),
    )

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def format_option() -> Decorator:
    """The option ``--format``, of all inputs."""
    return click.option(
        "--format",
        type=click.Choice([str(one) for one in DocumentFormat]),
        help="How to read the files.  [default: as their names say; the standard input is jsonl]",
    )
