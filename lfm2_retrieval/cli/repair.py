"""``lfm2-retrieve repair``: a new index of everything that is left of a damaged one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..printable import printable
from ._input import model_options, trust_option
from ._output import print_json

__all__ = ["command"]

_SHOWN = 20


@click.command("repair")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what is damaged and what would be lost.")
@model_options("Where the index's model lies now, to encode texts of which vectors are lost.")
@trust_option()
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(path: Path, *, dry_run: bool, json_: bool, **model: Any) -> None:
    """Replace the damaged index PATH by all that is left.

    The damaged one stays beside it as PATH.damaged. Documents of which only the vectors are lost are encoded
    again if the index's model is at hand, and else kept with their text.
    """
    from ..retriever import Retriever

    report = Retriever.repair(path, dry_run=dry_run, **model)
    if json_:
        print_json({**asdict(report), "original": report.original and str(report.original)})
        return
    if not report.problems:
        click.echo(f"Nothing is damaged: {report.kept:,} documents.")
        return
    for problem in report.problems:
        click.echo(f"damaged: {printable(problem)}")
    click.echo(f"{report.kept:,} documents are as they were.")
    _name("encoded again from their text", report.encoded)
    _name("without vectors: only their text is left", report.without_vectors)
    _name("lost", report.lost)
    if report.n_unknown:
        click.echo(f"{report.n_unknown:,} more lost, of which not even the id is left.")
    if report.original:
        click.echo(f"{path} is repaired; the damaged index is in {report.original}.")


def _name(what: str, ids: Sequence[str]) -> None:
    if ids:
        more = f" and {len(ids) - _SHOWN:,} more (--json has all)" if len(ids) > _SHOWN else ""
        click.echo(f"{len(ids):,} {what}: {', '.join(map(repr, ids[:_SHOWN]))}{more}")
