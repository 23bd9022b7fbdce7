"""What an assistant asks of an index: search, fetch and describe, with short answers, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from ..datatypes import By, Document, Hit, Mode
from ..errors import InvalidInputError, UnknownIdError
from ..searchable import Searchable
from .excerpts import excerpts

__all__ = ["IndexTools", "ToolResult", "as_tool"]

_MOST_HITS = 50
_MOST_CHARACTERS = 8000
_SHORT = 600
"""So many characters of a hit are shown."""
_SAMPLE = 2000
"""So many documents are looked at to describe fields."""
_LANGUAGES = ("lang", "language")


@dataclass(frozen=True)
class ToolResult:
    """An answer: for a model to read, and as JSON values."""

    text: str
    values: dict[str, Any]


class IndexTools:
    """The tools over what searches; any threads may share them.

    Parameters
    ----------
    retriever
        What searches.
    """

    def __init__(self, retriever: Searchable) -> None:
        self.retriever = retriever

    def search(
        self,
        query: str,
        k: int = 5,
        filter: str | Mapping[str, Any] | None = None,
        mode: Mode | Literal["dense", "lexical", "hybrid"] = Mode.DENSE,
        by: By | Literal["passage", "document"] = By.PASSAGE,
    ) -> ToolResult:
        """The best passages, numbered for citations, each with its document's id, its source and its span.

        Raises
        ------
        InvalidInputError
            If an argument can't be used; the message says what can.
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MOST_HITS:
            raise InvalidInputError(f"k must be a whole number from 1 to {_MOST_HITS}, not {k!r}")
        if not isinstance(query, str) or not query.strip():
            raise InvalidInputError("query must be a question or some words, not empty")
        hits = self.retriever.search(query, k, where=filter or None, mode=mode, by=by)
        long = any(len(hit.text or "") > _SHORT for hit in hits)
        best = excerpts(query, hits) if long else [None] * len(hits)
        found = [
            _found(hit, None if one is None else (one.start, one.end))
            for hit, one in zip(hits, best, strict=True)
        ]
        values: dict[str, Any] = {"query": query, "results": found}
        if not found:
            values["note"] = self._nothing(filter)
            return ToolResult(values["note"], values)
        return ToolResult("\n\n".join(map(_shown, found)), values)

    def fetch(self, id: str, start: int = 0, end: int | None = None, around: int = 0) -> ToolResult:
        """A part of a document's text: from the beginning, or a span and what is around it.

        At most 8,000 characters are given at once; ``next_start`` says where to go on.

        Raises
        ------
        UnknownIdError
            If there is no such document.
        InvalidInputError
            If a number is negative.
        """
        for name, value in (("start", start), ("end", end), ("around", around)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise InvalidInputError(f"{name} must be a whole number from 0 on, not {value!r}")
        [document] = self.retriever.get_many([id])
        if document is None:
            raise UnknownIdError(f"no document has the id {id!r}: take an id that search gave")
        length = len(document.text)
        first = max(start - around, 0)
        last = min(length if end is None else end + around, first + _MOST_CHARACTERS, length)
        text = document.text[first:last]
        values: dict[str, Any] = {"id": id, "text": text, "span": [first, max(first, last)], "length": length}
        values["metadata"] = dict(document.metadata)
        if source := getattr(document, "source", None) or document.metadata.get("source"):
            values["source"] = source
        if last < length:
            values["next_start"] = last
        more = f"\n[characters {first} to {last} of {length}: fetch with start={last} goes on]"
        return ToolResult(text + (more if last < length else ""), values)

    def describe(self) -> ToolResult:
        """What the index holds: how many documents, fields of their metadata with examples, languages."""
        count = self.retriever.count()
        looked_at = list(islice(self.retriever.documents(), _SAMPLE))
        fields = _fields(looked_at)
        languages = Counter(
            value
            for document in looked_at
            for name in _LANGUAGES
            if isinstance(value := document.metadata.get(name), str)
        )
        values: dict[str, Any] = {"documents": count, "looked_at": len(looked_at), "fields": fields}
        lines = [f"{count} documents" + (f", of which {len(looked_at)} were looked at" * (count > _SAMPLE))]
        if passages := getattr(self.retriever, "n_passages", None):
            values["passages"] = passages
            lines[0] += f"; {passages} passages"
        if languages:
            values["languages"] = dict(languages.most_common(20))
            lines.append("languages: " + ", ".join(f"{name} ({n})" for name, n in languages.most_common(20)))
        if fields:
            lines.append("fields that filters can use, such as \"year >= 2020 AND lang = 'de'\":")
        for name, facts in fields.items():
            examples = ", ".join(map(repr, facts["examples"]))
            lines.append(f"- {name}: {facts['type']}, in {facts['count']}, e.g. {examples}")
        return ToolResult("\n".join(lines), values)

    def _nothing(self, filter: object) -> str:
        if not filter:
            return "Nothing was found: the index is empty, or no word of the query is in it."
        names = list(_fields(islice(self.retriever.documents(), 200)))
        told = ", ".join(names[:30]) or "none"
        return f"Nothing meets the filter {filter!r}. Fields of the documents: {told}."


def as_tool(
    retriever: Searchable,
    name: str = "search_documents",
    description: str | None = None,
    *,
    k: int = 5,
    mode: Mode | Literal["dense", "lexical", "hybrid"] = Mode.DENSE,
    by: By | Literal["passage", "document"] = By.PASSAGE,
) -> Callable[..., str]:
    """A search as a function for agents; see :meth:`Retriever.as_tool`."""
    if not name.isidentifier():
        raise InvalidInputError(f"a tool's name is an identifier such as 'search_documents', not {name!r}")
    tools, default = IndexTools(retriever), k

    def search_documents(query: str, k: int = default, filter: str | None = None) -> str:
        """Search the documents, and get the passages that answer best, numbered, with their sources.

        Args:
            query: A question, or what the passage should be about, in plain words.
            k: How many passages to return, from 1 to 50.
            filter: A condition on metadata, such as "year >= 2020 AND lang = 'de'".

        Returns:
            Numbered passages, each with its id, source and place.
        """
        return tools.search(query, k, filter, mode, by).text

    tool: Any = search_documents
    tool.__name__ = tool.__qualname__ = tool.name = name
    if description is not None:
        tool.__doc__ = f"{description}\n\n    Args:" + (search_documents.__doc__ or "").partition("Args:")[2]
    tool.description = (tool.__doc__ or "").partition("\n")[0]
    arguments = tool.__doc__.partition("Args:")[2].partition("Returns:")[0].splitlines()
    told = dict(line.strip().split(": ", 1) for line in arguments if ": " in line)
    tool.parameters = {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": told["query"]},
            "k": {
                "type": "integer",
                "description": told["k"],
                "default": default,
                "minimum": 1,
                "maximum": _MOST_HITS,
            },
            "filter": {"type": ["string", "null"], "description": told["filter"], "default": None},
        },
        "required": ["query"],
    }
    made: Callable[..., str] = tool
    return made


