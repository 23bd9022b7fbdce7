"""Packages of extras: looked for before any work, without importing them."""

from __future__ import annotations

from importlib.util import find_spec

import click

from ..errors import MissingExtraError

__all__ = ["missing", "need", "say_without"]


def missing(*modules: str) -> list[str]:
    """Those of some modules that can't be imported."""
    return [name for name in modules if not _is_there(name)]


def need(feature: str, extra: str, *modules: str) -> None:
    """Refuse to begin what can't be ended.

    Raises
    ------
    MissingExtraError
        If a module isn't installed.
    """
    if missing(*modules):
        raise MissingExtraError(feature, extra)


def say_without(what: str, extra: str, *modules: str) -> None:
    """Say on stderr, before any work, what there won't be without an extra."""
    if missing(*modules):
        click.echo(
            f"Warning: no {what}: that needs an extra: pip install 'lfm2-retrieval[{extra}]'", err=True
        )


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # it has no spec, or was taken out
        return False
