"""A Haystack ranker."""

from __future__ import annotations

from asyncio import to_thread
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict

from ...datatypes import SearchParams
from ...encoder import Encoder, Precision
from ..opening import name_of
from ..reranking import Reranking

__all__ = ["LFM2Ranker"]


@component
class LFM2Ranker:
    """Puts documents, from wherever they are, in the order of their MaxSim with the query.

    Each gets its MaxSim as score. Documents without content are left out. The model is loaded by ``warm_up``,
    or at first use.

    Parameters
    ----------
    model
        What :meth:`Encoder.load <lfm2_retrieval.Encoder.load>` takes, or an encoder.
    top_k
        How many documents to keep; None for all.
    device, dtype
        See :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`.

    Raises
    ------
    InvalidInputError
        If ``top_k`` is less than 1.
    """

    def __init__(
        self,
        model: str | Path | Encoder,
        top_k: int | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> None:
        if top_k is not None:
            SearchParams(top_k)
        self.model, self.top_k, self.device, self.dtype = model, top_k, device, dtype
        self._reranking = Reranking(model, device=device, dtype=dtype)

    def warm_up(self) -> None:
        """Load the model.

        Raises
        ------
        ModelNotFoundError, CheckpointError
            If it can't be loaded.
        """
        self._reranking.load()

    async def warm_up_async(self) -> None:
        """See `warm_up`."""
        await to_thread(self.warm_up)

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline."""
        found: dict[str, Any] = default_to_dict(
            self, model=name_of(self.model), top_k=self.top_k, device=self.device, dtype=self.dtype
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From a saved pipeline."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """The best of some documents, best first.

        Parameters
        ----------
        query
            One of white space finds nothing.
        documents
            They are left as they are.
        top_k
            In the place of the ranker's own.
        """
        k = self.top_k if top_k is None else top_k
        ordered = self._reranking.order(query, [one.content or "" for one in documents], k)
        return {"documents": [replace(documents[position], score=hit.score) for position, hit in ordered]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, Any]:
        """See `run`; in a thread."""
        return await to_thread(self.run, query, documents, top_k)
