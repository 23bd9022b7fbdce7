"""``lfm2-retrieve search``: ask an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._input import MOVED, TextCommand, model_options, trust_option
from ._output import print_json, where_option

if TYPE_CHECKING:
    from ..hits import Hits
    from ..indexes import Where
    from ..retriever.reading import ReadingRetriever


def _min_score(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value == "auto":
        return value
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor auto") from None


@click.command(cls=TextCommand)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("queries", metavar="QUERY...", nargs=-1)
@click.option(
    "-q",
    "--query",
    "more",
    multiple=True,
    help="A further query, taken as it is, also if it begins with a dash. Repeatable.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a query.")
@where_option("Only documents")
@click.option(
    "--mode",
    type=click.Choice(["dense", "lexical", "hybrid"]),
    default="dense",
    show_default=True,
    help="Search by vectors, by words (BM25; needs no model), or by both.",
)
@click.option(
    "--fusion",
    type=click.Choice(["rrf", "weighted", "rerank"]),
    default="rrf",
    show_default=True,
    help="Of a hybrid search: by ranks, by scores, or MaxSim of what either found.",
)
@click.option(
    "--weight",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="What vectors count in a hybrid search; words count the rest.",
)
@click.option(
    "--by",
    type=click.Choice(["passage", "document"]),
    default="passage",
    show_default=True,
    help="Whether a document may be found by several passages, or by its best one alone.",
)
@click.option("--group-by", metavar="FIELD", help="Limit the hits that have the same value there.")
@click.option(
    "--group-size", type=click.IntRange(min=1), default=1, show_default=True, help="Hits of one group."
)
@click.option(
    "--min-score",
    metavar="SCORE|auto",
    callback=_min_score,
    help="Leave out hits with a lower score; auto: with a lower one than questions that are answered have, "
    "as tune learnt.",
)
@model_options(MOVED)
@trust_option()
@click.option(
    "--open",
    "opened",
    type=click.IntRange(min=1),
    metavar="N",
    help="Open the file of hit N at its place: texts with $VISUAL or $EDITOR, others with xdg-open. Asks "
    "first where the file lies outside the working directory.",
)
@click.option(
    "--open-in",
    "open_in",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="With --open: files in this folder may be opened unasked, too. Repeatable.",
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object a query, one a line.")
def command(
    *,
    path: Path,
    queries: tuple[str, ...],
    more: tuple[str, ...],
    k: int,
    where: Where | None,
    model: str | None,
    device: str,
    dtype: Any,
    trust_model: bool,
    opened: int | None,
    open_in: tuple[Path, ...],
    json_: bool,
    **options: Any,
) -> None:
    """Search the index PATH for one or more QUERYs.

    A QUERY of - reads queries from the standard input, one a line. One that begins with a dash goes behind --
    or -q.
    """
    from ..documents import STDIN, read_lines
    from ..errors import InvalidInputError
    from ..retriever.excerpts import excerpts
    from ._found import find_places
    from ._opening import open_retriever

    if not queries and not more:
        raise click.UsageError("give a QUERY; one that begins with a dash goes behind -- or -q")
    if opened is not None and len(queries) + len(more) > 1:
        raise click.UsageError("--open takes one QUERY")
    with open_retriever(path, model=model, trust_model=trust_model, device=device, dtype=dtype) as retriever:
        asked = [
            line.strip()
            for query in queries
            for line in ([query] if query != STDIN else [text for _, text in read_lines(STDIN)])
            if line.strip() or query != STDIN
        ]
        asked += [query.strip() for query in more]
        results = _search(retriever, asked, k, where, options)
        for number, (query, hits) in enumerate(zip(asked, results, strict=True)):
            found = find_places(retriever, hits, excerpts(query, hits))
            if json_:
                print_json({"query": query, "hits": [one.to_dict() for one in found]})
                continue
            if len(asked) > 1:
                click.echo(("\n" if number else "") + click.style(query, bold=True))
            for one in found:
                click.echo(one.format())
            if not hits:
                click.echo("  nothing found")
        if opened is not None and results:
            if opened > len(found):
                raise InvalidInputError(f"--open {opened}: there are {len(found)} hits")
            found[opened - 1].open(open_in)


def _search(
    retriever: ReadingRetriever, queries: list[str], k: int, where: Where | None, options: dict[str, Any]
) -> list[Hits]:
    """The hits of each query, with what matched, unless words alone are searched or nothing explains it."""
    from ..errors import InvalidInputError

    if options["mode"] != "lexical":
        try:
            return retriever.search(queries, k, where=where, explain=True, **options)
        except InvalidInputError:  # as of documents whose vectors somebody else made
            pass
    return retriever.search(queries, k, where=where, **options)
