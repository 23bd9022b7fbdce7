"""A client of a server: what a :class:`Retriever` does, over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from .datatypes import Document, Hit, Hits, Match, ScoreKind, SearchOptions
from .errors import (
    DuplicateIdError,
    InvalidInputError,
    InvalidTypeError,
    MissingExtraError,
    ServerError,
    UnknownIdError,
)
from .hits import Place
from .records import Source, draft_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

__all__ = ["Client"]

Where = str | Mapping[str, Any]
_AT_ONCE = 200
_MOST_BYTES = 4 << 20
_PAGE = 200
_LONGEST_WAIT = 10.0


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
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise MissingExtraError("the client", "client") from error
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"the URL of a server begins with http:// or https://, not {url!r:.80}")
        self.url = url.rstrip("/")
        self._given = (url, key, timeout, retries)
        self._retries = retries
        key = os.environ.get("LFM2_RETRIEVAL_KEY") if key is None else key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._errors, self._unsent = httpx.HTTPError, httpx.ConnectError
        self._http: httpx.Client = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

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
        several = not isinstance(query, str)
        body = {"query": list(query) if several else query, "k": k, "where": where, "explain": explain}
        found = self._post(
            "search", {**body, **{name: one for name, one in options.items() if one is not None}}
        )
        if several:
            return [Hits(map(_hit, one["hits"])) for one in found["results"]]
        return Hits(map(_hit, found["hits"]))

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
        results = self._post("rerank", body)["results"]
        return Hits(
            Hit(
                documents[one["index"]].id,
                one["relevance_score"],
                rank,
                text=documents[one["index"]].text,
                metadata=documents[one["index"]].metadata,
                normalized_score=one["relevance_score"],
            )
            for rank, one in enumerate(results, 1)
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
            given = self._post("get", {"ids": list(ids[start : start + _AT_ONCE])})["documents"]
            found += [None if one is None else _document(one) for one in given]
        return found

    def documents(self, where: Where | None = None) -> Iterator[Document]:
        """All documents, or those that meet a filter, in order of insertion, a page at a time."""
        cursor: str | None = None
        while True:
            page = self._post("list", {"limit": _PAGE, "cursor": cursor, "where": where})
            yield from map(_document, page["documents"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def ids(self, where: Where | None = None) -> list[str]:
        """The ids of all documents, or of those that meet a filter."""
        return [document.id for document in self.documents(where)]

    def count(self, where: Where | None = None) -> int:
        """How many documents there are, or how many meet a filter."""
        return int(self._post("count", {"where": where})["count"])

    def describe(self) -> dict[str, Any]:
        """What the index holds: documents, model, fields with some of their values …"""
        return self._ask("GET", "index")

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
        held = 0
        rows: list[dict[str, Any]] = []
        n_bytes = 0
        for number, source in enumerate(documents):
            draft = draft_of(source, number)
            row: dict[str, Any] = {"text": draft.text, "metadata": dict(draft.metadata)}
            rows.append(row if draft.id is None else {"id": draft.id, **row})
            n_bytes += len(draft.text) * 4
            if len(rows) == _AT_ONCE or n_bytes >= _MOST_BYTES:
                held += self._add(rows, on_conflict)
                rows, n_bytes = [], 0
        return held + (self._add(rows, on_conflict) if rows else 0)

    def _add(self, rows: list[dict[str, Any]], on_conflict: str) -> int:
        counts = self._post("documents", {"documents": rows, "on_conflict": on_conflict}, safe=False)
        return int(counts["added"] + counts["changed"] + counts["unchanged"])

    def update(self, documents: Iterable[Mapping[str, Any] | Document]) -> int:
        """Change documents: mappings with ``id`` and ``text``, ``metadata`` or both; how many were given."""
        changed = 0
        given = iter(documents)
        while some := [
            one.to_dict() if isinstance(one, Document) else dict(one) for one in islice(given, _AT_ONCE)
        ]:
            counts = self._ask("PATCH", "documents", {"documents": some}, safe=False)
            changed += counts["changed"] + counts["unchanged"]
        return changed

    def delete(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        where: Where | None = None,
        all: bool = False,
        missing_ok: bool = False,
    ) -> int:
        """Delete documents by id, by filter or all; how many were deleted."""
        listed = [ids] if isinstance(ids, str) else None if ids is None else list(ids)
        body = {"ids": listed, "where": where, "all": all, "missing_ok": missing_ok}
        return int(self._post("delete", body, safe=False)["deleted"])

    def refresh(self) -> bool:
        """Nothing: a server answers from the newest commit."""
        return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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

    def _post(self, route: str, body: Mapping[str, Any], *, safe: bool = True) -> dict[str, Any]:
        return self._ask("POST", route, body, safe=safe)

    def _ask(
        self, method: str, route: str, body: Mapping[str, Any] | None = None, *, safe: bool = True
    ) -> dict[str, Any]:
        """What a route answers; a busy server is asked again, unless the request changes something."""
        for attempt in range(self._retries + 1):
            try:
                answer = self._http.request(method, f"/v1/{route}", json=body)
            except self._errors as error:
                if (safe or isinstance(error, self._unsent)) and attempt < self._retries:
                    time.sleep(min(0.1 * 2**attempt, _LONGEST_WAIT))
                    continue
                raise ServerError(
                    f"{self.url} doesn't answer ({type(error).__name__}: {error}): is it running?"
                ) from error
            if answer.status_code in (429, 503) and safe and attempt < self._retries:
                time.sleep(_wait(answer.headers.get("retry-after"), 0.1 * 2**attempt))
                continue
            if answer.is_success:
                values: dict[str, Any] = answer.json()
                return values
            raise _error(self.url, answer)
        raise AssertionError


def _rebuild(url: str, key: str | None, timeout: float, retries: int) -> Client:
    return Client(url, key=key, timeout=timeout, retries=retries)


def _wait(asked: str | None, default: float) -> float:
    """Seconds that a server asks to wait, within reason."""
    if asked is None:
        return default
    try:
        seconds = (
            float(asked)
            if asked.isdigit()
            else (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError):
        return default
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def _error(url: str, answer: httpx.Response) -> Exception:
    """The library's own error for a problem."""
    try:
        values = answer.json()
        detail = str(values["detail"])
    except (ValueError, KeyError, TypeError):
        return ServerError(
            f"{url} answers {answer.status_code}, and not as a server of this library: is it one?"
        )
    if answer.status_code == 409:
        return DuplicateIdError(detail)
    if answer.status_code == 404 and answer.request.method != "GET":
        return UnknownIdError(detail)
    if answer.status_code in (400, 413, 415, 422):
        return InvalidInputError(detail)
    if answer.status_code == 405:
        detail = "it changes nothing: serve it with --writable"
    return ServerError(f"{url}: {detail}", answer.status_code)


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
