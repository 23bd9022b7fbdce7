"""``lfm2-retrieve rerank``: put texts in order, without an index."""

from __future__ import annotations

from typing import Any

import click

from ..readers import read_documents
from ._input import format_option, input_option, model_options
from ._output import format_hit, print_json


@click.command()
@click.argument("query")
@input_option("FILE")
@format_option()
@click.option("-k", type=click.IntRange(min=1), help="Hits to print.  [default: all]")
@model_options("nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(
    *,
    query: str,
    inputs: tuple[str, ...],
    format: str | None,
    k: int | None,
    model: str | None,
    device: str,
    dtype: Any,
    json_: bool,
) -> None:
    """Order the documents of FILEs by their MaxSim with QUERY.

    Files are read as by `index`.
    """
    from ..retriever import Retriever

    documents = read_documents(inputs, format)
    hits = Retriever.rerank(query, documents, k=k, model=model, device=device, dtype=dtype)
    if json_:
        print_json({"query": query, "hits": hits.to_dicts()})
        return
    for hit in hits:
        click.echo(format_hit(hit))
    if not hits:
        click.echo("  nothing to rank")
