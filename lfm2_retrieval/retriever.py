"""The facade: an encoder, an index and the documents in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from .datatypes import Document, Hit, Mode, SearchOptions, SearchParams, TokenEmbeddings
from .encoder import DEFAULT_MODEL, Encoder, Precision
from .errors import (
    IndexExistsError,
    InvalidInputError,
    InvalidTypeError,
    ModelMismatchError,
)
from .explain import matches
from .indexes import CompressedIndex, Tier
from .indexes.catalogue import is_index, is_vacant
from .indexes.filters import Where, parse_where
from .indexes.policy import parse_memory
from .ingest import Ingest, Progress, Source, as_document, batches
from .reranking import class_or_instance, rerank_texts

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Retriever"]

IfExists = Literal["error", "append", "overwrite"]


class Retriever:
    """Search in documents by late interaction; made by :meth:`index` or :meth:`open`, shared by any threads.

    Attributes
    ----------
    store
        The index with its documents.
    """

    def __init__(self, store: CompressedIndex, load: Callable[[], Encoder]) -> None:
        self.store = store
        self._load = load
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()

    @classmethod
    def index(
        cls,
        documents: Iterable[Source],
        path: str | Path | None = None,
        *,
        model: str | Path | Encoder | None = None,
        tier: Tier | str | None = None,
        if_exists: IfExists = "error",
        device: str = "auto",
        dtype: Precision = "auto",
        batch_size: int = 256,
        memory: str | int = "2GB",
        n_documents: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Retriever:
        """Encode documents and put them into an index.

        Parameters
        ----------
        documents
            Strings, mappings or :class:`Document`. A string's id is its number, counted on from the documents
            already there; a mapping has ``text`` and may have ``id`` (or ``_id``), ``title``, which is put in
            front of the text, and ``metadata``; its other keys count as metadata. A list is checked as a
            whole before any work; of an iterator, what was encoded before a bad document stays in the index,
            unless the index was to be overwritten: then the old one stays.
            Documents without text are stored and never found. An iterator is never held as a whole: every
            2¹⁸ vectors are committed, and compressed as soon as there are enough. Overwriting takes one
            commit, and so 260 bytes a vector on disk until it is through.
        path
            The index's folder; None for a temporary one, gone after :meth:`close`.
        model
            An encoder, or what :meth:`Encoder.load` takes. By default the one an index to append to was made
            with, else LFM2-ColBERT-350M.
        tier
            What the index is compressed to once it is large: ``"compact"``, ``"balanced"``, ``"accurate"`` or
            ``"exact"`` for never. By default that of the index at ``path``, else ``"balanced"``.
        if_exists
            What to do when ``path`` already holds an index.
        device, dtype
            See :meth:`Encoder.load`.
        batch_size
            How many documents are encoded at a time.
        memory
            What compressing the index may use; see :meth:`CompressedIndex.build`.
        n_documents
            How many documents there will be, if ``documents`` has no length: the codec is made for them.
        on_progress
            Called after each batch, and now and then while the index is compressed.

        Raises
        ------
        IndexExistsError
            If ``path`` holds an index and ``if_exists`` is ``"error"``, or holds something else.
        InvalidInputError
            If a document has no text, or an id that is no string or comes twice.
        ModelMismatchError
            If the index to append to was made with another model.
        ModelNotFoundError, CheckpointError
            If the model can't be loaded.
        KeyboardInterrupt
            As ever; the documents encoded until then are in the index.
        """
        if if_exists not in ("error", "append", "overwrite"):
            raise InvalidInputError(f"if_exists must be 'error', 'append' or 'overwrite', not {if_exists!r}")
        if tier is not None and tier not in set(Tier):
            raise InvalidInputError(f"tier must be one of {', '.join(Tier)}, not {tier!r}")
        if batch_size < 1:
            raise InvalidInputError(f"batch_size must be at least 1, not {batch_size}")
        if isinstance(documents, (str, bytes, Mapping, Document)):
            raise InvalidTypeError(
                "documents must be a list or another iterable of documents, not a single one"
            )
        if n_documents is None and isinstance(documents, Sized):
            n_documents = len(documents)
        memory = parse_memory(memory)
        held = path is not None and _holds_index(Path(path), if_exists)
        settings = None
        if held and if_exists == "append" and path is not None:
            retriever = cls.open(path, model=model, device=device, dtype=dtype)
            held_tier = retriever.store.tier
            if tier is not None and held_tier != tier:
                retriever.close()
                raise InvalidInputError(
                    f"{path} has the tier {str(held_tier)!r}: leave tier= out to append to it"
                )
            stream = batches(documents, batch_size, retriever.store)
        else:
            stream = batches(documents, batch_size)
            encoder = _encoder(DEFAULT_MODEL if model is None else model, device, dtype)
            stream = chain([next(stream, [])], stream)  # a bad first batch leaves nothing behind
            identity = {"encoder": dict(encoder.identity)}
            if held and path is not None:
                store = CompressedIndex.open(path)
                chosen = {} if tier is None else {"tier": str(tier)}
                settings = {"dim": encoder.dim, **identity, **chosen}
            else:
                store = CompressedIndex.create(
                    path, encoder.dim, settings=identity, tier=tier or Tier.BALANCED
                )
            retriever = cls(store, lambda: encoder)
        try:
            # A wrong model shows here, before any work.
            ingest = Ingest(retriever.store, retriever.encoder, n_documents, memory, on_progress, settings)
            ingest.run(stream)
        except BaseException:
            retriever.close()
            raise
        return retriever

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | Path | Encoder | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> Retriever:
        """Open an index. The model is loaded when it is first needed.

        Parameters
        ----------
        path
            The index's folder.
        model
            Where the index's own model lies now, if not where it was; another model is refused at first use.
        device, dtype
            See :meth:`Encoder.load`.

        Raises
        ------
        IndexNotFoundError, IndexFormatError, NewerFormatError, DamagedIndexError
            If there is no index, something else, one of a newer version or a damaged one.
        """
        store = CompressedIndex.open(path)
        recorded: dict[str, Any] = store.settings.get("encoder") or {}

        def load() -> Encoder:
            if model is not None:
                encoder = _encoder(model, device, dtype)
            elif recorded:
                encoder = _encoder(recorded["name"], device, dtype, recorded["revision"])
            else:
                raise InvalidInputError(
                    f"{store.path} does not say which model made its vectors: give model="
                )
            if recorded and encoder.fingerprint != recorded["fingerprint"]:
                raise ModelMismatchError(
                    f"{store.path} was made with {recorded['name']} (fingerprint {recorded['fingerprint']}), "
                    f"not with {encoder.name} ({encoder.fingerprint}): give model= the path of the former, "
                    "or index the documents anew"
                )
            return encoder

        return cls(store, load)

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises
        ------
        ModelMismatchError
            If it is not the one that the index was made with.
        ModelNotFoundError, CheckpointError
            If it can't be loaded.
        """
        with self._loading:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self.store.path

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]: ...

    def search(
        self,
        query: str | Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hit] | list[list[Hit]]:
        """The best documents for a query, or for each of several.

        Parameters
        ----------
        query
            A string gives a list of hits; a list of strings, a list of such lists. A query of white space
            finds nothing.
        k
            How many hits at most.
        where
            Look only at documents whose metadata meets this filter, such as ``{"year": {"$gte": 2020}}`` or
            ``"lang = 'de' AND year >= 2020"``; see :mod:`lfm2_retrieval.indexes.filters`. SQL needs the
            extra ``sql``.
        explain
            Whether hits say which of their tokens answered which of the query's, see ``Hit.matches``. A
            document without text or vectors has no matches. Also in a search by words matches are of vectors.
        options
            As for :class:`SearchParams`: ``mode="dense"`` (the default), ``"lexical"``, which needs no model,
            or ``"hybrid"``, with ``fusion``, ``weight`` and others; ``group_by``, ``group_size``, ``min_score``.

        Raises
        ------
        InvalidInputError
            If an argument can't be used, a query is no string, the filter isn't understood, or words are to
            be searched that the index doesn't keep.
        """
        params = SearchParams(k, **options)
        queries = [query] if isinstance(query, str) else list(query)
        for one in queries:
            if not isinstance(one, str):
                raise InvalidTypeError(f"a query must be a str, not {type(one).__name__}")
        asked = [i for i, one in enumerate(queries) if one.strip()]
        results: list[list[Hit]] = [[] for _ in queries]
        if where is not None and not asked:
            parse_where(where)  # a bad one is an error in any case
        if asked:
            texts = [queries[i] for i in asked]
            encoded = None
            if explain or params.mode is not Mode.LEXICAL:
                encoded = self.encoder.encode_queries(texts)
            found = self.store.search(encoded, params, where=where, texts=texts)
            for number, (i, hits) in enumerate(zip(asked, found, strict=True)):
                wanted = None if encoded is None or not explain else encoded.select([number])
                results[i] = hits if wanted is None else self._explained(wanted, hits)
        return results[0] if isinstance(query, str) else results

    def _explained(self, query: TokenEmbeddings, hits: list[Hit]) -> list[Hit]:
        """The hits with their matches, from the vectors stored; spans are those of the stored texts."""
        if query.spans is None:
            return hits
        documents = self.store.embeddings([hit.id for hit in hits])
        return [
            hit
            if hit.text is None or not len(vectors)
            else replace(
                hit,
                matches=matches(query[0], query.spans, vectors, self.encoder.document_spans(hit.text)),
            )
            for hit, vectors in zip(hits, documents, strict=True)
        ]

    @overload
    async def asearch(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hit]: ...

    @overload
    async def asearch(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]: ...

    async def asearch(
        self,
        query: str | Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hit] | list[list[Hit]]:
        """:meth:`search` in a thread of its own, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.search, query, k, where=where, explain=explain, **options)

    @class_or_instance
    def rerank(
        self: Retriever | type[Retriever],
        query: str,
        texts: Iterable[Source] | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int | None = None,
        explain: bool = False,
        model: str | Path | Encoder | None = None,
        device: str = "auto",
        dtype: Precision = "auto",
    ) -> list[Hit]:
        """Put texts, or stored documents, in the order of their MaxSim with a query.

        ``Retriever.rerank(query, texts, model=…)`` needs no index; give an :class:`Encoder` as the model to load
        it once. ``retriever.rerank(query, …)`` uses the retriever's own.

        Parameters
        ----------
        query
            One of white space finds nothing.
        texts
            Strings, mappings or documents, as for :meth:`index`; a string's id is its number. Texts of white
            space are left out.
        ids
            Instead of texts: documents in the index, scored on the vectors that it stores. Those without vectors
            are left out.
        k
            How many hits at most; None for all.
        explain
            See :meth:`search`.
        model, device, dtype
            Without an index: as for :meth:`index`.

        Raises
        ------
        InvalidInputError
            If not one of ``texts`` and ``ids`` is given, an id is not in the index, or an argument can't be used.
        """
        if (texts is None) == (ids is None):
            raise InvalidInputError("rerank takes either texts or ids=")
        if k is not None:
            SearchParams(k)  # refuses what is no number of hits
        if not isinstance(query, str):
            raise InvalidTypeError(f"a query must be a str, not {type(query).__name__}")
        if isinstance(self, Retriever) and model is not None:
            raise InvalidInputError("this retriever has its model; model= is for Retriever.rerank")
        if texts is not None:
            if isinstance(texts, (str, bytes, Mapping, Document)):
                raise InvalidTypeError("texts must be a list or another iterable of texts, not a single one")
            documents = [as_document(source, number) for number, source in enumerate(texts)]
            if isinstance(self, Retriever):
                encoder = self.encoder
            else:
                encoder = _encoder(DEFAULT_MODEL if model is None else model, device, dtype)
            return rerank_texts(encoder, query, documents, k, explain)
        if not isinstance(self, Retriever):
            raise InvalidInputError("ids are of documents in an index: call rerank of an open retriever")
        if not query.strip():
            return []
        encoded = self.encoder.encode_queries([query])
        [hits] = self.store.rerank(encoded, [list(ids or [])])
        return self._explained(encoded, hits[:k]) if explain else hits[:k]

    def get(self, id: str) -> Document | None:
        """The document stored under an id, or None."""
        entry = self.store.get(id)
        return None if entry is None else Document(entry.id, entry.text or "", entry.metadata)

    def close(self) -> None:
        """Close the index; a temporary one is removed. Closing again does nothing."""
        self.store.close()

    def __len__(self) -> int:
        return len(self.store)

    def __contains__(self, id: object) -> bool:
        return id in self.store

    def __enter__(self) -> Retriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Retriever({str(self.path)!r}, {len(self)} documents)"


def _holds_index(path: Path, if_exists: IfExists) -> bool:
    """Whether there is an index to append to or to replace; refuses what may not be touched."""
    folder = path.absolute()
    if is_vacant(folder):
        return False
    if not is_index(folder):
        raise IndexExistsError(f"{folder} holds something that is not an index; choose another folder")
    if if_exists == "error":
        raise IndexExistsError(
            f"{folder} already holds an index; if_exists decides: 'append' adds to it, 'overwrite' replaces "
            "it, 'error', the default, refuses"
        )
    return True


def _encoder(
    model: str | Path | Encoder, device: str, dtype: Precision, revision: str | None = None
) -> Encoder:
    if isinstance(model, Encoder):
        return model
    return Encoder.load(model, device=device, dtype=dtype, revision=revision)