def _found(hit: Hit, best: tuple[int, int] | None) -> dict[str, Any]:
    """A hit as JSON values, short."""
    text, first = _shortened(hit.text or "", best)
    found: dict[str, Any] = {"number": hit.rank, "id": hit.document_id, "text": text}
    found["span"] = [first, first + len(text)] if hit.span is None else list(hit.span)
    if hit.id != hit.document_id:
        found |= {"passage_id": hit.id, "passage": hit.number}
    if hit.n_matching:
        found["n_matching"] = hit.n_matching
    if source := hit.source or hit.metadata.get("source"):
        found["source"] = source
    if hit.place is not None and str(hit.place):
        found |= {"place": str(hit.place), **hit.place.to_dict()}
    if hit.headings:
        found["headings"] = list(hit.headings)
    if title := hit.metadata.get("title"):
        found["title"] = title
    return found | {"score": round(hit.score, 4), "score_kind": hit.score_kind.value}


def _shortened(text: str, best: tuple[int, int] | None) -> tuple[str, int]:
    """The part of a text around its best sentence, and where that begins."""
    if len(text) <= _SHORT:
        return text, 0
    start, end = best or (0, 0)
    first = max(min(start, (start + end - _SHORT) // 2), 0)
    return text[first : first + _SHORT], first


def _shown(found: Mapping[str, Any]) -> str:
    where = [str(found["source"])] if "source" in found else []
    where += [found["place"]] if "place" in found else []
    where += [" > ".join(found["headings"])] if "headings" in found else []
    where += [f"{more} more here"] if (more := found.get("n_matching")) else []
    told = f" ({', '.join(where)})" if where else ""
    start, end = found["span"]
    return f"[{found['number']}] id={found['id']} span={start}-{end}{told}\n{found['text']}"


def _fields(documents: Iterable[Document]) -> dict[str, dict[str, Any]]:
    """Fields of metadata with their type, how many documents have them, and three values."""
    found: dict[str, dict[str, Any]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            facts = found.setdefault(name, {"type": "", "count": 0, "examples": []})
            facts["count"] += 1
            facts["type"] = facts["type"] or _type(value)
            short = value[:60] if isinstance(value, str) else value
            if len(facts["examples"]) < 3 and short not in facts["examples"] and not isinstance(value, dict):
                facts["examples"].append(short)
    return dict(sorted(found.items(), key=lambda one: -one[1]["count"])[:50])


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "")
