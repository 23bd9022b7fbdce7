"""What requests and answers look like. Requests take no field that isn't named here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

__all__ = [
    "AddRequest",
    "ChangeAnswer",
    "CountAnswer",
    "CountRequest",
    "DeleteAnswer",
    "DeleteRequest",
    "DocumentAnswer",
    "DocumentIn",
    "DocumentsAnswer",
    "EmbeddingsAnswer",
    "EmbeddingsRequest",
    "GetAnswer",
    "GetRequest",
    "Health",
    "IndexAnswer",
    "ListRequest",
    "PassagesAnswer",
    "PassagesRequest",
    "RerankAnswer",
    "RerankRequest",
    "SearchAnswer",
    "SearchRequest",
    "UpdateRequest",
]

Where = dict[str, Any] | str
_WHERE = (
    "Only documents whose metadata meets this: a mapping such as {'year': {'$gte': 2020}}, or SQL's words."
)


_MOST_FIELDS = 100
T = TypeVar("T")
Several = Annotated[list[T], Field(fail_fast=True)]
"""A list of which the first wrong element is told: millions of them would take minutes and gigabytes."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, values: Any) -> Any:
        """As of a list: each field that isn't named here would be an error of its own."""
        if isinstance(values, dict) and len(values) > _MOST_FIELDS and cls.model_config["extra"] == "forbid":
            raise PydanticCustomError("fields", "most of these fields aren't known")
        return values


class SearchRequest(_Request):
    """One query, or several, and how to search."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"query": "who proposed it?", "k": 3, "where": {"lang": "en"}}]},
    )

    query: str | Several[str] = Field(description="A query, or a list of them.")
    k: int = Field(10, ge=1, description="How many hits a query gets at most.")
    where: Where | None = Field(None, description=_WHERE)
    mode: Literal["dense", "lexical", "hybrid"] = Field(
        "dense", description="By vectors, by words, or by both."
    )
    fusion: Literal["rrf", "weighted", "rerank"] = Field("rrf", description="Of a hybrid search.")
    weight: float = Field(0.5, ge=0, le=1, description="What vectors count in a hybrid search.")
    rrf_k: int = Field(60, ge=1, le=10_000, description="Of a hybrid search by ranks.")
    depth: int | None = Field(None, ge=1, le=10_000, description="How many hits either list of it has.")
    by: Literal["passage", "document"] = Field(
        "passage", description="Passages, or the best of each document."
    )
    group_by: str | None = Field(None, description="A field of which hits have different values.")
    group_size: int = Field(1, ge=1, le=10_000, description="How many hits may have the same value.")
    min_score: float | Literal["auto"] | None = Field(None, description="Leave out hits with a lower score.")
    nprobe: int | None = Field(None, ge=1, le=1 << 20, description="How many centroids a token looks into.")
    candidates: int | None = Field(None, ge=1, le=1 << 20, description="How many documents are estimated.")
    rerank: int | None = Field(None, ge=1, le=1 << 20, description="How many of these are scored.")
    exact: bool = Field(False, description="Score every document.")
    explain: bool = Field(False, description="Say which token of a hit answered which of the query.")
    text: bool = Field(True, description="Whether hits come with their texts.")


class MatchAnswer(BaseModel):
    """Which token of a document answered one of the query."""

    query_span: tuple[int, int]
    document_span: tuple[int, int]
    similarity: float
    pooled_spans: list[tuple[int, int]] = []


class HitAnswer(BaseModel):
    """A hit."""

    model_config = ConfigDict(extra="allow")

    rank: int
    id: str
    score: float
    score_kind: str
    normalized_score: float | None
    text: str | None = None
    metadata: dict[str, Any]
    matches: list[MatchAnswer] | None = None


class ResultAnswer(BaseModel):
    """The hits of one of several queries."""

    query: str
    hits: list[HitAnswer]


class SearchAnswer(BaseModel):
    """``hits`` of one query, or ``results`` of several."""

    hits: list[HitAnswer] | None = None
    results: list[ResultAnswer] | None = None
    missing_shards: list[str] | None = Field(
        default=None, description="Of a collection in shards: those that didn't answer; left out if all did."
    )
    took_ms: float = Field(description="How long the search took, waiting for its turn included.")
    commit: int = Field(description="The number of the commit that is read now.")


class RerankDocument(_Request):
    """A document as some send it."""

    model_config = ConfigDict(extra="allow")

    text: str


class RerankRequest(BaseModel):
    """A query and texts, as Cohere and Jina have it; other fields that these know are passed over."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"query": "capital of France", "documents": ["Paris", "Rome"], "top_n": 1}]
        },
    )

    query: str
    documents: Several[str | RerankDocument]
    top_n: int | None = Field(None, ge=1, description="How many results at most.")
    return_documents: bool = Field(False, description="Whether results come with their texts.")
    model: str | None = Field(None, description="Passed over: the index's model is used.")


