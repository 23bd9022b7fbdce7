"""``lfm2-retrieve rerank``: put texts in order, without an index."""

from __future__ import annotations

from typing import Any

import click

from ..documents import Reading, ReadOptions
from ._input import TextCommand, input_option, model_options, reading_options, tell
from ._output import format_hit, print_json


@click.command(cls=TextCommand)
@click.argument("query", required=False)
@click.option("-q", "--query", "query_option", help="The query, which may then begin with a dash.")
@input_option("FILE")
@reading_options()
@click.option("-k", type=click.IntRange(min=1), help="Hits to print.  [default: all]")
@model_options("nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(
    *,
    query: str | None,
    query_option: str | None,
    inputs: tuple[str, ...],
    format: str | None,
    options: ReadOptions,
    k: int | None,
    model: str | None,
    device: str,
    dtype: Any,
    json_: bool,
) -> None:
    """Order the documents of FILEs by their MaxSim with QUERY.

    Files are read as by `index`.
    """
    from ..retriever import rerank

    if query is None:
        query, query_option = query_option, None
    if query is None or query_option is not None:
        raise click.UsageError("give one query: QUERY or -q")
    reading = Reading(inputs, format, options)
    hits = rerank(query, reading, k=k, model=model, device=device, dtype=dtype)
    tell(reading.report)
    if json_:
        print_json({"query": query, "hits": hits.to_dicts()})
        return
    for hit in hits:
        click.echo(format_hit(hit))
    if not hits:
        click.echo("  nothing to rank")
