"""A Haystack document store in an index of this library."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.types import DuplicatePolicy

from ... import datatypes
from ...documents import Passages
from ...encoder import Encoder, Precision
from ...errors import InvalidInputError
from ...indexes import Tier
from ...searchable import Writable
from ..common import check_query, last_of_each, writable
from ..opening import Opening, name_of
from .documents import from_haystack, plain_metadata, to_haystack
from .errors import as_haystack
from .filters import to_where
from .metadata import count_unique, field_types, min_max, unique_values

if TYPE_CHECKING:
    from types import TracebackType

    from ...searchable import Searchable

__all__ = ["LFM2DocumentStore"]

Filters = dict[str, Any]


class LFM2DocumentStore:
    """Haystack documents in an index, which is opened, or made, at first use or by ``warm_up``.

    All that a document has comes back but its score; meta as JSON values: dates as ISO strings, other
    libraries' numbers as numbers. Errors are Haystack's. Any threads may share it; ``with`` closes it.

    Parameters
    ----------
    path
        The index's folder, whatever made it; None for a temporary one, gone after ``close``.
    model
        What a new index's documents are encoded with, as for
        :meth:`Encoder.load <lfm2_retrieval.Encoder.load>`. For one that is there, where its model lies now;
        None: the one that it names.
    passages
        Of a new index: how documents are split, as for
        :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`, or a mapping with the values of
        ``Passages``. Searches then find passages, and ``lfm2`` in their meta says where they lie.
    tier, fields, lexical
        Of a new index, as for :meth:`Retriever.index <lfm2_retrieval.Retriever.index>`.
    trust_model, device, dtype
        See :meth:`Retriever.open <lfm2_retrieval.Retriever.open>`.
    retriever
        Instead of a path: what is open already. It isn't closed here, and can't be saved.

    Raises
    ------
    InvalidInputError
        If both path and retriever are given.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        model: str | Path | Encoder | None = None,
        *,
        tier: Tier | str | None = None,
        fields: Sequence[str] = (),
        lexical: bool | None = None,
        passages: Passages | dict[str, Any] | Literal["auto", "none"] = "auto",
        trust_model: bool = False,
        device: str = "auto",
        dtype: Precision = "auto",
        retriever: Searchable | None = None,
    ) -> None:
        self.passages = passages
        self.path, self.model, self.tier, self.fields = path, model, tier, list(fields)
        self.lexical, self.trust_model, self.device, self.dtype = lexical, trust_model, device, dtype
        reading = {"model": model, "trust_model": trust_model, "device": device, "dtype": dtype}
        making = {"tier": tier, "fields": self.fields, "lexical": lexical, "passages": self.passages}
        self._opening = Opening(path, retriever, reading, making)

    @property
    def retriever(self) -> Searchable:
        """What stores and searches; opened, or made, where it isn't yet.

        Raises
        ------
        DocumentStoreError
            If it can't be.
        """
        with as_haystack():
            return self._opening.retriever()

    def warm_up(self) -> None:
        """Open the index and load its model.

        Raises
        ------
        DocumentStoreError
            If that can't be done; the message says what to do.
        """
        with as_haystack():
            self._opening.warm_up()

    def close(self) -> None:
        """Close the index, if it was opened here; a later use opens it again."""
        self._opening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def to_dict(self) -> dict[str, Any]:
        """For a saved pipeline.

        Raises
        ------
        DocumentStoreError
            If the store was made with ``retriever=``.
        """
        with as_haystack():
            if self._opening.given is not None:
                raise InvalidInputError(
                    "a store made with retriever= can't be saved: make it with the index's path"
                )
        found: dict[str, Any] = default_to_dict(
            self,
            path=None if self.path is None else str(self.path),
            model=name_of(self.model),
            tier=None if self.tier is None else str(self.tier),
            fields=self.fields,
            lexical=self.lexical,
            passages=asdict(self.passages) if isinstance(self.passages, Passages) else self.passages,
            trust_model=self.trust_model,
            device=self.device,
            dtype=self.dtype,
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From a saved pipeline."""
        return default_from_dict(cls, data)

    def count_documents(self) -> int:
        """How many documents there are."""
        with as_haystack():
            return self.retriever.count()

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """The documents that meet a filter, in order of insertion.

        Raises
        ------
        FilterError
            If the filter isn't understood.
        """
        return [to_haystack(one) for one in self._documents(filters)]

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Store documents in one commit; how many were written.

        Parameters
        ----------
        documents
            Of the same id twice: with ``OVERWRITE`` the last counts, with ``SKIP`` the first.
        policy
            ``NONE`` is ``FAIL``.

        Raises
        ------
        DuplicateDocumentError
            With ``FAIL``, if an id comes twice or is there; then nothing is written.
        ValueError
            If these are no documents.
        DocumentStoreError
            If meta can't be stored, or the index can't be written; then nothing is.
        """
        offered: Any = documents
        if isinstance(offered, str) or not isinstance(offered, Iterable):
            raise ValueError("write_documents takes a list of Haystack's Documents")
        given = list(offered)
        for position, one in enumerate(given):
            if not isinstance(one, Document):
                raise ValueError(f"document {position} is a {type(one).__name__}, not a Haystack Document")
        with as_haystack():
            stored = [from_haystack(one) for one in given]
            if not stored:
                return 0
            if policy is DuplicatePolicy.OVERWRITE:
                self._writable().add(last_of_each(stored), on_conflict="replace")
                return len(given)
            if policy is DuplicatePolicy.SKIP:
                first_of_each = last_of_each(reversed(stored))[::-1]
                return int(self._writable().add(first_of_each, on_conflict="skip"))
            return int(self._writable().add(stored))

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents in one commit; ids that aren't there are passed over."""
        with as_haystack():
            self._writable().delete(list(document_ids), missing_ok=True)

    def delete_all_documents(self) -> None:
        """Delete all documents in one commit."""
        with as_haystack():
            self._writable().delete(all=True)

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that meet a filter; how many."""
        where = _said(filters)
        with as_haystack():
            return self._writable().delete(where=where)

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Give the documents that meet a filter these meta beside their own; how many. Nothing is encoded."""
        where = _said(filters)
        with as_haystack():
            retriever = self._writable()
            changed = (
                datatypes.Document(one.id, one.text, {**one.metadata, **meta})
                for one in retriever.documents(where)
            )
            return int(retriever.update(changed))

    def count_documents_by_filter(self, filters: Filters) -> int:
        """How many documents meet a filter."""
        where = to_where(filters)
        with as_haystack():
            return self.retriever.count(where)

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """How many values each of some fields has in the documents that meet a filter."""
        return count_unique(self._metadata(filters), metadata_fields)

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Each field of the meta with its type: ``keyword``, ``int``, ``float`` or ``boolean``."""
        return field_types(self._metadata())

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """The least and the greatest value of a field; None where there are none."""
        return min_max(self._metadata(), metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Some of a field's values, sorted as strings, and how many there are."""
        return unique_values(self._metadata(filters), metadata_field, search_term, from_, size)

    def search(
        self, query: str, k: int, filters: Filters | None = None, options: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """The best documents with their scores; what `LFM2TextRetriever` runs."""
        where = to_where(filters)
        with as_haystack():
            hits = self.retriever.search(check_query(query), k, where=where, **options or {})
        return [to_haystack(hit) for hit in hits]

    async def search_async(
        self, query: str, k: int, filters: Filters | None = None, options: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """See `search`; the event loop goes on meanwhile."""
        where = to_where(filters)
        retriever = self._opening.opened
        if retriever is None:  # opening it reads files
            retriever = await to_thread(lambda: self.retriever)
        with as_haystack():
            hits = await retriever.asearch(check_query(query), k, where=where, **options or {})
        return [to_haystack(hit) for hit in hits]

    async def count_documents_async(self) -> int:
        """See `count_documents`; these run in a thread."""
        return await to_thread(self.count_documents)

    async def filter_documents_async(self, filters: Filters | None = None) -> list[Document]:
        """See `filter_documents`."""
        return await to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """See `write_documents`; cancelled, it is done as a whole or not at all."""
        return await to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """See `delete_documents`."""
        await to_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self) -> None:
        """See `delete_all_documents`."""
        await to_thread(self.delete_all_documents)

    async def delete_by_filter_async(self, filters: Filters) -> int:
        """See `delete_by_filter`."""
        return await to_thread(self.delete_by_filter, filters)

    async def update_by_filter_async(self, filters: Filters, meta: dict[str, Any]) -> int:
        """See `update_by_filter`."""
        return await to_thread(self.update_by_filter, filters, meta)

    async def count_documents_by_filter_async(self, filters: Filters) -> int:
        """See `count_documents_by_filter`."""
        return await to_thread(self.count_documents_by_filter, filters)

    async def count_unique_metadata_by_filter_async(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """See `count_unique_metadata_by_filter`."""
        return await to_thread(self.count_unique_metadata_by_filter, filters, metadata_fields)

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """See `get_metadata_fields_info`."""
        return await to_thread(self.get_metadata_fields_info)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """See `get_metadata_field_min_max`."""
        return await to_thread(self.get_metadata_field_min_max, metadata_field)

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """See `get_metadata_field_unique_values`."""
        return await to_thread(
            self.get_metadata_field_unique_values, metadata_field, search_term, from_, size, filters
        )

    def _writable(self) -> Writable:
        return writable(self.retriever)

    def _documents(self, filters: Filters | None) -> Iterable[datatypes.Document]:
        where = to_where(filters)
        with as_haystack():
            yield from self.retriever.documents(where)

    def _metadata(self, filters: Filters | None = None) -> Iterable[Mapping[str, Any]]:
        return (plain_metadata(one.metadata) for one in self._documents(filters))


def _said(filters: Filters) -> Mapping[str, Any]:
    """The filter of a change, which must say something."""
    where = to_where(filters)
    if not where:
        raise InvalidInputError("an empty filter means all documents: delete_all_documents deletes all")
    return where
