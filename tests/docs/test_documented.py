"""Every command, option, error and exit code is told in the docs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import lfm2_retrieval
from lfm2_retrieval import errors
from lfm2_retrieval.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE = Path(lfm2_retrieval.__file__).parent
ROOTS = {"RetrievalError", "StoredIndexError"}
"""They are never raised, but caught."""


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(("lfm2-retrieve", *path)), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(main))


def sections() -> dict[str, str]:
    """Command → its part of the page of commands."""
    parts = (DOCS / "reference/commands.md").read_text(encoding="utf-8").split("\n#")[2:]
    return {part.lstrip("#").split("\n", 1)[0].strip(): part for part in parts}


def warnings() -> set[str]:
    """Our classes of warnings, wherever they are."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Warning"):
                found.add(node.name)
    return found


def exit_codes() -> set[int]:
    """What the command may end with: click's own, and those that our code names."""
    found = {0, click.ClickException.exit_code, click.UsageError.exit_code}
    for file in (PACKAGE / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "exit":
                (code,) = node.args
                assert isinstance(code, ast.Constant), f"{file.name}:{node.lineno}: a code to be documented"
                found.add(code.value)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_its_lines(name: str) -> None:
    command, text = COMMANDS[name], sections()[name]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert f" {option}" in text or f"/{option}" in text, option
            assert parameter.help, f"{parameter.opts[0]} has no help"
        elif isinstance(parameter, click.Argument):
            assert parameter.make_metavar(click.Context(command)).strip("[]. ").split()[0] in text
    assert command.help


def test_nothing_is_documented_that_is_not_there() -> None:
    assert set(sections()) == set(COMMANDS)


HELPERS = {"callers_level", "on_command_line", "remedy"}
"""What ``errors`` has beside errors."""


@pytest.mark.parametrize("name", sorted({*errors.__all__, *warnings()} - HELPERS))
def test_every_error_has_its_remedy(name: str) -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    entries = [line for line in text.splitlines() if line.startswith("**") or name in ROOTS]
    assert any(f"`{name}`" in line for line in entries), f"docs/troubleshooting.md says nothing of {name}"


@pytest.mark.parametrize("code", sorted(exit_codes()))
def test_every_exit_code_is_told(code: int) -> None:
    assert f"\n| {code} | " in (DOCS / "reference/formats.md").read_text(encoding="utf-8")
