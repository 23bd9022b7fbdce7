"""LangChain's ``DocumentIndex``: a retriever that also stores. LangChain calls that interface beta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse

from ...errors import InvalidInputError
from ...keywords import refuse_unknown
from ..common import last_of_each, writable
from .documents import from_langchain, to_langchain
from .retriever import LFM2Retriever

__all__ = ["LFM2DocumentIndex"]


class LFM2DocumentIndex(LFM2Retriever, DocumentIndex):
    """An `LFM2Retriever` that takes changes; made as that is."""

    def upsert(self, items: Sequence[Document], /, **options: Any) -> UpsertResponse:
        """Add documents in one commit, or put them in the place of those of the same ids.

        Raises
        ------
        InvalidInputError
            If one can't be stored; then none is.
        """
        refuse_unknown("LFM2DocumentIndex.upsert", options, ("items",))
        documents = last_of_each(from_langchain(items))
        if documents:
            writable(self.retriever).add(documents, on_conflict="replace")
        return UpsertResponse(succeeded=[document.id for document in documents], failed=[])

    def delete(self, ids: list[str] | None = None, **options: Any) -> DeleteResponse:
        """Delete documents in one commit; ids that aren't there are passed over.

        Raises
        ------
        InvalidInputError
            Without ids.
        """
        refuse_unknown("LFM2DocumentIndex.delete", options, ("ids",))
        if ids is None:
            raise InvalidInputError("delete() takes ids; retriever.delete(all=True) deletes all documents")
        there = [one.id for one in self.retriever.get_many(ids) if one is not None]
        count = writable(self.retriever).delete(ids, missing_ok=True)
        return DeleteResponse(succeeded=there, failed=[], num_deleted=count, num_failed=0)

    def get(self, ids: Sequence[str], /, **options: Any) -> list[Document]:
        """The documents of some ids; those that aren't there are left out."""
        refuse_unknown("LFM2DocumentIndex.get", options, ("ids",))
        found = self.retriever.get_many(list(ids))
        return [to_langchain(document) for document in found if document is not None]
