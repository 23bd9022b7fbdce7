"""An index as routes use it: each method is the work of one request, done in a thread."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..datatypes import Document, Hit
from ..documents import FileDocument
from ..errors import InvalidInputError, RetrievalError
from ..retriever import Retriever
from ..retriever.reading import ReadingRetriever
from .options import ServerOptions
from .problems import ProblemError
from .schemas import (
    AddRequest,
    CountRequest,
    DeleteRequest,
    EmbeddingsRequest,
    GetRequest,
    ListRequest,
    PassagesRequest,
    RerankRequest,
    SearchRequest,
    UpdateRequest,
)

__all__ = ["Service", "read_where"]

_LOOKED_AT = 2000
_SHORT = 60
_FEW = 30


class Service:
    """A retriever's answers as JSON values, within a server's limits.

    Parameters
    ----------
    retriever
        It is closed with :meth:`close`.
    options
        The limits.
    """

    def __init__(self, retriever: ReadingRetriever, options: ServerOptions) -> None:
        self.retriever = cast(Retriever, retriever)  # or another that changes documents likewise
        self._options = options
        self._seen_values: tuple[int, list[dict[str, Any]]] = (-1, [])
        retriever.share_queries()

    @property
    def commit(self) -> int:
        """The number of the commit that is read."""
        return self.retriever.store.commit

    def tags(self) -> dict[str, str]:
        """What the index holds now, named in headers.

        They are asked for before an answer is read: one that is newer than its tag is only asked for again.
        """
        uuid, commit, missing = self.retriever.store.at_once(
            lambda store: (store.settings.get("uuid"), store.commit, getattr(store, "missing_shards", ()))
        )
        lacks = f"-{zlib.crc32(repr(missing).encode()):08x}" if missing else ""
        return {"ETag": f'W/"{str(uuid)[:12]}-{commit}{lacks}"', "X-Commit": str(commit)}

    def search(self, asked: SearchRequest) -> dict[str, Any]:
        """``hits``, or ``results`` of several queries."""
        begun, commit = time.perf_counter(), self.commit
        queries = [asked.query] if isinstance(asked.query, str) else asked.query
        self._check_queries(queries, asked.k)
        options = asked.model_dump(exclude={"query", "k", "text"})
        found = self.retriever.search(queries, asked.k, **options)
        listed = [[_hit(hit, asked.text) for hit in hits] for hits in found]
        answer: dict[str, Any] = (
            {"hits": listed[0]}
            if isinstance(asked.query, str)
            else {
                "results": [{"query": one, "hits": hits} for one, hits in zip(queries, listed, strict=True)]
            }
        )
        took = round((time.perf_counter() - begun) * 1000, 3)
        missing = (
            {"missing_shards": list(found[0].missing_shards)} if found and found[0].missing_shards else {}
        )
        return {**answer, **missing, "took_ms": took, "commit": commit}

    def rerank(self, asked: RerankRequest) -> dict[str, Any]:
        """The places of some texts, best first; those of white space come last, with a score of 0."""
        self._check_queries([asked.query], 1)
        self._check_documents(len(asked.documents))
        texts = [one if isinstance(one, str) else one.text for one in asked.documents]
        hits = self.retriever.rerank(asked.query, texts)
        scores = {int(hit.id): hit.normalized_score or 0.0 for hit in hits}
        order = [*scores, *(number for number in range(len(texts)) if number not in scores)]
        results: list[dict[str, Any]] = []
        for one in order[: asked.top_n]:
            document = {"document": {"text": texts[one]}} if asked.return_documents else {}
            results.append({"index": one, "relevance_score": scores.get(one, 0.0), **document})
        return {"id": f"rerank-{time.time_ns():x}", "model": self._model, "results": results}

    def embeddings(self, asked: EmbeddingsRequest) -> dict[str, Any]:
        """Token vectors."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        encoder = self.retriever.encoder
        if asked.input_type == "query":
            self._check_queries(texts, 1)
            found = encoder.encode_queries(texts)
        else:
            self._check_documents(len(texts))
            found = encoder.encode_documents(texts)
        spans = None if found.spans is None else found.spans.tolist()
        data = [
            {
                "index": number,
                "vectors": vectors.tolist(),
                "spans": None if spans is None else spans[found.offsets[number] : found.offsets[number + 1]],
            }
            for number, vectors in enumerate(found)
        ]
        return {"model": self._model, "dim": found.dim, "data": data}

    def describe(self, *, writable: bool) -> dict[str, Any]:
        """What the index holds."""
        from .. import __version__

        store, commit = self.retriever.store, self.commit
        settings = store.settings
        return {
            "documents": self.retriever.n_documents,
            "passages": self.retriever.n_passages,
            "vectors": store.n_tokens,
            "tier": str(store.tier),
            "model": self._model or None,
            "lexical": bool(settings.get("lexical")),
            "fields": list(settings.get("fields") or ()),
            "commit": commit,
            "values": self._values(),
            "can_write": self._options.writable,
            "writable": writable,
            "version": __version__,
        }

    def ready(self) -> None:
        """Raise what a search would, if the index or its model can't be used."""
        self.retriever.refresh()
        if len(self.retriever):
            self.retriever.encoder  # noqa: B018  (loads the model)

    def warm(self) -> None:
        """Load and compile what the first question would wait for; what fails is told to whoever asks."""
        with suppress(RetrievalError, OSError, MemoryError):
            if len(self.retriever):
                self.retriever.warm_up()

    def document(self, id: str) -> dict[str, Any]:
        """A document.

        Raises
        ------
        ProblemError
            404, if there is none.
        """
        found = self.retriever.get(id)
        if found is None:
            raise ProblemError(404, f"there is no document {id[:80]!r}")
        return found.to_dict()

    def passages(self, asked: PassagesRequest) -> dict[str, Any]:
        """A document's passages, the best for a query first; one that isn't split is one passage.

        Raises
        ------
        ProblemError
            404, if there is no such document.
        """
        self._check_queries([asked.query], 1)
        held = self.retriever.store.sources.held(asked.id) if self.retriever.passages else None
        if held is None and self.retriever.document(asked.id) is None:
            raise ProblemError(404, f"there is no document {asked.id[:80]!r}")
        commit = self.commit
        ids = [asked.id] if held is None else [entry.id for entry in held.passages]
        hits = self.retriever.rerank(asked.query, ids=ids, k=min(asked.k, self._options.max_k), explain=True)
        return {"hits": hits.to_dicts(), "commit": commit}

    def get(self, asked: GetRequest) -> dict[str, Any]:
        """Some documents."""
        self._check_documents(len(asked.ids))
        commit = self.commit
        found = self.retriever.get_many(asked.ids)
        return {"documents": [one and one.to_dict() for one in found], "commit": commit}

    def count(self, asked: CountRequest) -> dict[str, Any]:
        """How many documents there are, or how many meet a filter."""
        commit = self.commit
        return {"count": self.retriever.count(asked.where), "commit": commit}

    def documents(self, asked: ListRequest) -> dict[str, Any]:
        """A page of documents."""
        cursor, after, commit = asked.cursor, 0, self.commit
        if cursor is not None:
            if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
                raise InvalidInputError("cursor is what the page before gave as next_cursor")
            after = int(cursor)
        found, more = self.retriever.store.sources.page(asked.limit, after=after, where=asked.where)
        documents = [{"id": one.id, "text": one.text or "", "metadata": dict(one.metadata)} for one in found]
        return {
            "documents": documents,
            "next_cursor": None if more is None else str(more),
            "commit": commit,
        }

    def add(self, asked: AddRequest) -> dict[str, Any]:
        """Add documents."""
        self._check_documents(len(asked.documents))
        rows = [one.model_dump(exclude_none=True) for one in asked.documents]
        counts = self.retriever.add(rows, on_conflict=asked.on_conflict)
        return {**counts.to_dict(), "commit": self.commit}

    def update(self, asked: UpdateRequest) -> dict[str, Any]:
        """Change documents."""
        self._check_documents(len(asked.documents))
        counts = self.retriever.update([one.model_dump(exclude_none=True) for one in asked.documents])
        return {**counts.to_dict(), "commit": self.commit}

    def delete(self, asked: DeleteRequest) -> dict[str, Any]:
        """Delete documents."""
        n = self.retriever.delete(asked.ids, where=asked.where, all=asked.all, missing_ok=asked.missing_ok)
        return {"deleted": n, "commit": self.commit}

    def delete_one(self, id: str) -> dict[str, Any]:
        """Delete a document."""
        return {"deleted": self.retriever.delete(id), "commit": self.commit}

    def add_files(self, paths: Sequence[tuple[Path, str]]) -> dict[str, Any]:
        """Read uploaded files as `lfm2_retrieval.documents` does; their documents replace old ones.

        Parameters
        ----------
        paths
            Where each lies now, and its name.
        """
        from ..documents import read

        folder = f"{paths[0][0].parent}/"
        try:
            with read([path for path, _ in paths]) as reader:
                documents: Iterator[Document] = (_named(one, folder) for one in reader)
                counts = self.retriever.add(documents, on_conflict="replace")
                report = reader.report.to_dict()
        except InvalidInputError as error:
            raise type(error)(str(error).replace(folder, "")) from error
        return {**counts.to_dict(), "commit": self.commit, "report": report}

    def close(self) -> None:
        """Close the index."""
        self.retriever.close()

    def _values(self) -> list[dict[str, Any]]:
        """Fields with a few values, to make filters of: of the first documents, looked at once a commit."""
        commit = self.commit
        if self._seen_values[0] != commit:
            declared = set(self.retriever.store.settings.get("fields") or ())
            counts: dict[str, Counter[Any]] = {}
            for entry in islice(self.retriever.store.documents(), _LOOKED_AT):
                for name, value in entry.metadata.items():
                    if isinstance(value, (str, int, float)) and len(str(value)) <= _SHORT:
                        counts.setdefault(name, Counter())[(type(value), value)] += 1
            found = [
                {
                    "name": name,
                    "values": [{"value": value, "count": n} for (_, value), n in values.most_common()],
                }
                for name, values in counts.items()
                if 1 < len(values) <= _FEW and (name in declared or values.most_common(1)[0][1] > 1)
            ]
            self._seen_values = commit, sorted(found, key=lambda field: len(field["values"]))
        return self._seen_values[1]

    @property
    def _model(self) -> str:
        recorded = self.retriever.store.settings.get("encoder")
        return str(recorded.get("name", "")) if isinstance(recorded, dict) else ""

    def _check_queries(self, queries: Sequence[str], k: int) -> None:
        most = self._options
        if len(queries) > most.max_queries:
            raise ProblemError(413, f"a request has {most.max_queries} queries at most, not {len(queries)}")
        if any(len(one) > most.max_query for one in queries):
            raise ProblemError(413, f"a query has {most.max_query:,} characters at most")
        if k > most.max_k:
            raise InvalidInputError(f"k is {most.max_k:,} at most here, not {k}")

    def _check_documents(self, n: int) -> None:
        if n > self._options.max_documents:
            raise ProblemError(
                413, f"a request has {self._options.max_documents:,} documents at most, not {n}"
            )


def _hit(hit: Hit, text: bool) -> dict[str, Any]:
    values: dict[str, Any] = hit.to_dict()
    if not text:
        values.pop("text", None)
    return values


def read_where(where: str | None) -> Any:
    """A filter in an address: a mapping as JSON, or SQL's words."""
    if where is None or not where.lstrip().startswith("{"):
        return where
    try:
        return json.loads(where)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("where is neither JSON nor a filter in words") from error


def _named(document: Document, folder: str) -> Document:
    """A document under the name of its file, with nothing of where it lies for the moment."""
    metadata = dict(document.metadata)
    if "path" in metadata:
        metadata["path"] = str(metadata["path"]).removeprefix(folder)
    own = {"source": ""} if isinstance(document, FileDocument) else {}
    return replace(document, id=document.id.removeprefix(folder), metadata=metadata, **own)
