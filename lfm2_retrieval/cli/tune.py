"""``lfm2-retrieve tune``: find the fastest way to search an index that finds enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._extras import need
from ._input import model_options, trust_option
from ._output import describe_min_score, print_json
from ._questions import encode_questions, questions_option
from ._terminal import console

if TYPE_CHECKING:
    from ..datatypes import TokenEmbeddings
    from ..indexes import Index, MinScore, Recall, Tuning

_PLOTS = (".png", ".svg", ".pdf")


def _plottable(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse before any work what can't be drawn after it."""
    if value is not None and value.suffix.lower() not in _PLOTS:
        raise click.BadParameter(f"{value}: its name must end in {', '.join(_PLOTS)}")
    return value


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.98,
    show_default=True,
    help="Share of the exact hits to find.",
)
@click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many hits will be asked for."
)
@questions_option()
@click.option(
    "--sample", type=click.IntRange(min=1), default=100, show_default=True, help="Queries to use at most."
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.98,
    show_default=True,
    help="The share of the queries that `search --min-score auto` shall leave a hit.",
)
@model_options("For --queries: where the index's model lies now, if it was moved.")
@trust_option()
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_plottable,
    help=f"Draw recall against latency; the name ends in {', '.join(_PLOTS)}.",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(
    *,
    path: Path,
    target_recall: float,
    k: int,
    file: Path | None,
    sample: int,
    keep: float,
    model: str | None,
    device: str,
    dtype: Any,
    trust_model: bool,
    plot: Path | None,
    json_: bool,
) -> None:
    """Find the fastest settings of the index PATH for a recall.

    They become the index's default; searches that name their own settings are not changed. Recall is the
    share of the exact hits that a search finds. It is measured on this machine, as is the time. Run it again
    when the index has grown a lot.
    """
    if (model is not None or trust_model) and file is None:
        raise click.UsageError("--model and --trust-model go with --queries")
    if plot is not None:
        need("drawing a picture", "bench", "matplotlib")
    from ..indexes import Index

    with Index.open(path) as index:
        how = {"model": model, "trust_model": trust_model, "device": device, "dtype": dtype}
        queries = None if file is None else encode_questions(path, file, **how)
        with _status(quiet=json_) as show:
            tuning = index.tune(target_recall, k, queries=queries, sample=sample, on_progress=show)
            tuning = replace(tuning, min_score=_learn(path, queries, keep, show, how))
        if json_:
            print_json(_facts(tuning))
        else:
            _print(tuning, index)
    if plot is not None:
        from ._plot_tuning import plot_tuning

        plot_tuning(tuning, plot)
        click.echo(f"wrote {plot}", err=True)


def _learn(
    path: Path, queries: TokenEmbeddings | None, keep: float, show: Callable[[str], None], how: Any
) -> MinScore | None:
    """The threshold for ``--min-score auto``; None, and why, where the index's model isn't at hand."""
    from ..errors import CheckpointError, InvalidInputError, ModelMismatchError, UntrustedModelError
    from ..retriever import Retriever
    from ..retriever.answering import learn_from

    with Retriever.open(path, **how) as retriever:
        try:
            encoder = retriever.encoder
        except (CheckpointError, InvalidInputError, ModelMismatchError, UntrustedModelError) as error:
            click.echo(f"Nothing learnt for --min-score auto: {error}", err=True)
            return None
        return learn_from(retriever.store, encoder, queries, keep=keep, on_progress=show)


@contextmanager
def _status(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal's stderr what it is told."""
    screen = console(stderr=True)
    if quiet or not screen.is_terminal:
        yield lambda _: None
        return
    with screen.status("tuning") as status:
        yield lambda step: status.update(f"tuning: {step}")


def _facts(tuning: Tuning) -> dict[str, Any]:
    front = set(tuning.front)
    return {
        "target_recall": tuning.target_recall,
        "reached": tuning.reached,
        "tunable": bool(tuning.tried),
        "best": tuning.best.to_json(),
        "min_score": None if tuning.min_score is None else tuning.min_score.to_json(),
        "tried": [
            {**one.to_json(), "front": one in front, "best": one is tuning.best} for one in tuning.tried
        ],
    }


def _print(tuning: Tuning, index: Index) -> None:
    from ..indexes import in_words

    best = tuning.best
    learnt = (
        () if tuning.min_score is None else (f"--min-score auto: {describe_min_score(tuning.min_score)}",)
    )
    if not tuning.tried:
        click.echo(
            f"Nothing to tune: no part of this index is compressed (tier {index.tier}, {best.n_documents:,} "
            f"documents), so every search is exact. It takes {best.milliseconds:,.2f} ms."
        )
        for line in learnt:
            click.echo(line)
        return
    _print_table(tuning)
    click.echo(_origin(best))
    for line in learnt:
        click.echo(line)
    found = f"finds {best.recall:.3f} ± {best.error:.3f} of the exact top {best.k}"
    chosen = in_words(best.nprobe, best.candidates, best.rerank)
    if tuning.reached:
        click.echo(f"Stored as the default: {chosen} {found} in {best.milliseconds:,.2f} ms.")
    else:
        click.echo(
            f"The target {tuning.target_recall:g} was not reached. The best, stored as the default: {chosen} "
            f"{found} in {best.milliseconds:,.2f} ms."
        )


def _origin(best: Recall) -> str:
    documents = f"; the index holds only {best.n_documents:,} documents" if best.k > best.n_documents else ""
    if best.from_documents:
        return (
            f"Measured with {best.n_queries} queries made from stored documents{documents}. Real ones may be "
            "harder: give some with --queries."
        )
    return f"Measured with {best.n_queries} queries{documents}."


def _print_table(tuning: Tuning) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    front = set(tuning.front)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("nprobe", "candidates", "rerank", "recall", "ms"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in tuning.finalists:
        numbers = one.nprobe, one.candidates, one.rerank
        marks = ["front"] * (one in front) + ["chosen"] * (one is tuning.best)
        table.add_row(
            *("as needed" if number is None else str(number) for number in numbers),
            f"{one.recall:.3f}",
            f"{one.milliseconds:,.2f}",
            ", ".join(marks),
            style="bold" if one is tuning.best else None if one in front else "dim",
        )
    console().print(table)
    click.echo(
        f"{len(tuning.tried)} settings tried, these with all queries. front: none is both faster and better."
    )
