"""What ways of reading documents cost and bring: NDCG@10, speed and bytes, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lfm2_retrieval import __version__
from lfm2_retrieval.datatypes import By, Document, SearchParams, TokenEmbeddings
from lfm2_retrieval.display.markup import markdown as escaped
from lfm2_retrieval.documents import Passage, Passages
from lfm2_retrieval.encoder import DocumentOptions, Encoder
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation.datasets import Dataset, beir_ref
from lfm2_retrieval.evaluation.environment import describe_environment
from lfm2_retrieval.evaluation.metrics import evaluate
from lfm2_retrieval.indexes import Index, StoredDocument, Tier, Writer
from lfm2_retrieval.retriever.splitting import Splitter, to_setting

from .plots import plot_documents
from .report import table, write_files

__all__ = ["Way", "drawn", "grid", "markdown", "measure", "write"]

Report = dict[str, Any]

_BATCH = 8
_MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Way:
    """A way of reading documents: as options say, or split into passages that these read whole."""

    options: DocumentOptions
    split: bool = False

    @property
    def name(self) -> str:
        """What reports call it."""
        return "passages" if self.split else self.options.long_documents


def grid(
    cut: Sequence[int], windows: Sequence[int], factors: Sequence[int], passages: Sequence[int] = ()
) -> list[Way]:
    """Documents cut at lengths, read in windows, or split into passages, each with every pooling factor.

    By length, as a sequence's time grows faster than it.
    """
    ways = [(length, "truncate", False) for length in cut]
    ways += [(length, "truncate", True) for length in passages]
    ways += [(length, "window", False) for length in windows]
    return [
        Way(DocumentOptions(mode, length, factor), split)  # type: ignore[arg-type]
        for length, mode, split in sorted(ways)
        for factor in factors
    ]


def measure(
    folder: Path,
    encoder: Encoder,
    ways: Sequence[Way],
    *,
    n_documents: int | None = None,
    n_queries: int | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
    on_report: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Encode a judged collection in several ways, and search in each exactly.

    Parameters
    ----------
    folder
        In BEIR layout.
    encoder
        What encodes; its own options don't matter.
    ways
        How to read the documents.
    n_documents, n_queries
        How many are drawn; None for all. Documents without a judgement are left out first, and queries whose
        documents were left out, too.
    on_progress
        Is told what comes next.
    on_report
        Is given the report so far after each way, so that an interrupted run leaves something.

    Returns
    -------
    dict
        JSON values: ``rows``, one for each way, and what was measured where.
    """
    dataset = drawn(beir_ref(folder).load(), n_documents, n_queries, np.random.default_rng(seed))
    for way in ways:
        encoder.with_options(**_keywords(way))  # one that can't be had shows before any work
    texts = list(dataset.documents.values())
    _ = encoder.encode_documents(texts[:1], on_cut=_ignore)  # what happens once only
    queries = encoder.encode_queries(list(dataset.queries.values()), on_cut=_ignore)
    report: Report = {
        "format": 1,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "library": __version__,
        "machine": describe_environment(),
        "model": {
            "name": Path(encoder.name).name,
            "fingerprint": encoder.fingerprint,
            "dtype": str(encoder.dtype),
        },
        "collection": {
            "name": folder.resolve().name,
            "files": dataset.source.get("files", {}),
            "documents": len(dataset.documents),
            "queries": len(dataset.queries),
            "characters": sum(map(len, texts)),
            "seed": seed,
        },
        "rows": [],
    }
    for way in ways:
        on_progress(f"{way.name} {way.options.document_length}, pooled by {way.options.pool_factor}")
        report["rows"].append(_row(encoder.with_options(**_keywords(way)), dataset, queries, way))
        on_report(report)
    return report


def _row(encoder: Encoder, dataset: Dataset, queries: TokenEmbeddings, way: Way) -> dict[str, Any]:
    ids = list(dataset.documents)
    batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
    passages = Passages()
    seconds = cpu = 0.0
    cuts: list[int] = []
    setting = to_setting(passages) if way.split else None
    with Index.create(None, encoder.dim, tier=Tier.EXACT, passages=setting) as store:
        with store.writer() as writer:
            for batch in batches:
                began, began_cpu = time.perf_counter(), time.process_time()
                documents = [Document(id, dataset.documents[id]) for id in batch]
                splitter = Splitter(encoder, passages)
                parts = [splitter.split(one) for one in documents] if way.split else []
                texts = [one.encoded for some in parts for one in some] or [one.text for one in documents]
                vectors = encoder.encode_documents(texts, output="float16", on_cut=cuts.append)
                seconds += time.perf_counter() - began
                cpu += time.process_time() - began_cpu
                if way.split:
                    _put(writer, documents, parts, vectors)
                else:
                    writer.add(batch, vectors)
            writer.commit()
        found = store.search(queries, SearchParams(10, exact=True, by=By.DOCUMENT))
        tokens = store.n_tokens
    ranking = {id: [hit.document_id for hit in hits] for id, hits in zip(dataset.queries, found, strict=True)}
    return {
        "long_documents": way.name,
        "document_length": encoder.document_length,
        "pool_factor": way.options.pool_factor,
        "ndcg@10": evaluate(dataset.qrels, ranking, [_MEASURE])[_MEASURE],
        "cut": sum(cuts),
        "vectors_per_document": tokens / len(ids),
        "bytes_per_document": 2 * encoder.dim * tokens / len(ids),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "documents_per_second": len(ids) / seconds,
        "documents_per_cpu_second": len(ids) / cpu,
    }


