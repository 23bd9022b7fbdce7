"""Our encoder and exact search in mteb: ``mteb.evaluate(LFM2Search("nano"), tasks)``; extra ``mteb``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..datatypes import SearchParams
from ..encoder import Encoder
from ..errors import InvalidInputError, MissingExtraError
from ..indexes import Index

__all__ = ["LFM2Search"]


class LFM2Search:
    """A model that mteb can search with (its ``SearchProtocol``), for retrieval tasks.

    A document is its title and its text. Empty documents and queries are encoded, too, as by mteb's own
    models.

    Parameters
    ----------
    model
        An encoder, or what `Encoder.load` takes.
    batch_size
        Documents encoded at a time.

    Raises
    ------
    MissingExtraError
        If mteb is not installed.
    ModelNotFoundError, CheckpointError
        If the model can't be loaded.
    """

    def __init__(self, model: str | Path | Encoder, *, batch_size: int = 256) -> None:
        try:
            from mteb.models.model_meta import ModelMeta
        except ImportError:
            raise MissingExtraError("evaluating with mteb", "mteb") from None
        self.encoder = model if isinstance(model, Encoder) else Encoder.load(model)
        self.batch_size = batch_size
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
        documents = [(str(row["id"]), _text(row)) for row in corpus]
        index = Index.create(None, self.encoder.dim, tier="exact")
        try:
            with index.writer() as writer:
                for start in range(0, len(documents), self.batch_size):
                    batch = documents[start : start + self.batch_size]
                    vectors = self.encoder.encode_documents([text for _, text in batch], output="float16")
                    writer.add([id for id, _ in batch], vectors)
        except BaseException:
            index.close()
            raise
        self._index = index

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
            If nothing was indexed.
        """
        if self._index is None:
            raise InvalidInputError("there is no corpus yet: mteb calls index before search")
        rows = {str(row["id"]): str(row["text"]) for row in queries}
        vectors = self.encoder.encode_queries(list(rows.values()))
        depth = top_k if top_ranked is None else max(top_k, len(self._index))
        found: dict[str, dict[str, float]] = {}
        for query, hits in zip(rows, self._index.search(vectors, SearchParams(depth)), strict=True):
            allowed = None if top_ranked is None else {str(id) for id in top_ranked.get(query, ())}
            kept = [hit for hit in hits if allowed is None or hit.id in allowed]
            found[query] = {hit.id: hit.score for hit in kept[:top_k]}
        return found

    def close(self) -> None:
        """Remove the index."""
        if self._index is not None:
            self._index.close()
            self._index = None


def _text(row: Mapping[str, Any]) -> str:
    title = row.get("title") or ""
    return f"{title} {row['text']}".strip() if title else str(row["text"])
