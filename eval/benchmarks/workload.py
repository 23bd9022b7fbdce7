"""What a benchmark searches: documents' and queries' vectors, and judgements where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lfm2_retrieval.datatypes import TokenEmbeddings
from lfm2_retrieval.documents import read_documents
from lfm2_retrieval.errors import InvalidInputError
from lfm2_retrieval.evaluation import load_collection
from lfm2_retrieval.evaluation.collections import read_qrels

from .synthetic import SyntheticCorpus, draw_queries, expand, repeat

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
    expanded
        The queries once more, filled up to more vectors, to be measured in rows of their own.
    """

    documents: TokenEmbeddings
    queries: TokenEmbeddings
    facts: Mapping[str, Any]
    ids: Sequence[str] = ()
    query_ids: Sequence[str] = ()
    qrels: Qrels | None = None
    expanded: TokenEmbeddings | None = None

    def __post_init__(self) -> None:
        if not (len(self.documents.embeddings) and len(self.queries.embeddings)):
            raise InvalidInputError("a benchmark needs documents and queries that have vectors")
        if self.documents.dim != self.queries.dim:
            raise InvalidInputError(
                f"the documents' vectors are {self.documents.dim} wide, the queries' {self.queries.dim}"
            )

    @property
    def asked(self) -> dict[str, TokenEmbeddings]:
        """The kinds of queries: ``plain`` and, if there are any, ``expanded``."""
        return {"plain": self.queries} | ({} if self.expanded is None else {"expanded": self.expanded})

    def with_expanded(self, length: int, seed: int = 0) -> Workload:
        """The same with expanded queries, if it has none yet; see `synthetic.expand`."""
        if self.expanded is not None:
            return self
        filled = expand(self.queries, length, np.random.default_rng([seed, 3]))
        return replace(self, expanded=filled, facts={**self.facts, "imitated_expansion": length})

    def in_pieces(self, length: int, count: int, seed: int = 0) -> Workload:
        """Short documents of real vectors: ``length`` consecutive ones each, ``count`` at most, drawn.

        Judgements are left out.
        """
        offsets = self.documents.offsets
        starts = [
            np.arange(first, last, length) for first, last in pairwise(offsets.tolist()) if first < last
        ]
        pieces = TokenEmbeddings(self.documents.embeddings, np.append(np.concatenate(starts), offsets[-1]))
        drawn = np.random.default_rng([seed, 5]).permutation(len(pieces))[:count]
        facts = {**self.facts, "pieces": length}
        return Workload(pieces.select(drawn), self.queries, facts, expanded=self.expanded)

    def describe(self) -> dict[str, Any]:
        """The facts, and how much there is of everything."""
        return {
            **self.facts,
            "documents": len(self.documents),
            "tokens": len(self.documents.embeddings),
            "dim": self.documents.dim,
            "queries": len(self.queries),
            "vectors_per_query": {
                kind: round(float(asked.lengths.mean()), 1) for kind, asked in self.asked.items()
            },
            "judged": self.qrels is not None,
        }

    def write(self, folder: Path) -> dict[str, str]:
        """Write the vectors for the workers.

        Returns
        -------
        dict
            ``vectors``, ``offsets``, ``token_ids`` if there are any, and, for each kind of queries, ``KIND``
            and ``KIND_offsets``: paths of .npy files in ``folder``.
        """
        arrays = {"vectors": self.documents.embeddings, "offsets": self.documents.offsets}
        if self.documents.token_ids is not None:
            arrays["token_ids"] = self.documents.token_ids
        for kind, asked in self.asked.items():
            arrays |= {kind: asked.embeddings, f"{kind}_offsets": asked.offsets}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
        return {name: str(folder / f"{name}.npy") for name in arrays}


def synthetic(  # noqa: PLR0917
    documents: int, queries: int, vectors: int = 12, dim: int = 128, seed: int = 0, length: int = 115
) -> Workload:
    """See `SyntheticCorpus`; ``vectors`` is how many a query has, ``length`` how many a document."""
    corpus = SyntheticCorpus(documents, dim, seed, length)
    facts = {"source": "synthetic", "seed": seed, "length": length}
    return Workload(corpus.documents(), corpus.queries(queries, vectors), facts)


