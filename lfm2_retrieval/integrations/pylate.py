"""Our index behind PyLate's interfaces: code that encodes and searches with PyLate changes one line.

    from lfm2_retrieval.integrations.pylate import LFM2Index

    index = LFM2Index(index_folder="indexes", index_name="colbert", override=True)  # was indexes.PLAID(…)
    index.add_documents(documents_ids=ids, documents_embeddings=model.encode(texts, is_query=False))
    results = retrieve.ColBERT(index=index).retrieve(queries_embeddings, k=10)

Nothing of PyLate is imported, so this works whatever PyLate's own index needs. The extra ``pylate`` installs
PyLate too; version 1.6 of it pins sentence-transformers 5.3.0, transformers at most 5.3.0 and, through
fast-plaid, torch 2.11: give it an environment of its own, or install it with ``--no-deps`` beside a newer
torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from ..datatypes import Hit, SearchParams, TokenEmbeddings
from ..errors import IndexExistsError, InvalidInputError
from ..indexes import Index, is_vacant

__all__ = ["ColBERT", "LFM2Index", "Result"]

Id = str | int
Embeddings = Any
"""A list of ``[n_tokens, dim]`` arrays or tensors, one such, or one of ``[n_texts, n_tokens, dim]``."""
Subset = Sequence[Id] | Sequence[Collection[Id]]


class Result(TypedDict):
    """A found document, as PyLate has them."""

    id: Id
    score: float


class LFM2Index:
    """PyLate's ``indexes.PLAID``, on this library's index; needs no PyLate.

    Ids are strings, or whole numbers, which come back as such; ``1`` and ``"1"`` are one id. Other arguments
    of ``PLAID`` have no meaning here.

    Parameters
    ----------
    index_folder, index_name
        The index lies in ``index_folder/index_name``. One that is there is opened.
    override
        Begin anew: the first documents replace what is there.
    params
        How to search; its ``k`` gives way to each call's.
    options
        Of the index that is made at the first `add_documents`, such as ``tier``.

    Raises
    ------
    StoredIndexError
        If what is there is no index, or damaged.
    """

    is_end_to_end_index = True
    """Tells PyLate's retrievers that the results are ranked."""

    def __init__(
        self,
        index_folder: str = "indexes",
        index_name: str = "colbert",
        override: bool = False,
        *,
        params: SearchParams | None = None,
        **options: Any,
    ) -> None:
        self.path = Path(index_folder) / index_name
        self.params = params or SearchParams()
        self._override, self._options = override, options
        self._index = None if override or is_vacant(self.path) else Index.open(self.path)

    def add_documents(
        self, documents_ids: Id | Iterable[Id], documents_embeddings: Embeddings, **_: Any
    ) -> LFM2Index:
        """Add documents in one commit.

        Parameters
        ----------
        documents_ids
            Each new to the index.
        documents_embeddings
            One an id, float32 or narrower ``[n_tokens, dim]``.

        Raises
        ------
        DuplicateIdError
            If an id comes twice or is in the index.
        InvalidInputError
            If the numbers or shapes don't fit, or a vector isn't finite.
        """
        ids = [documents_ids] if isinstance(documents_ids, (str, int)) else list(documents_ids)
        texts = TokenEmbeddings.of(documents_embeddings)
        if not len(texts):
            return self
        if self._index is None:
            self._index = self._make(texts.dim)
        metadata = [{} if isinstance(id, str) else {"id": int(id)} for id in ids]
        self._index.add([str(id) for id in ids], texts, metadata=metadata)
        return self

    def _make(self, dim: int) -> Index:
        """A new index; where another process has made one meanwhile, and none is to be replaced, that."""
        if_exists: Literal["error", "overwrite"] = "overwrite" if self._override else "error"
        try:
            return Index.create(self.path, dim, if_exists=if_exists, **self._options)
        except IndexExistsError:
            if self._override:
                raise
            return Index.open(self.path)

    def remove_documents(self, documents_ids: Sequence[Id]) -> LFM2Index:
        """Not yet: the index can't delete.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "deleting documents comes with a later version of lfm2-retrieval; until then, make the index "
            "anew without them: LFM2Index(…, override=True)"
        )

    def get_documents_embeddings(self, documents_ids: Sequence[Sequence[Id]]) -> list[list[Any]]:
        """Not needed, as results are ranked already.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError("the index ranks documents itself and doesn't give out their vectors")

    def __call__(
        self, queries_embeddings: Embeddings, k: int = 10, subset: Subset | None = None
    ) -> list[list[Result]]:
        """The best documents of each query.

        Parameters
        ----------
        queries_embeddings
            Of one query, or of several.
        k
            How many documents a query gets at most.
        subset
            Ids to choose from, for all queries or a list for each; unknown ones are ignored. The index can't
            filter yet: every document is scored, and the others are dropped.

        Raises
        ------
        InvalidInputError
            If shapes or widths don't fit, or the lists of ``subset`` are not one a query.
        """
        queries = TokenEmbeddings.of(queries_embeddings)
        params = replace(self.params, k=k)
        if self._index is None or not len(queries) or not len(self._index):
            return [[] for _ in range(len(queries))]
        if subset is None:
            return [[_result(hit) for hit in hits] for hits in self._index.search(queries, params)]
        everything = self._index.at_once(
            lambda held: held.search(queries, SearchParams(max(len(held), 1), exact=True))
        )
        return [
            [_result(hit) for hit in hits if hit.id in allowed][:k]
            for hits, allowed in zip(everything, _allowed(subset, len(queries)), strict=True)
        ]

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)


class ColBERT:
    """PyLate's ``retrieve.ColBERT``, where PyLate is not installed; its own does the same.

    Parameters
    ----------
    index
        What searches.
    """

    def __init__(self, index: LFM2Index) -> None:
        self.index = index

    def retrieve(  # noqa: PLR0917  as PyLate has it
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        k_token: int | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        subset: Subset | None = None,
    ) -> list[list[Result]]:
        """The best documents of each query, see `LFM2Index`.

        ``k_token``, ``device`` and ``batch_size`` are unused.
        """
        return self.index(queries_embeddings, k=k, subset=subset)


def _result(hit: Hit) -> Result:
    return Result(id=hit.metadata.get("id", hit.id), score=hit.score)


def _allowed(subset: Subset, queries: int) -> list[set[str]]:
    """The ids that each query may find."""
    if all(isinstance(one, (str, int)) for one in subset):
        return [{str(id) for id in subset}] * queries
    if len(subset) != queries:
        raise InvalidInputError(f"subset has {len(subset)} lists of ids for {queries} queries")
    return [{str(id) for id in ids} for ids in subset if isinstance(ids, Collection)]
