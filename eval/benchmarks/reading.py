"""The command ``documents``: ways of reading long documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._extras import need, say_without
from lfm2_retrieval.cli._output import print_json

__all__ = ["documents"]


@click.command("documents")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="nano, a folder or a name on the hub.  [default: LiquidAI/LFM2-ColBERT-350M]")
@click.option(
    "--truncate",
    type=click.IntRange(1, 32_768),
    multiple=True,
    metavar="LENGTH",
    help="Cut documents at so many positions. Repeatable.  [default: 512, 1024 … 32768]",
)
@click.option(
    "--window",
    type=click.IntRange(1, 32_768),
    multiple=True,
    metavar="LENGTH",
    help="Read documents in windows of so many. Repeatable.  [default: 512, 2048 and 8192]",
)
@click.option(
    "--passages",
    type=click.IntRange(32, 32_768),
    multiple=True,
    metavar="LENGTH",
    help="Split documents into passages of at most so many. Repeatable.  [default: 512 and 1024]",
)
@click.option(
    "--pool-factor",
    "factors",
    type=click.IntRange(1, 4),
    multiple=True,
    default=(1,),
    show_default=True,
    help="How many vectors become one. Repeatable.",
)
@click.option("--docs", type=click.IntRange(min=1), help="How many, drawn.  [default: all]")
@click.option("--queries", type=click.IntRange(min=1), help="How many, drawn.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for JSON, Markdown and a plot."
)
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def documents(
    folder: Path,
    *,
    model: str | None,
    truncate: tuple[int, ...],
    window: tuple[int, ...],
    passages: tuple[int, ...],
    factors: tuple[int, ...],
    docs: int | None,
    queries: int | None,
    seed: int,
    out: Path | None,
    json_: bool,
) -> None:
    """Measure ways of reading the documents of FOLDER (BEIR layout): cut, in windows or split, and pooled.

    NDCG@10 by exact search, bytes and documents per second, for every way with every pooling factor.
    """
    need("measuring the quality of a search", "eval", "ir_measures")
    if out is not None:
        say_without("plot", "bench", "matplotlib")
    from lfm2_retrieval.encoder import DEFAULT_MODEL, Encoder

    from . import long_documents

    if not truncate and not window and not passages:
        truncate, window = tuple(512 << i for i in range(7)), (512, 2048, 8192)
        passages = (512, 1024)
    written: list[Path] = []

    def keep(report: dict[str, Any]) -> None:
        if out is not None:
            written[:] = long_documents.write(report, out)

    report = long_documents.measure(
        folder,
        Encoder.load(model or DEFAULT_MODEL),
        long_documents.grid(truncate, window, factors, passages),
        n_documents=docs,
        n_queries=queries,
        seed=seed,
        on_progress=lambda step: click.echo(step, err=True),
        on_report=keep,
    )
    if json_:
        print_json(report)
    else:
        click.echo(long_documents.markdown(report), nl=False)
    for file in written:
        click.echo(f"wrote {file}", err=True)