def from_npz(
    path: Path,
    documents: int | None,
    queries: int,
    *,
    vectors: int = 12,
    seed: int = 0,
    qrels: Path | None = None,
    repeated: bool = False,
) -> Workload:
    """Vectors from a file.

    Parameters
    ----------
    path
        An .npz of ``embeddings`` ``[n_tokens, dim]`` and ``offsets`` ``[n_documents + 1]``. It may have
        ``token_ids``; ``query_embeddings`` and ``query_offsets``; ``expanded_embeddings`` and
        ``expanded_offsets``, the same queries as an encoder with expansion makes them; ``ids`` and
        ``query_ids``, strings; and judgements, as three columns: ``qrels_query_ids``, ``qrels_ids`` and
        ``qrels_grades``.
    documents
        How many to use at most, from the first; None for all.
    queries
        How many to use at most, at even distances in the file: one that several collections are in, one after
        another, so has its share of each. Queries that the file lacks are drawn from the documents.
    vectors, seed
        Of drawn queries.
    qrels
        A table of judgements, as BEIR has them, in the place of the file's own.
    repeated
        Repeat the documents, slightly disturbed, where ``documents`` is more than there are. Judgements are
        left out then.

    Raises
    ------
    InvalidInputError
        If an array is missing or doesn't fit, or there are fewer documents than asked for.
    """
    arrays = _read_arrays(path)
    given = TokenEmbeddings(arrays["embeddings"], arrays["offsets"], arrays.get("token_ids"))
    copied = documents is not None and documents > len(given)
    if copied and not repeated:
        raise InvalidInputError(
            f"{path}: holds {len(given):,} documents, fewer than {documents:,}; --repeat would repeat them"
        )
    rng = np.random.default_rng(seed)
    if copied:
        given = repeat(given, documents or 0, np.random.default_rng([seed, 4]))
    given = _first(given, documents)
    expanded = None
    if "query_embeddings" in arrays:
        asked = TokenEmbeddings(arrays["query_embeddings"], arrays["query_offsets"])
        chosen = _spread(len(asked), queries)
        asked = asked.select(chosen)
        if "expanded_embeddings" in arrays:
            whole = TokenEmbeddings(arrays["expanded_embeddings"], arrays["expanded_offsets"])
            expanded = whole.select(chosen)
    else:
        asked = draw_queries(given, queries, vectors, rng)
        chosen = np.arange(len(asked))
    facts = {"source": path.name, "drawn_queries": "query_embeddings" not in arrays, "seed": seed}
    work = Workload(given, asked, facts | ({"repeated": True} if copied else {}), expanded=expanded)
    if copied or (qrels is None and "qrels_ids" not in arrays):
        return work
    if missing := {"ids", "query_ids"} - arrays.keys():
        raise InvalidInputError(f"{path}: judgements need {', '.join(sorted(missing))} in it")
    ids, query_ids = _named(arrays, len(given), chosen)
    judged = _qrels(arrays) if qrels is None else read_qrels(str(qrels))
    return replace(work, ids=ids, query_ids=query_ids, qrels=judged)


def _read_arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise InvalidInputError(f"{path}: can't be read as an .npz of plain arrays: {error}") from error
    needed = {"embeddings", "offsets"}
    for kind in ("query", "expanded"):
        pair = {f"{kind}_embeddings", f"{kind}_offsets"}
        needed |= pair if pair & arrays.keys() else set()
    columns = {"qrels_query_ids", "qrels_ids", "qrels_grades"}
    needed |= columns if columns & arrays.keys() else set()
    if missing := needed - arrays.keys():
        raise InvalidInputError(f"{path}: lacks {', '.join(sorted(missing))}; it has {', '.join(arrays)}")
    return arrays


def _qrels(arrays: Mapping[str, Any]) -> Qrels:
    judged: dict[str, dict[str, int]] = {}
    columns = (arrays[f"qrels_{name}"].tolist() for name in ("query_ids", "ids", "grades"))
    for query, document, grade in zip(*columns, strict=True):
        judged.setdefault(str(query), {})[str(document)] = int(grade)
    return judged


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
    from lfm2_retrieval.encoder import Encoder

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
    rows = int(texts.offsets[count])
    ids = None if texts.token_ids is None else texts.token_ids[:rows]
    return TokenEmbeddings(texts.embeddings[:rows], texts.offsets[: count + 1], ids)


def _spread(n: int, count: int) -> NDArray[np.int64]:
    """Up to ``count`` of ``n``, at even distances."""
    count = min(count, n)
    return np.arange(count) * n // max(count, 1)


def _named(
    arrays: Mapping[str, Any], n_documents: int, chosen: NDArray[np.int64]
) -> tuple[list[str], list[str]]:
    """The ids of the first documents, and of the queries chosen."""
    ids, query_ids = ([str(id) for id in arrays[name]] for name in ("ids", "query_ids"))
    if len(ids) < n_documents or len(query_ids) <= chosen.max(initial=-1):
        raise InvalidInputError("there are fewer ids than documents, or fewer query_ids than queries")
    return ids[:n_documents], [query_ids[i] for i in chosen.tolist()]
