"""Measure encoding, beside other systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lfm2_retrieval.cli._extras import need, say_without
from lfm2_retrieval.cli._output import print_json

__all__ = ["encode"]

_DTYPES = ("float32", "bfloat16", "int8")
_ENCODERS = ("sentence-transformers", "pylate", "modernbert")
_WORKLOADS = ("mix", "full", "query")


@click.command("encode")
@click.option("--model", help="nano, a folder or a name on the hub.  [default: random weights in --shape]")
@click.option(
    "--shape", type=click.Choice(("350m",)), default="350m", show_default=True, help="Of the random weights."
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(_DTYPES),
    multiple=True,
    default=_DTYPES,
    show_default=True,
    help="Of this library; the first is what cosines refer to. Others run in those that are not int8. "
    "Repeatable.",
)
@click.option(
    "--against",
    type=click.Choice(_ENCODERS),
    multiple=True,
    help="Other systems, in this interpreter. Repeatable.",
)
@click.option(
    "--workload",
    "workloads",
    type=click.Choice(_WORKLOADS),
    multiple=True,
    default=_WORKLOADS,
    show_default=True,
    help="Documents of mixed length, of 512 tokens, one query of 32 tokens. Repeatable.",
)
@click.option(
    "--documents", type=click.IntRange(min=1), default=256, show_default=True, help="In the mix: how many."
)
@click.option(
    "--full-documents",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Of 512 tokens: how many.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Of the other systems."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often.")
@click.option("--threads", type=click.IntRange(min=1), help="Of torch.  [default: as torch has it]")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of texts and weights."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the report: JSON, Markdown and a plot.",
)
@click.option("--json", "json_", is_flag=True, help="Print the report as a JSON object.")
def encode(
    *, model: str | None, shape: str, seed: int, out: Path | None, json_: bool, **options: Any
) -> None:
    """Measure encoding on the CPU: speed, cosine to float32, share of what matrix products reach alone.

    Random weights need no download and are as fast as real ones; their cosines say little of real ones.
    """
    if out is not None:
        say_without("plot", "bench", "matplotlib")
    if "sentence-transformers" in options["against"]:
        need("measuring other encoders", "bench", "sentence_transformers")
    if "pylate" in options["against"]:
        need("measuring pylate", "pylate", "pylate")
    from tempfile import TemporaryDirectory

    from lfm2_retrieval.encoder.checkpoint import find_checkpoint

    from .encoding import measure_encoding
    from .encoding_report import markdown_encoding, write_encoding
    from .shapes import write_random

    with TemporaryDirectory(prefix="lfm2-bench-") as temporary:
        if model is None:
            click.echo(f"drawing weights in the shape {shape}", err=True)
            folder = write_random(Path(temporary) / f"random-{shape}", shape, seed)
        else:
            folder = find_checkpoint(model)
        report = measure_encoding(
            folder, seed=seed, on_progress=lambda step: click.echo(step, err=True), **options
        )
    if json_:
        print_json(report)
    else:
        click.echo(markdown_encoding(report), nl=False)
    for file in [] if out is None else write_encoding(report, out):
        click.echo(f"wrote {file}", err=True)
