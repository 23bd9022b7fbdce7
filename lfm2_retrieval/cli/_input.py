"""The options of the commands that read documents from files."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..documents import DocumentFormat, ReadingReport, ReadOptions
from ..documents.folders import find_files
from ..errors import InvalidInputError
from ._options import Decorator, together

if TYPE_CHECKING:
    from ..indexes import Entry, StoredDocument

__all__ = [
    "MOVED",
    "TextCommand",
    "batch_option",
    "format_option",
    "input_option",
    "model_options",
    "passages_options",
    "prefixes_beside",
    "reading_options",
    "tell",
    "trust_option",
]


class TextCommand(click.Command):
    """A command some of whose arguments may begin with a dash, and says how."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; an unknown option may be a text."""
        clustered = any(len(one) > 2 and one[0] == "-" != one[1] for one in args)  # -kids is -k ids
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if isinstance(error, click.NoSuchOption) or (isinstance(error, click.BadParameter) and clustered):
                option = "-q" if any("-q" in parameter.opts for parameter in self.params) else None
                hint = "What begins with a dash and is no option goes behind --, which comes last"
                hint += f", or behind {option}" if option else ""
                raise click.UsageError(f"{error.format_message()} {hint}.", ctx) from error
            raise


def input_option(metavar: str = "FILE...", *, required: bool = True) -> Decorator:
    """The option ``--input``: at least one file or folder, where it is ``required``."""
    return click.option(
        "-i",
        "--input",
        "inputs",
        required=required,
        multiple=True,
        metavar=metavar,
        help="Files and folders to read; - is the standard input. Repeatable.",
    )


MOVED = "Where the index's model lies now, if it was moved."


def model_options(help: str) -> Decorator:
    """The options ``--model``, with this help, ``--device`` and ``--dtype``, of all that loads a model."""
    return together(
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


def batch_option() -> Decorator:
    """The option ``--batch-size``, of all that encodes documents."""
    return click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=256,
        show_default=True,
        help="Documents encoded at a time.",
    )


def trust_option() -> Decorator:
    """The option ``--trust-model``, of what loads the model that an index names."""
    return click.option(
        "--trust-model",
        is_flag=True,
        help="Load whatever model the index names, from any folder or from the hub.  "
        "[default: only those that are bundled or published by their makers]",
    )


def format_option() -> Decorator:
    """The option ``--format``, of all inputs."""
    return click.option(
        "--format",
        type=click.Choice([str(one) for one in DocumentFormat]),
        help="How to read the files.  [default: as their names say; the standard input is jsonl]",
    )


