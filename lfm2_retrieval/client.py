"""A client of a server: what a :class:`Retriever` does, over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from .connection import Connection, encoded
from .datatypes import Document, Hit, Hits, Match, ScoreKind, SearchOptions
from .errors import InvalidInputError, InvalidTypeError, UnknownIdError
from .hits import Place
from .records import Source, draft_of

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Client"]

Where = str | Mapping[str, Any]
_AT_ONCE = 200
_QUERIES_AT_ONCE = 32
_MOST_BYTES = 4 << 20
_PAGE = 200
T = TypeVar("T")


class Client:
    """Search, and change documents, on a server that ``lfm2-retrieve serve`` runs; any threads may share it.

    Integrations take it in the place of a :class:`Retriever`.

    Parameters
    ----------
    url
        Where the server is, such as ``http://localhost:8000``.
    key
        The API key, if it takes one; by default the environment variable ``LFM2_RETRIEVAL_KEY``.
    timeout
        Seconds that a request may take.
    retries
        How often what changes nothing is asked again where the server is busy.

    Raises
    ------
    MissingExtraError
        If ``httpx`` isn't installed.
    InvalidInputError
        If the URL is none.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 60.0, retries: int = 3) -> None:
        self._given = (url, key, timeout, retries)
        key = os.environ.get("LFM2_RETRIEVAL_KEY") if key is None else key
        self._server = Connection(url, key, timeout, retries)
        self.url = self._server.url

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> Hits: ...

    @overload
    def search(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]: ...

    def search(
        self,
        query: str | Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Any,
    ) -> Hits | list[Hits]:
        """The best documents for a query, or for each of several; see :meth:`Retriever.search`.

        Raises
        ------
        InvalidInputError
            If an argument can't be used; also one that the server doesn't take.
        ServerError
            If the server doesn't answer, is busy or broken, or takes another key.
        """
        body: dict[str, Any] = {"k": k, "where": where, "explain": explain}
        body |= {name: one for name, one in options.items() if one is not None}
        if isinstance(query, str):
            return self._post("search", {"query": query, **body}, lambda found: _hits(found["hits"]))
        queries = _strings(query, "a query must be a str or a list of them")
        return [
            hits
            for start in range(0, len(queries), _QUERIES_AT_ONCE)
            for hits in self._post(
                "search",
                {"query": queries[start : start + _QUERIES_AT_ONCE], **body},
                lambda found: [_hits(one["hits"]) for one in found["results"]],
            )
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
    ) -> Hits: ...

    @overload
    async def asearch(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where | None = None,
        explain: bool = False,
        **options: Unpack[SearchOptions],
    ) -> list[Hits]: ...

    async def asearch(self, query: str | Sequence[str], k: int = 10, **options: Any) -> Hits | list[Hits]:
        """:meth:`search` in a thread of its own, so that an event loop goes on meanwhile."""
        return await asyncio.to_thread(self.search, query, k, **options)  # type: ignore[arg-type]

    def rerank(
        self,
        query: str,
        texts: Iterable[Source] | None = None,
        *,
        ids: Sequence[str] | None = None,
        k: int | None = None,
    ) -> Hits:
        """Put texts, or stored documents, in the order of their MaxSim with a query.

        ``score`` is the mean of the best similarities, which the server gives. Texts of white space are left
        out.
        """
        if (texts is None) == (ids is None):
            raise InvalidInputError("rerank takes either texts or ids=")
        if not isinstance(query, str):
            raise InvalidTypeError(f"a query must be a str, not {type(query).__name__}")
        if ids is not None:
            known = dict(zip(ids, self.get_many(ids), strict=True))
            if missing := [id for id, document in known.items() if document is None]:
                raise UnknownIdError(f"not in the index: {', '.join(map(repr, missing[:5]))}")
            documents = [one for one in known.values() if one is not None]
        else:
            drafts = [draft_of(one, n) for n, one in enumerate(texts or ())]
            documents = [
                Document(str(n) if one.id is None else one.id, one.text, one.metadata)
                for n, one in enumerate(drafts)
            ]
        documents = [one for one in documents if one.text.strip()]
        if not documents or not query.strip():
            return Hits()
        body = {"query": query, "documents": [one.text for one in documents], "top_n": k}
        order = self._post(
            "rerank",
            body,
            lambda found: [
                (documents[one["index"]], float(one["relevance_score"])) for one in found["results"]
            ],
        )
        return Hits(
            Hit(one.id, score, rank, text=one.text, metadata=one.metadata, normalized_score=score)
            for rank, (one, score) in enumerate(order, 1)
        )

    def get(self, id: str) -> Document | None:
        """The document stored under an id, or None."""
        return self.get_many([id])[0]

    def get_many(self, ids: Sequence[str]) -> list[Document | None]:
        """The documents under some ids, in their order; None where there is none."""
        if isinstance(ids, (str, bytes)):
            raise InvalidTypeError(f"ids must be a list of str, not {ids!r:.80}")
        found: list[Document | None] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = list(ids[start : start + _AT_ONCE])
            found += self._post("get", {"ids": some}, _stored)
        return found

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """All documents, or those that meet a filter, in order of insertion, a page at a time."""
        cursor: str | None = None
        while True:
            page, cursor = self._post(
                "list",
                {"limit": _PAGE, "cursor": cursor, "where": where},
                lambda found: ([_document(one) for one in found["documents"]], found["next_cursor"]),
            )
            yield from page
            if cursor is None:
                return

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter."""
        return [document.id for document in self.documents(where)]

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        return self._post("count", {"where": where}, lambda found: int(found["count"]))

    def describe(self) -> dict[str, Any]:
        """What the index holds: documents, model, fields with some of their values …"""
        return self._server.ask("GET", "index", None, lambda found: {**found})

    def add(
        self,
        documents: Iterable[Source],
        *,
        on_conflict: Literal["error", "skip", "replace"] = "error",
    ) -> int:
        """Have documents encoded and added, some hundred a commit; see :meth:`Retriever.add`.

        Returns
        -------
        int
            How many of them the index now holds as they were given.

        Raises
        ------
        DuplicateIdError
            If an id is there, and ``on_conflict`` is ``"error"``; those of earlier commits stay.
        ServerError
            If the key may not write, the disk is full or the server doesn't answer.
        """
        return sum(
            self._post("documents", {"documents": some, "on_conflict": on_conflict}, _held, safe=False)
            for some in _batches(_row(number, one) for number, one in enumerate(documents))
        )

    def update(self, documents: Iterable[Mapping[str, Any] | Document]) -> int:
        """Change documents: mappings with ``id`` and ``text``, ``metadata`` or both; how many were given."""
        return sum(
            self._server.ask("PATCH", "documents", {"documents": some}, _held, safe=False)
            for some in _batches(map(_change, documents))
        )

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
    ) -> int:
        """Delete documents by id, by filter or all; how many were deleted."""
        listed = None if ids is None else _strings(ids, "ids must be a str or a list of them")
        body = {"ids": listed, "where": where, "all": all, "missing_ok": missing_ok}
        return self._post("delete", body, lambda found: int(found["deleted"]), safe=False)

    def refresh(self) -> bool:
        """Nothing: a server answers from the newest commit."""
        return False

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        url, key, timeout, retries = self._given
        return _rebuild, (url, key, timeout, retries)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _post(self, route: str, body: Mapping[str, Any], read: Callable[[Any], T], *, safe: bool = True) -> T:
        return self._server.ask("POST", route, body, read, safe=safe)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows by the request: so many, and so many bytes of JSON."""
    batch: list[dict[str, Any]] = []
    n_bytes = 0
    for row in rows:
        size = len(encoded(row))
        if batch and (len(batch) == _AT_ONCE or n_bytes + size > _MOST_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(row)
        n_bytes += size
    if batch:
        yield batch


def _row(number: int, source: Source) -> dict[str, Any]:
    draft = draft_of(source, number)
    row: dict[str, Any] = {"text": draft.text, "metadata": dict(draft.metadata)}
    return row if draft.id is None else {"id": draft.id, **row}


def _change(given: Any) -> dict[str, Any]:
    if isinstance(given, Document):
        return given.to_dict()
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"a change is a mapping or a Document, not {type(given).__name__}")
    return dict(given)