def _put(
    writer: Writer, documents: Sequence[Document], parts: Sequence[list[Passage]], vectors: TokenEmbeddings
) -> None:
    first = 0
    for document, passages in zip(documents, parts, strict=True):
        opened = writer.put_document(StoredDocument(document.id, document.text))
        writer.add_passages(opened, passages, vectors.select(range(first, first + len(passages))))
        first += len(passages)


def _keywords(way: Way) -> Any:
    return {
        "long_documents": way.options.long_documents,
        "document_length": way.options.document_length,
        "pool_factor": way.options.pool_factor,
    }


def drawn(
    dataset: Dataset, n_documents: int | None, n_queries: int | None, rng: np.random.Generator
) -> Dataset:
    """Some of the documents, judged ones first, and of the queries judged on them alone some."""
    documents, qrels = list(dataset.documents), dict(dataset.qrels)
    if n_documents is not None and n_documents < len(documents):
        judged = {id for grades in qrels.values() for id in grades}
        order = sorted(rng.permutation(documents).tolist(), key=lambda id: id not in judged)
        chosen = set(order[:n_documents])
        documents = [id for id in documents if id in chosen]
        qrels = {query: grades for query, grades in qrels.items() if grades.keys() <= chosen}
    if n_queries is not None and n_queries < len(qrels):
        kept = set(rng.permutation(list(qrels))[:n_queries].tolist())
        qrels = {query: grades for query, grades in qrels.items() if query in kept}
    if not qrels:
        raise InvalidInputError("too few documents were asked for: no query is judged on them alone")
    return Dataset(
        dataset.task,
        dataset.language,
        {id: dataset.documents[id] for id in documents},
        {id: dataset.queries[id] for id in qrels},
        qrels,
        dataset.source,
    )


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a table; ratios of speed and size are to its first row."""
    collection, model, machine = report["collection"], report["model"], report["machine"]
    first = report["rows"][0]
    rows = [
        [
            row["long_documents"],
            f"{row['document_length']:,}",
            str(row["pool_factor"]),
            f"{row['ndcg@10']:.4f}",
            f"{row['vectors_per_document']:,.0f}",
            f"{row['bytes_per_document']:,.0f}",
            f"{row['bytes_per_document'] / first['bytes_per_document']:.2f}",
            f"{row['documents_per_cpu_second'] / first['documents_per_cpu_second']:.3f}",
            f"{row['cut']:,}",
        ]
        for row in report["rows"]
    ]
    columns = (
        "long documents",
        "positions",
        "pooled by",
        "NDCG@10",
        "vectors a document",
        "bytes a document",
        "ratio",
        "documents/s, ratio",
        "documents cut",
    )
    lines = [
        f"{escaped(str(collection['name']))}: {collection['documents']:,} documents of "
        f"{collection['characters'] / collection['documents']:,.0f} characters on average, "
        f"{collection['queries']:,} queries. Model {escaped(model['name'])}, fingerprint "
        f"{model['fingerprint']}, {model['dtype'].removeprefix('torch.')}; search by exact MaxSim on float16 "
        "vectors, whose bytes "
        f"are counted. lfm2-retrieval {report['library']}; {escaped(machine['cpu'])}, "
        f"{machine['threads']} threads; {report['made']}.",
        "Documents a second are of processor time, so that a busy machine matters less, and stand as ratios "
        f"to the first row, {first['documents_per_cpu_second']:,.2f}.",
        "",
        *table(columns, rows),
    ]
    return "\n".join(lines) + "\n"


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md`` and, where matplotlib is installed, ``NAME.png``.

    Returns
    -------
    list of Path
        What was written.
    """
    pooled = any(row["pool_factor"] > 1 for row in report["rows"])
    name = f"{'pooling' if pooled else 'lengths'}-{report['collection']['name']}"
    return write_files(report, markdown(report), lambda path: plot_documents(report, path), folder, name)


def _ignore(_: int) -> None:
    """Rows say what was cut."""
