"""A LlamaIndex node postprocessor that reranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field, PrivateAttr

from ...encoder import Encoder, Precision
from ...errors import InvalidInputError
from ...searchable import Searchable
from ..reranking import Reranking

__all__ = ["LFM2Reranker"]


class LFM2Reranker(BaseNodePostprocessor):
    """Puts nodes, from wherever they are, in the order of their MaxSim with the query, which is their score.

    Nodes without text are left out. The model is loaded at first use.

    Parameters
    ----------
    model
        An encoder, or what :meth:`Encoder.load <lfm2_retrieval.Encoder.load>` takes.
    retriever
        Instead of a model: a Retriever, whose model is used.
    top_n
        How many nodes to keep; None for all.
    device, dtype
        See :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str | Path | Encoder | None = None
    retriever: Searchable | None = Field(default=None, exclude=True)
    top_n: int | None = Field(default=None, ge=1, strict=True)
    device: str = "auto"
    dtype: Precision = "auto"
    _reranking: Reranking = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check what was given."""
        self._reranking = Reranking(self.model, self.retriever, self.device, self.dtype)

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex names it."""
        return "LFM2Reranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInputError("a reranker needs the query: give query_str= or query_bundle=")
        texts = [one.node.get_content(metadata_mode=MetadataMode.EMBED) for one in nodes]
        ordered = self._reranking.order(query_bundle.query_str, texts, self.top_n)
        return [NodeWithScore(node=nodes[position].node, score=hit.score) for position, hit in ordered]