def _rebuild(url: str, key: str | None, timeout: float, retries: int) -> Client:
    return Client(url, key=key, timeout=timeout, retries=retries)


_KNOWN = ("id", "score", "rank", "text", "metadata", "normalized_score", "document_id", "number", "source")


def _hit(values: Mapping[str, Any]) -> Hit:
    matches = tuple(
        Match(
            tuple(one["query_span"]),
            tuple(one["document_span"]),
            one["similarity"],
            tuple(map(tuple, one.get("pooled_spans", ()))),
        )
        for one in values.get("matches") or ()
    )
    span, place = values.get("span"), values.get("place")
    return Hit(
        **{name: values[name] for name in _KNOWN if name in values},
        score_kind=ScoreKind(values["score_kind"]),
        matches=matches,
        span=None if span is None else tuple(span),
        headings=tuple(values.get("headings") or ()),
        place=None if place is None else Place.from_dict(place),
        n_matching=values.get("n_matching"),
    )


def _document(values: Mapping[str, Any]) -> Document:
    return Document(values["id"], values["text"], values["metadata"])


def _hits(values: Iterable[Mapping[str, Any]]) -> Hits:
    return Hits(map(_hit, values))


def _held(counts: Mapping[str, Any]) -> int:
    return int(counts["added"] + counts["changed"] + counts["unchanged"])


def _stored(found: Mapping[str, Any]) -> list[Document | None]:
    return [None if one is None else _document(one) for one in found["documents"]]


def _strings(given: Any, wanted: str) -> list[str]:
    """One, or several."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"{wanted}, not {type(given).__name__}")
    return list(given)
