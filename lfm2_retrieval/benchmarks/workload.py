"""What a benchmark searches: documents' and queries' vectors, and judgements where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..datatypes import TokenEmbeddings
from ..errors import InvalidInputError
from ..evaluation import load_collection
from ..evaluation.collections import read_qrels
from ..readers import read_documents
from .synthetic import SyntheticCorpus, draw_queries

__all__ = ["Workload", "from_npz", "from_texts", "synthetic"]

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Workload:
    """Documents and queries.

    Parameters
    ----------
    documents, queries
        Their vectors, of one width.
    facts
        Where they are from, as JSON values, for the report.
    ids, query_ids
        What ``qrels`` calls them; needed only with it.
    qrels
        Query id → document id → grade.
    """

    documents: TokenEmbeddings
    queries: TokenEmbeddings
    facts: Mapping[str, Any]
    ids: Sequence[str] = ()
    query_ids: Sequence[str] = ()
    qrels: Qrels | None = None

    def __post_init__(self) -> None:
        if not (len(self.documents.embeddings) and len(self.queries.embeddings)):
            raise InvalidInputError("a benchmark needs documents and queries that have vectors")
        if self.documents.dim != self.queries.dim:
            raise InvalidInputError(
                f"the documents' vectors are {self.documents.dim} wide, the queries' {self.queries.dim}"
            )

    def describe(self) -> dict[str, Any]:
        """The facts, and how much there is of everything."""
        return {
            **self.facts,
            "documents": len(self.documents),
            "tokens": len(self.documents.embeddings),
            "dim": self.documents.dim,
            "queries": len(self.queries),
            "vectors_per_query": round(float(self.queries.lengths.mean()), 1),
            "judged": self.qrels is not None,
        }

    def write(self, folder: Path) -> dict[str, str]:
        """Write the vectors for the workers.

        Returns
        -------
        dict
            ``vectors``, ``offsets``, ``queries`` and ``query_offsets``: paths of .npy files in ``folder``.
        """
        arrays = {
            "vectors": self.documents.embeddings,
            "offsets": self.documents.offsets,
            "queries": self.queries.embeddings,
            "query_offsets": self.queries.offsets,
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
        return {name: str(folder / f"{name}.npy") for name in arrays}


def synthetic(documents: int, queries: int, vectors: int = 12, dim: int = 128, seed: int = 0) -> Workload:
    """See `SyntheticCorpus`; ``vectors`` is how many a query has."""
    corpus = SyntheticCorpus(documents, dim, seed)
    return Workload(
        corpus.documents(), corpus.queries(queries, vectors), {"source": "synthetic", "seed": seed}
    )


def from_npz(
    path: Path,
    documents: int | None,
    queries: int,
    *,
    vectors: int = 12,
    seed: int = 0,
    qrels: Path | None = None,
) -> Workload:
    """Vectors from a file.

    Parameters
    ----------
    path
        An .npz of ``embeddings`` ``[n_tokens, dim]`` and ``offsets`` ``[n_documents + 1]``; it may have
        ``query_embeddings`` and ``query_offsets``, and ``ids`` and ``query_ids`` for ``qrels``.
    documents, queries
        How many to use at most, from the first; None for all. Queries that the file lacks are drawn from the
        documents.
    vectors, seed
        Of drawn queries.
    qrels
        A table of judgements, as BEIR has them.

    Raises
    ------
    InvalidInputError
        If an array is missing or doesn't fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise InvalidInputError(f"{path}: can't be read as an .npz of plain arrays: {error}") from error
    if missing := {"embeddings", "offsets"} - arrays.keys():
        raise InvalidInputError(f"{path}: lacks {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    given = _first(TokenEmbeddings(arrays["embeddings"], arrays["offsets"]), documents)
    if "query_embeddings" in arrays:
        asked = _first(TokenEmbeddings(arrays["query_embeddings"], arrays["query_offsets"]), queries)
    else:
        asked = draw_queries(given, queries, vectors, np.random.default_rng(seed))
    facts = {"source": path.name, "drawn_queries": "query_embeddings" not in arrays, "seed": seed}
    if qrels is None:
        return Workload(given, asked, facts)
    if missing := {"ids", "query_ids"} - arrays.keys():
        raise InvalidInputError(f"{path}: judgements need {', '.join(sorted(missing))} in it")
    return Workload(given, asked, facts, *_named(arrays, given, asked), read_qrels(str(qrels)))


def from_texts(
    path: Path,
    model: str,
    documents: int | None,
    queries: int,
    *,
    vectors: int = 12,
    seed: int = 0,
) -> Workload:
    """Texts, encoded.

    Parameters
    ----------
    path
        A folder in BEIR layout, whose queries and judgements are used too, or a file of documents.
    model
        As :meth:`Encoder.load <lfm2_retrieval.Encoder.load>` takes it.
    documents, queries, vectors, seed
        As for `from_npz`.

    Raises
    ------
    InvalidInputError
        If something can't be read.
    ModelNotFoundError, CheckpointError
        If the model can't be loaded.
    """
    from ..encoder import Encoder

    collection = load_collection(path) if path.is_dir() else None
    source = read_documents([path]) if collection is None else collection.corpus()
    rows = list(islice(source, documents))
    encoder = Encoder.load(model)
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    filled = [i for i, text in enumerate(texts) if text]
    given = encoder.encode_documents([texts[i] for i in filled], output="float16")
    name = Path(model).name if Path(model).is_dir() else model
    facts = {"source": path.name, "model": name, "model_fingerprint": encoder.fingerprint, "seed": seed}
    if collection is None:
        return Workload(given, draw_queries(given, queries, vectors, np.random.default_rng(seed)), facts)
    questions = dict(islice(collection.queries.items(), queries))
    return Workload(
        given,
        encoder.encode_queries(list(questions.values())),
        facts,
        [rows[i]["id"] for i in filled],
        list(questions),
        {id: collection.qrels[id] for id in questions},
    )


def _first(texts: TokenEmbeddings, count: int | None) -> TokenEmbeddings:
    if count is None or count >= len(texts):
        return texts
    return TokenEmbeddings(texts.embeddings[: texts.offsets[count]], texts.offsets[: count + 1])


def _named(arrays: Mapping[str, Any], *texts: TokenEmbeddings) -> tuple[list[str], list[str]]:
    ids, query_ids = ([str(id) for id in arrays[name]] for name in ("ids", "query_ids"))
    if len(ids) < len(texts[0]) or len(query_ids) < len(texts[1]):
        raise InvalidInputError("there are fewer ids than documents, or fewer query_ids than queries")
    return ids[: len(texts[0])], query_ids[: len(texts[1])]
