"""``lfm2-retrieve demo``: index the bundled collection, answer some of its questions, measure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._output import format_hit, print_json

if TYPE_CHECKING:
    from ..datatypes import Hit
    from ..evaluation import Collection
    from ..retriever import Retriever
    from ..retriever.ingest import Progress

_COLLECTIONS = Path(__file__).parent.parent / "collections"
_LANGUAGES = ("en", "de", "es", "fr", "ar", "zh", "ja", "ko")
_SHOWN = 4


@click.command()
@click.option(
    "--language",
    type=click.Choice(_LANGUAGES),
    default="en",
    show_default=True,
    help="Of documents and questions.",
)
@click.option(
    "-k", type=click.IntRange(min=1), default=2, show_default=True, help="Passages to show a question."
)
@click.option("--json", "json_", is_flag=True, help="Print a JSON object.")
def command(language: str, k: int, json_: bool) -> None:
    """Index the bundled collection and answer some of its questions.

    It takes the bundled model and needs no network. The words that matched are bold, or between asterisks
    where the output is no terminal.
    """
    from ..evaluation import load_collection
    from ..retriever import Retriever
    from ..retriever.ingest import Progress
    from ..retriever.progress import progress_bar

    collection = load_collection(_COLLECTIONS / f"demo-{language}")
    documents = list(collection.corpus())
    last = Progress(0, 0, 0.0, 0)
    with progress_bar(len(documents), quiet=json_) as show:

        def follow(done: Progress) -> None:
            nonlocal last
            last = done
            show(done)

        retriever = Retriever.index(documents, model="nano", batch_size=32, on_progress=follow)
    with retriever:
        texts = list(collection.queries.values())
        retriever.search(texts[:1])  # compiles the kernels, once for an installation
        started = time.monotonic()
        results = dict(zip(collection.queries, retriever.search(texts, max(k, 10)), strict=True))
        milliseconds = 1000 * (time.monotonic() - started) / len(texts)
        ndcg, problem = _ndcg(collection, results)
        if json_:
            _print_json(
                collection=collection,
                results=results,
                k=k,
                indexed=last,
                milliseconds=milliseconds,
                ndcg=ndcg,
            )
            return
        click.echo(f"Collection demo-{language}, {len(documents)} passages; model nano\n")
        for id in _some(list(results)):
            _show(retriever, collection, id, results[id], k)
    click.echo(
        f"Indexed {last.documents} passages ({last.tokens:,} token vectors) in {last.seconds:.2f} s: "
        f"{last.documents_per_second:,.0f} documents/s"
    )
    click.echo(f"Answered {len(texts)} questions: {milliseconds:.1f} ms each")
    click.echo(f"NDCG@10 over all of them: {ndcg:.3f}" if ndcg is not None else f"NDCG@10: {problem}")


def _ndcg(
    collection: Collection, results: Mapping[str, Sequence[Hit]]
) -> tuple[float, None] | tuple[None, str]:
    from ..errors import MissingExtraError
    from ..evaluation import evaluate

    ranking = {id: [hit.id for hit in hits] for id, hits in results.items()}
    try:
        return evaluate(collection.qrels, ranking)["nDCG@10"], None
    except MissingExtraError as error:
        return None, str(error)


def _some(ids: Sequence[str]) -> Sequence[str]:
    """A few questions, spread over the collection."""
    return ids[:: max(1, len(ids) // _SHOWN)][:_SHOWN]


def _show(retriever: Retriever, collection: Collection, id: str, hits: Sequence[Hit], k: int) -> None:
    from ._highlight import matched_words

    query = collection.queries[id]
    click.echo(click.style(f"? {query}", bold=True))
    words = matched_words(retriever.encoder, query, [hit.text or "" for hit in hits])
    for hit, marked in zip(hits[:k], words, strict=False):
        click.echo(format_hit(hit, marked))
    found = _first_judged(collection, id, hits[:k])
    click.echo(f"     → the right passage is number {found}\n" if found else "     → not the right passage\n")


def _first_judged(collection: Collection, id: str, hits: Sequence[Hit]) -> int | None:
    """The rank of the best passage that answers the question in full, or None."""
    best = max(collection.qrels[id].values())
    return next((hit.rank for hit in hits if collection.qrels[id].get(hit.id) == best), None)


def _print_json(
    *,
    collection: Collection,
    results: Mapping[str, Sequence[Hit]],
    k: int,
    indexed: Progress,
    milliseconds: float,
    ndcg: float | None,
) -> None:
    answers: list[dict[str, Any]] = [
        {
            "id": id,
            "query": collection.queries[id],
            "hits": [hit.to_dict() for hit in results[id][:k]],
            "judged_rank": _first_judged(collection, id, results[id]),
        }
        for id in _some(list(results))
    ]
    print_json(
        {
            "collection": collection.folder.name,
            "model": "nano",
            "documents": indexed.documents,
            "tokens": indexed.tokens,
            "documents_per_second": indexed.documents_per_second,
            "queries": len(results),
            "milliseconds_per_query": milliseconds,
            "ndcg@10": ndcg,
            "answers": answers,
        }
    )