class RerankText(BaseModel):
    """A text."""

    text: str


class RerankResult(BaseModel):
    """A document's place among those given, and its score: the mean of its best similarities."""

    index: int
    relevance_score: float
    document: RerankText | None = None


class RerankAnswer(BaseModel):
    """The best first."""

    id: str
    model: str
    results: list[RerankResult]


class EmbeddingsRequest(_Request):
    """Texts, and what they are."""

    input: str | Several[str]
    input_type: Literal["query", "document"] = "document"


class EmbeddingAnswer(BaseModel):
    """The token vectors of a text."""

    index: int
    vectors: list[list[float]] = Field(description="One a token, of the index's width.")
    spans: list[tuple[int, int]] | None = Field(None, description="The characters behind each vector.")


class EmbeddingsAnswer(BaseModel):
    """Vectors, in the order of the texts."""

    model: str
    dim: int
    data: list[EmbeddingAnswer]


class DocumentIn(_Request):
    """A document. Without an id it gets a number."""

    id: Annotated[str, Field(min_length=1)] | None = None
    text: str
    metadata: dict[str, Any] = {}


class AddRequest(_Request):
    """Documents, and what becomes of those whose ids are there."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"documents": [{"id": "a", "text": "Tea is a drink.", "metadata": {"lang": "en"}}]}]
        },
    )

    documents: Several[DocumentIn]
    on_conflict: Literal["error", "skip", "replace"] = "error"


class UpdateDocument(_Request):
    """What is to change of a document; metadata are replaced as a whole."""

    id: str
    text: str | None = None
    metadata: dict[str, Any] | None = None


class UpdateRequest(_Request):
    """Changes of documents that are there."""

    documents: Several[UpdateDocument]


class DeleteRequest(_Request):
    """Which documents to delete: some ids, or those that meet a filter."""

    ids: Several[str] | None = None
    where: Where | None = Field(None, description=_WHERE)
    all: bool = Field(False, description="Delete all documents.")
    missing_ok: bool = False


class ChangeAnswer(BaseModel):
    """How many documents were added, changed, left as they were, and left out."""

    added: int
    changed: int
    unchanged: int
    skipped: int
    commit: int


class DeleteAnswer(BaseModel):
    """How many documents were deleted."""

    deleted: int
    commit: int


class DocumentAnswer(BaseModel):
    """A document."""

    model_config = ConfigDict(extra="allow")

    id: str
    text: str
    metadata: dict[str, Any]


class PassagesRequest(_Request):
    """A document, and a query that its passages are to answer."""

    id: str
    query: str
    k: int = Field(20, ge=1, le=1000, description="How many passages at most.")


class PassagesAnswer(BaseModel):
    """The best passages first, with their matches."""

    hits: list[HitAnswer]
    commit: int


class GetRequest(_Request):
    """Ids of documents."""

    ids: Several[str]


class GetAnswer(BaseModel):
    """Documents in the order of the ids; null where there is none."""

    documents: list[DocumentAnswer | None]
    commit: int


class ListRequest(_Request):
    """Which documents to list, and from where."""

    limit: int = Field(50, ge=1, le=1000, description="How many at most.")
    cursor: str | None = Field(None, description="next_cursor of the page before.")
    where: Where | None = Field(None, description=_WHERE)


class CountRequest(_Request):
    """Which documents to count."""

    where: Where | None = Field(None, description=_WHERE)


class CountAnswer(BaseModel):
    """How many there are."""

    count: int
    commit: int


class DocumentsAnswer(BaseModel):
    """Some documents, and where to go on; no cursor: these were the last."""

    documents: list[DocumentAnswer]
    next_cursor: str | None = None
    commit: int


class ValueAnswer(BaseModel):
    """A value of a field, and how many of the documents that were looked at have it."""

    value: str | int | float | bool
    count: int


class FieldAnswer(BaseModel):
    """A field of the metadata."""

    name: str
    values: list[ValueAnswer]


class IndexAnswer(BaseModel):
    """What the index holds."""

    model_config = ConfigDict(extra="allow")

    documents: int
    passages: int = Field(description="What is searched; where documents aren't split, each counts as one.")
    vectors: int
    tier: str
    model: str | None
    lexical: bool
    fields: list[str]
    commit: int
    values: list[FieldAnswer] = Field(
        description="Fields with few values among the first documents, and these."
    )
    can_write: bool = Field(description="Whether keys with the scope write may change documents.")
    writable: bool = Field(description="Whether this request's key may.")
    version: str


class Health(BaseModel):
    """That it is alive, or ready."""

    status: str
