"""What the rerankers of all frameworks share: a model, loaded at first use, that puts texts in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..datatypes import Document, Hit, SearchParams
from ..encoder import Encoder, Precision
from ..errors import InvalidInputError
from ..platform.forks import Lock
from ..retriever import rerank
from ..searchable import Searchable

__all__ = ["Reranking"]


class Reranking:
    """Puts texts in the order of their MaxSim with a query; any threads may share it.

    Parameters
    ----------
    model
        An encoder, or what :meth:`Encoder.load <lfm2_retrieval.Encoder.load>` takes, which is then loaded at
        first use.
    retriever
        Instead of a model: what has one.
    device, dtype
        See :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`.

    Raises
    ------
    InvalidInputError
        If not one of model and retriever is given.
    """

    def __init__(
        self,
        model: str | Path | Encoder | None,
        retriever: Searchable | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> None:
        if (model is None) == (retriever is None):
            raise InvalidInputError(
                "a reranker takes model=, such as 'nano' or 'LiquidAI/LFM2-ColBERT-350M', or the retriever= "
                "whose model shall be used"
            )
        self._model, self._retriever, self._device, self._dtype = model, retriever, device, dtype
        self._loading = Lock()

    def load(self) -> None:
        """Load the model, if that isn't done yet.

        Raises
        ------
        ModelNotFoundError, CheckpointError
            If it can't be loaded.
        """
        with self._loading:
            if self._model is not None and not isinstance(self._model, Encoder):
                self._model = Encoder.load(self._model, device=self._device, dtype=self._dtype)

    def order(self, query: str, texts: Sequence[str], k: int | None = None) -> list[tuple[int, Hit]]:
        """The best texts, each with its position among those given; texts of white space are left out.

        Raises
        ------
        InvalidInputError
            If ``k`` is less than 1, or query or texts are no strings.
        """
        if k is not None:
            SearchParams(k)  # before a model is loaded
        documents = [Document(str(position), text) for position, text in enumerate(texts)]
        if self._retriever is not None:
            hits = self._retriever.rerank(query, documents, k=k)
        else:
            self.load()
            hits = rerank(query, documents, model=self._model, k=k)
        return [(int(hit.id), hit) for hit in hits]
