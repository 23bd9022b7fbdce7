"""A LangChain document compressor that reranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from pydantic import ConfigDict, Field, PrivateAttr

from ...encoder import Encoder, Precision
from ...errors import InvalidTypeError
from ...searchable import Searchable
from ..reranking import Reranking

__all__ = ["LFM2Reranker"]


class LFM2Reranker(BaseDocumentCompressor):
    """Puts documents, from wherever they are, in the order of their MaxSim with the query.

    To their metadata it adds ``relevance_score``, the mean of the best similarities, at most 1. Documents
    without text are left out. The model is loaded at first use.

    Parameters
    ----------
    model
        An encoder, or what :meth:`Encoder.load <lfm2_retrieval.Encoder.load>` takes.
    retriever
        Instead of a model: a Retriever, whose model is used.
    top_n
        How many documents to keep; None for all.
    device, dtype
        See :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    model: str | Path | Encoder | None = None
    retriever: Searchable | None = None
    top_n: int | None = Field(default=None, ge=1, strict=True)
    device: str = "auto"
    dtype: Precision = "auto"
    _reranking: Reranking = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check what was given."""
        self._reranking = Reranking(self.model, self.retriever, self.device, self.dtype)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best of some documents, best first.

        Raises
        ------
        InvalidTypeError
            If something is no document.
        ModelNotFoundError, CheckpointError
            If the model can't be loaded.
        """
        for position, one in enumerate(documents):
            if not isinstance(one, Document):
                raise InvalidTypeError(
                    f"document {position} is a {type(one).__name__}: give LangChain's Documents"
                )
        ordered = self._reranking.order(query, [one.page_content for one in documents], self.top_n)
        return [
            documents[position].model_copy(
                update={"metadata": {**documents[position].metadata, "relevance_score": hit.normalized_score}}
            )
            for position, hit in ordered
        ]
