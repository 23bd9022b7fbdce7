"""Our encoder and index in mteb: ``mteb.evaluate(LFM2Search("nano"), tasks)``; extra ``mteb``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ..datatypes import SearchParams
from ..encoder import Encoder
from ..errors import InvalidInputError, MissingExtraError
from ..indexes import Index, Tier

__all__ = ["LFM2Search"]

_COMMIT_TOKENS = 1 << 18
"""So many vectors are written at once; they lie on disk then, and what is compressed is compressed."""


class LFM2Search:
    """A model that mteb can search with (its ``SearchProtocol``), by an index of its own.

    Documents are read, encoded and stored by the batch: memory holds one batch of vectors, whatever the size
    of the corpus. A document is its title and its text. Empty documents and queries are encoded, too, as by
    mteb's own models.

    Parameters
    ----------
    model
        An encoder, or what `Encoder.load` takes.
    batch_size
        Documents, or queries, encoded at a time.
    tier
        What the index is compressed to: ``"compact"``, ``"balanced"``, ``"accurate"``, or ``"exact"`` for
        float16 and scores of every document.
    path
        A folder that is empty or not there, for each task's index in turn; None for a temporary one.
    params
        How to search; mteb says how many hits.

    Raises
    ------
    MissingExtraError
        If mteb is not installed.
    InvalidInputError
        If there is no such tier.
    ModelNotFoundError, CheckpointError
        If the model can't be loaded.
    """

    def __init__(
        self,
        model: str | Path | Encoder,
        *,
        batch_size: int = 256,
        tier: Tier | str = Tier.EXACT,
        path: str | Path | None = None,
        params: SearchParams | None = None,
    ) -> None:
        try:
            from mteb.models.model_meta import ModelMeta
        except ImportError:
            raise MissingExtraError("evaluating with mteb", "mteb") from None
        if tier not in set(Tier):
            raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {tier!r}")
        self.encoder = model if isinstance(model, Encoder) else Encoder.load(model)
        self.batch_size, self.tier, self.path = batch_size, Tier(tier), path
        self.params = params or SearchParams()
        name = self.encoder.name if self.encoder.name.count("/") == 1 else Path(self.encoder.name).name
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": name if "/" in name else f"lfm2-retrieval/{name}",
                "revision": self.encoder.revision or self.encoder.fingerprint,
                "embed_dim": self.encoder.dim,
                "max_tokens": self.encoder.document_length,
                "similarity_fn_name": "MaxSim",
            }
        )
        self._index: Index | None = None

    def index(self, corpus: Any, **_: Any) -> None:
        """Encode and index a corpus; the one before is forgotten.

        Parameters
        ----------
        corpus
            Rows with ``id``, ``text`` and perhaps ``title``.
        """
        self.close()
        index = Index.create(
            self.path, self.encoder.dim, tier=self.tier, lexical=False, if_exists="overwrite"
        )
        try:
            batches = _batches(corpus, self.batch_size)
            while self._commit(index, batches):
                pass
            if self.tier is not Tier.EXACT:
                index.build(force=True)
        except BaseException:
            index.close()
            raise
        self._index = index

    def _commit(self, index: Index, batches: Iterator[list[Any]]) -> bool:
        """Write some batches; whether there may be more."""
        n_tokens = 0
        with index.writer() as writer:
            for batch in batches:
                texts = [_text(row) for row in batch]
                vectors = self.encoder.encode_documents(texts, output="float16")
                writer.add([str(row["id"]) for row in batch], vectors)
                n_tokens += len(vectors.embeddings)
                if n_tokens >= _COMMIT_TOKENS:
                    return True
        return False

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """The best documents of each query.

        Parameters
        ----------
        queries
            Rows with ``id`` and ``text``.
        top_k
            How many documents a query gets at most.
        top_ranked
            Of reranking tasks: query id → the documents to rank.

        Returns
        -------
        dict
            Query id → document id → score.

        Raises
        ------
        InvalidInputError
            If nothing was indexed, or a document to rank wasn't.
        """
        if self._index is None:
            raise InvalidInputError("there is no corpus yet: mteb calls index before search")
        params = replace(self.params, k=top_k)
        found: dict[str, dict[str, float]] = {}
        for batch in _batches(queries, self.batch_size):
            vectors = self.encoder.encode_queries([str(row["text"]) for row in batch])
            names = [str(row["id"]) for row in batch]
            if top_ranked is None:
                hits = self._index.search(vectors, params)
            else:
                ranked = [[str(id) for id in top_ranked.get(name, ())] for name in names]
                hits = self._index.rerank(vectors, ranked)
            for name, best in zip(names, hits, strict=True):
                found[name] = {hit.id: hit.score for hit in best[:top_k]}
        return found

    def close(self) -> None:
        """Close the index; a temporary one is removed."""
        if self._index is not None:
            self._index.close()
            self._index = None


def _batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    stream = iter(rows)
    while batch := list(islice(stream, size)):
        yield batch


def _text(row: Mapping[str, Any]) -> str:
    title = row.get("title") or ""
    return f"{title} {row['text']}".strip() if title else str(row["text"])
