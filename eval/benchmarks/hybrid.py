"""Search by vectors, by words and by both: ``python -m eval.benchmarks.hybrid FOLDER... --out DIR``.

Each FOLDER is a collection in BEIR layout. Every document is encoded once, into a default index; bm25s with
its own tokenizer and stop words stands beside our words. Needs the extra ``eval``. Writes hybrid.json and
hybrid.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bm25s

from lfm2_retrieval import CompressedIndex, Encoder, SearchParams
from lfm2_retrieval.evaluation.datasets import Dataset, beir_ref
from lfm2_retrieval.evaluation.environment import describe_environment
from lfm2_retrieval.evaluation.metrics import evaluate_queries
from lfm2_retrieval.evaluation.statistics import compare
from lfm2_retrieval.evaluation.systems import encode_queries

MEASURES = ("nDCG@10", "R@100")
DEPTH = 100
BATCH = 256
WAYS: dict[str, dict[str, Any]] = {
    "vectors": {},
    "words": {"mode": "lexical"},
    "hybrid, rrf": {"mode": "hybrid"},
    "hybrid, weighted": {"mode": "hybrid", "fusion": "weighted"},
    "hybrid, rerank": {"mode": "hybrid", "fusion": "rerank"},
}
"""What is compared; the options are the defaults otherwise."""
BASELINE = "bm25s"

Values = dict[str, dict[str, float]]


def measure(
    data: Dataset, encoder: Encoder, most: int | None, say: Callable[[str], None]
) -> dict[str, Values]:
    """Way → query → measure → value, for the first ``most`` queries."""
    ids, texts = list(data.documents), list(data.documents.values())
    qrels = dict(list(data.qrels.items())[:most])
    asked = {query: data.queries[query] for query in qrels}
    found: dict[str, list[list[str]]] = {}
    with CompressedIndex.create(None, encoder.dim, seed=0) as index:
        with index.writer() as writer:
            for start in range(0, len(ids), BATCH):
                some = [i for i in range(start, min(start + BATCH, len(ids))) if texts[i].strip()]
                batch = [texts[i] for i in some]
                writer.add([ids[i] for i in some], encoder.encode_documents(batch, on_cut=ignore), batch)
        index.build()
        say(f"{data.task} [{data.language}]: {len(index):,} documents, {len(asked):,} queries")
        queries, _ = encode_queries(encoder, list(asked.values()))
        for way, options in WAYS.items():
            hits = index.search(queries, SearchParams(DEPTH, **options), texts=list(asked.values()))
            found[way] = [[hit.id for hit in some] for some in hits]
    outside = bm25s.BM25()
    outside.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(list(asked.values()), show_progress=False)
    places, scores = outside.retrieve(tokens, k=min(DEPTH, len(ids)), show_progress=False)
    found[BASELINE] = [
        [ids[place] for place, score in zip(*some, strict=True) if score > 0]
        for some in zip(places, scores, strict=True)
    ]
    return {
        way: evaluate_queries(qrels, dict(zip(asked, ranked, strict=True)), MEASURES)
        for way, ranked in found.items()
    }


def ignore(_: int) -> None:
    """Texts that were cut are no news here."""


def mean(values: Values, measure: str) -> float:
    """The mean over the queries."""
    return sum(one[measure] for one in values.values()) / len(values)


def markdown(report: Mapping[str, Any]) -> str:
    """A table a measure, the best of a row in bold, and what the default fusion gains over vectors."""
    ways = [*WAYS, BASELINE]
    model = report["model"]
    lines = [
        "# Vectors, words, and both",
        "",
        f"Model `{model['name']}` ({model['fingerprint']}), {report['made'][:10]}. "
        "Made by `python -m eval.benchmarks.hybrid`; the defaults everywhere: rrf_k 60, weight .5.",
    ]
    for measured in MEASURES:
        lines += ["", f"## {measured}", "", f"| | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
        for name, row in [*report["collections"].items(), ("mean", report["mean"])]:
            values = [row[way][measured] for way in ways]
            cells = [f"**{value:.3f}**" if value == max(values) else f"{value:.3f}" for value in values]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## nDCG@10 of `hybrid, rrf` less that of `vectors`",
        "",
        "| | difference | 95 % interval | p |",
    ]
    lines.append("|---|---|---|---|")
    for name, one in report["differences"].items():
        low, high = one["interval"]
        lines.append(f"| {name} | {one['difference']:+.3f} | {low:+.3f} … {high:+.3f} | {one['p']:.2g} |")
    return "\n".join(lines) + "\n"


def write(
    out: Path, encoder: Encoder, collections: Mapping[str, Any], differences: Mapping[str, Any]
) -> None:
    """The report of the collections so far."""
    report = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": dict(encoder.identity),
        "environment": describe_environment(),
        "collections": collections,
        "mean": {
            way: {
                measure: sum(row[way][measure] for row in collections.values()) / len(collections)
                for measure in MEASURES
            }
            for way in [*WAYS, BASELINE]
        },
        "differences": differences,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "hybrid.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "hybrid.md").write_text(markdown(report), encoding="utf-8")


def main() -> None:
    """Measure, and write after each collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--queries", type=int, help="of each collection; all without it")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    encoder = Encoder.load(options.model)
    collections: dict[str, dict[str, dict[str, float]]] = {}
    differences = {}
    for folder in options.folders:
        values = measure(beir_ref(folder).load(), encoder, options.queries, print)
        name = folder.resolve().name
        collections[name] = {
            way: {measure: mean(one, measure) for measure in MEASURES} for way, one in values.items()
        }
        vectors, both = (
            {query: one["nDCG@10"] for query, one in values[way].items()}
            for way in ("vectors", "hybrid, rrf")
        )
        test = compare(vectors, both)
        differences[name] = {
            "difference": test.difference,
            "interval": [test.low, test.high],
            "p": test.p_randomisation,
        }
        write(options.out, encoder, collections, differences)


if __name__ == "__main__":
    main()