def passages_options() -> Decorator:
    """The options ``--passages`` and ``--overlap`` as one argument ``passages``; None for neither."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def with_passages(*args: Any, **given: Any) -> None:
            function(*args, passages=_parse_passages(given.pop("passages"), given.pop("overlap")), **given)

        return together(
            click.option(
                "--passages",
                metavar="auto|none|N",
                help="Split documents into passages of as many tokens as the model reads, or of N at most, "
                "at headings, paragraphs and sentences.  [default: auto, or as PATH was made]",
            ),
            click.option(
                "--overlap",
                type=click.IntRange(min=0),
                help="Tokens that passages of one section have in common, about.  [default: 0]",
            ),
        )(with_passages)

    return decorate


def _parse_passages(passages: str | None, overlap: int | None) -> Any:
    from ..documents import Passages

    if passages in (None, "auto"):
        return passages if not overlap else Passages(overlap=overlap)
    if passages == "none":
        if overlap:
            raise click.UsageError("--overlap goes with passages, and --passages none makes none")
        return passages
    try:
        return Passages(int(str(passages)), overlap or 0)
    except ValueError as error:  # also of our own, whose message says more
        why = (
            error if isinstance(error, InvalidInputError) else f"{passages!r} is no number, nor auto or none"
        )
        raise click.BadParameter(str(why), param_hint="--passages") from error


def reading_options(*, folders: bool = True, found: bool = False) -> Decorator:
    """The options of how files are read, as one argument ``options``; ``--format`` stays one of its own.

    ``folders``: also ``--strict``, and which files of folders. ``found``: the text's column is found out, but
    for files named by ``--input``.
    """
    text_default = "found out" if found else "text"
    decorators: list[Decorator] = [
        format_option(),
        click.option(
            "--text-column",
            metavar="NAME",
            help=f"The column, or key, of the text.  [default: {text_default}]",
        ),
        click.option("--id-column", metavar="NAME", help="That of the id.  [default: _id or id]"),
        click.option(
            "--metadata-column",
            "metadata_columns",
            multiple=True,
            metavar="NAME",
            help="A column to keep as metadata; repeatable.  [default: all that are left]",
        ),
        click.option(
            "--delimiter",
            metavar="CHARACTER",
            help="Between columns; tab for a tab.  [default: what the header is split by]",
        ),
        click.option("--encoding", help="Of the files: latin-1, utf-16 …  [default: utf-8]"),
        click.option(
            "--types",
            multiple=True,
            metavar="NAME=TYPE,...",
            help="Types of columns of CSV and TSV: int, float, bool or str.  [default: found out]",
        ),
    ]
    if folders:
        help = "Fail if files in folders are left out, hidden ones and the like apart."
        decorators += [
            click.option(
                "--include",
                multiple=True,
                metavar="PATTERN",
                help="Of folders read only what matches, as in .gitignore: '*.md', 'docs/'. Repeatable.",
            ),
            click.option(
                "--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches. Repeatable."
            ),
            click.option("--no-gitignore", is_flag=True, help="Read what .gitignore names, too."),
            click.option("--strict", is_flag=True, help=help),
        ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def with_options(*args: Any, **given: Any) -> None:
            kept = given.pop("metadata_columns")
            found_out = found and not given.get("inputs")
            options = ReadOptions(
                text=given.pop("text_column") or (None if found_out else "text"),
                id=given.pop("id_column"),
                metadata=kept or None,
                delimiter=given.pop("delimiter"),
                encoding=given.pop("encoding"),
                types=_parse_types(given.pop("types")),
                strict=given.pop("strict", False),
                include=given.pop("include", ()),
                exclude=given.pop("exclude", ()),
                gitignore=not given.pop("no_gitignore", False),
            )
            function(*args, options=options, **given)

        return together(*decorators)(with_options)

    return decorate


def _parse_types(given: Iterable[str]) -> dict[str, str]:
    types = {}
    for part in ",".join(given).split(","):
        column, equals, type = part.rpartition("=")
        if part.strip():
            if not equals or not column.strip():
                raise click.BadParameter(f"{part!r} is not like year=int", param_hint="--types")
            types[column.strip()] = type.strip()
    return types


def tell(report: ReadingReport) -> None:
    """Say on stderr what was left out, and which types columns got."""
    if report.left_out:
        click.echo(f"Note: {report.summary()}", err=True)
    for line in report.types_summary():
        click.echo(f"Note: {line}", err=True)


class Held(Protocol):
    """An index that documents are added to."""

    def ids(self) -> list[str]:
        """All ids."""

    def get_many(self, ids: Sequence[str]) -> Sequence[Entry | StoredDocument | None]:
        """The documents under some ids."""


_LOOKED_AT = 1000


def prefixes_beside(folders: Iterable[str], held: Held) -> dict[str, str]:
    """What stands before the ids of folders' files where an index holds documents already.

    The folder's name; nothing, if the index holds files of this very folder under ids without it; and as many
    of the folders above as it takes, if another folder's files have the name.
    """
    prefixes: dict[str, str] = {}
    ids: list[str] | None = None
    for folder in folders:
        found = islice(find_files(folder, None, ReadingReport()), _LOOKED_AT)
        files = {relative: os.path.realpath(path) for path, relative, _ in found}
        own = PurePath(os.path.realpath(folder)).parts[1:]
        for prefix in ("", *("/".join(own[-n:]) + "/" for n in range(1, len(own) + 1))):
            prefixes[folder] = prefix
            if _holds(held, prefix, files):
                break
            ids = held.ids() if ids is None else ids
            taken = any(id.startswith(prefix) for id in ids)
            beside = any(other != folder and name == prefix for other, name in prefixes.items())
            if prefix and not taken and not beside:
                break
    return prefixes


def _holds(held: Held, prefix: str, files: dict[str, str]) -> bool:
    """Whether the index holds one of the files under its path with this before it."""
    entries = held.get_many([prefix + relative for relative in files])
    return any(
        entry is not None
        and isinstance(known := entry.metadata.get("path"), str)
        and os.path.realpath(known) == path
        for entry, path in zip(entries, files.values(), strict=True)
    )
