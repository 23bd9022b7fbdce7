"""The values that pass between the parts of the library. All are immutable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from .display.html import to_json
from .errors import InvalidInputError, InvalidTypeError
from .hits import Hit, Hits, Match, ScoreKind
from .platform.threads import check_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "By",
    "Document",
    "Fusion",
    "Hit",
    "Hits",
    "Match",
    "Mode",
    "ScoreKind",
    "SearchOptions",
    "SearchParams",
    "TokenEmbeddings",
]


class Mode(StrEnum):
    """What to search by."""

    DENSE = "dense"
    """Token vectors."""
    LEXICAL = "lexical"
    """Words, by BM25."""
    HYBRID = "hybrid"
    """Both, see `Fusion`."""


class Fusion(StrEnum):
    """How a hybrid search makes one list of two."""

    RRF = "rrf"
    """By their ranks (Cormack, Clarke and Büttcher, 2009)."""
    WEIGHTED = "weighted"
    """By their scores: the documents of both lists get both scores, normalised."""
    RERANK = "rerank"
    """By MaxSim: words only propose further documents."""


class By(StrEnum):
    """What hits are, where documents are split into passages."""

    PASSAGE = "passage"
    """Passages, however many of a document."""
    DOCUMENT = "document"
    """The best passage of each document."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be found, under an id.

    Parameters
    ----------
    id
        Unique in an index and stable for life.
    text
        What is encoded, searched and returned.
    metadata
        Any JSON values, stored with the text.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise InvalidTypeError(
                f"a document's id must be a str, not {type(self.id).__name__}: {self.id!r}"
            )
        if not self.id:
            raise InvalidInputError("a document's id must not be empty")
        if not isinstance(self.text, str):
            raise InvalidTypeError(
                f"the text of document {self.id!r} must be a str, not {type(self.text).__name__}"
            )
        if not isinstance(self.metadata, Mapping):
            raise InvalidTypeError(
                f"the metadata of document {self.id!r} must be a mapping, not {type(self.metadata).__name__}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"id": self.id, "text": self.text, "metadata": to_json(self.metadata)}


class SearchOptions(TypedDict, total=False):
    """What `SearchParams` takes beside ``k``, as keywords of :meth:`Retriever.search` and others."""

    nprobe: int | None
    candidates: int | None
    rerank: int | None
    exact: bool
    threads: int | None
    mode: Mode | Literal["dense", "lexical", "hybrid"]
    fusion: Fusion | Literal["rrf", "weighted", "rerank"]
    weight: float
    rrf_k: int
    depth: int | None
    group_by: str | None
    group_size: int
    by: By | Literal["passage", "document"]
    min_score: float | Literal["auto"] | None


@dataclass(frozen=True, slots=True)
class SearchParams:
    """How to search; a value of its own for each call.

    Parameters
    ----------
    k
        How many hits to return.
    nprobe
        How many centroids each query vector looks into. None, here and below: what the index was tuned to, or
        else its default.
    candidates
        How many documents are scored by their compressed vectors, at least ``rerank``. By default those that
        may still be among the best ``k``, as far as the compression's error leaves that open.
    rerank
        How many of these are scored by MaxSim on the best vectors stored, at least ``k``. By default those
        that may still be among the best ``k``.
    exact
        Score every document by MaxSim on the best vectors stored.
    threads
        How many threads may work on a call; hits don't depend on it. None: what the retriever, or
        ``$LFM2_RETRIEVAL_THREADS``, says; else one for a single query, and for several queries all
        processors. More for a single query pay off in large indexes, and in full scans.
    mode, fusion
        What to search by: see `Mode` and `Fusion`.
    weight
        What the vectors count in a hybrid search by ranks or scores, from 0 to 1; the words count the rest.
    rrf_k
        A document at rank r of a list gets ``1 / (rrf_k + r)`` for it, times twice the list's weight.
    depth
        How many documents either list of a hybrid search has. None: 2 ``k``, and 50 at least.
    group_by
        A field of the metadata, as in filters. At most ``group_size`` hits have the same value; further ones
        take their place. A document that lacks the field, or has null, is a group of its own.
    group_size
        See ``group_by``.
    by
        What hits are in an index of passages: ``"passage"``, or ``"document"`` for the best passage of each
        document; ``Hit.n_matching`` is then how many more of its passages are among the best 50 of the
        search, or the best 4 ``k`` if these are more.
    min_score
        Hits with a lower ``score``, of whatever kind, are left out. ``"auto"``: those whose
        ``normalized_score`` is below the threshold that ``tune`` learnt, so that what the collection doesn't
        answer may find nothing; of scores that are MaxSim.

    Raises
    ------
    InvalidInputError
        If a number is not whole or less than 1, or something else is none of what it may be.
    """

    k: int = 10
    nprobe: int | None = None
    candidates: int | None = None
    rerank: int | None = None
    exact: bool = False
    threads: int | None = None
    mode: Mode | Literal["dense", "lexical", "hybrid"] = Mode.DENSE
    fusion: Fusion | Literal["rrf", "weighted", "rerank"] = Fusion.RRF
    weight: float = 0.5
    rrf_k: int = 60
    depth: int | None = None
    group_by: str | None = None
    group_size: int = 1
    by: By | Literal["passage", "document"] = By.PASSAGE
    min_score: float | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_threads(self.threads)
        for name in ("k", "nprobe", "candidates", "rerank", "rrf_k", "depth", "group_size"):
            value = getattr(self, name)
            if value is None and name not in ("k", "rrf_k", "group_size"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise InvalidTypeError(f"{name} must be a whole number, not {value!r}")
            if value < 1:
                raise InvalidInputError(f"{name} must be at least 1, not {value}")
        for name, kind in (("mode", Mode), ("fusion", Fusion), ("by", By)):
            value = getattr(self, name)
            if value not in set(kind):
                raise InvalidInputError(f"{name} must be one of {', '.join(kind)}, not {value!r}")
            object.__setattr__(self, name, kind(value))
        for name in ("weight", "min_score"):
            value = getattr(self, name)
            if name == "min_score" and value in (None, "auto"):
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                auto = ", 'auto' or None" if name == "min_score" else ""
                raise InvalidTypeError(f"{name} must be a number{auto}, not {value!r}")
            if np.isnan(float(value)):
                raise InvalidInputError(f"{name} must be a number, not NaN")
        if not 0 <= self.weight <= 1:
            raise InvalidInputError(f"weight must be from 0 to 1, not {self.weight}")
        field_name: object = self.group_by
        if field_name is not None and not isinstance(field_name, str):
            raise InvalidTypeError(f"group_by must be the name of a field, not {field_name!r}")


@dataclass(frozen=True, eq=False)
class TokenEmbeddings:
    """The token vectors of several texts, laid end to end.

    Parameters
    ----------
    embeddings
        float32 or float16 ``[n_tokens, dim]``.
    offsets
        int64 ``[n_texts + 1]``; text ``i`` owns rows ``offsets[i]`` to ``offsets[i + 1]``.
    token_ids
        int32 ``[n_tokens]``: the vocabulary entry behind each vector.
    spans
        int32 ``[n_tokens, 2]``: the characters behind each vector, start and end, as indices into the
        text as given; start equals end where there are none (BOS, prefix, expansion).

    Raises
    ------
    InvalidInputError
        If the shapes don't fit together. Values are not checked here.
    """

    embeddings: NDArray[Any]
    offsets: NDArray[np.int64]
    token_ids: NDArray[np.int32] | None = None
    spans: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        embeddings = np.asarray(self.embeddings)
        offsets = np.asarray(self.offsets)
        if embeddings.ndim != 2:
            raise InvalidInputError(
                f"embeddings must have two dimensions [n_tokens, dim], not shape {embeddings.shape}"
            )
        if embeddings.dtype.kind != "f":
            raise InvalidTypeError(f"embeddings must be of a floating type, not {embeddings.dtype}")
        if offsets.ndim != 1 or len(offsets) < 1 or offsets.dtype.kind not in "iu":
            raise InvalidInputError("offsets must be integers of shape [n_texts + 1], the first of them 0")
        if offsets[0] != 0 or offsets[-1] != len(embeddings) or np.any(np.diff(offsets.astype(np.int64)) < 0):
            raise InvalidInputError(
                f"offsets must rise from 0 to the number of vectors, {len(embeddings)}; "
                f"they go from {offsets[0]} to {offsets[-1]}"
            )
        object.__setattr__(self, "embeddings", embeddings)
        object.__setattr__(self, "offsets", offsets.astype(np.int64, copy=False))
        self._check_column("token_ids", (len(embeddings),))
        self._check_column("spans", (len(embeddings), 2))

    def _check_column(self, name: str, shape: tuple[int, ...]) -> None:
        column = getattr(self, name)
        if column is None:
            return
        column = np.asarray(column)
        if column.shape != shape:
            raise InvalidInputError(f"{name} must have shape {shape}, one row a vector, not {column.shape}")
        object.__setattr__(self, name, column.astype(np.int32, copy=False))

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return int(self.embeddings.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 ``[n_texts]``: how many vectors each text has."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        """The vectors of one text, ``[n_tokens, dim]``: a view."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        index %= len(self)
        return self.embeddings[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def select(self, indices: Sequence[int] | NDArray[np.integer]) -> TokenEmbeddings:
        """Some of the texts, in the order given."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        return TokenEmbeddings(
            embeddings=self.embeddings[rows],
            offsets=offsets,
            token_ids=None if self.token_ids is None else self.token_ids[rows],
            spans=None if self.spans is None else self.spans[rows],
        )

    @classmethod
    def of(cls, given: TokenEmbeddings | Any, dim: int | None = None) -> TokenEmbeddings:
        """Token vectors in any form that encoders give them in, such as sentence-transformers' and PyLate's.

        Parameters
        ----------
        given
            A list of arrays or tensors ``[n_tokens, dim]``, one a text; one of them, of one text; one
            ``[n_texts, n_tokens, dim]``; or token embeddings, which are returned as they are. Tensors may be
            of any device and floating type.
        dim
            How wide vectors are where there is no text.

        Raises
        ------
        InvalidInputError
            If it is none of these, or the widths differ.
        """
        if isinstance(given, TokenEmbeddings):
            return given
        several = isinstance(given, (list, tuple)) or getattr(given, "ndim", 2) == 3
        texts = [_float_array(one) for one in given] if several else [_float_array(given)]
        width = texts[0].shape[-1] if texts and texts[0].ndim else dim or 1
        for position, text in enumerate(texts):
            if text.ndim != 2 or text.shape[1] != width:
                raise InvalidInputError(
                    f"token vectors must be [n_tokens, dim], of one dim; those of text {position} have the "
                    f"shape {list(text.shape)}, beside a dim of {width}"
                )
        together = np.concatenate(texts) if texts else np.empty((0, width), np.float32)
        return cls(together, np.cumsum([0, *map(len, texts)]))

    @classmethod
    def concatenate(cls, parts: Iterable[TokenEmbeddings]) -> TokenEmbeddings:
        """Several batches as one; columns that any of them lacks are dropped.

        Raises
        ------
        InvalidInputError
            If there is none, or their widths differ.
        """
        batches = list(parts)
        if not batches:
            raise InvalidInputError("concatenate needs at least one TokenEmbeddings")
        if len({batch.dim for batch in batches}) > 1:
            raise InvalidInputError(f"the widths differ: {sorted({batch.dim for batch in batches})}")
        token_ids = [batch.token_ids for batch in batches if batch.token_ids is not None]
        spans = [batch.spans for batch in batches if batch.spans is not None]
        return cls(
            embeddings=np.concatenate([batch.embeddings for batch in batches]),
            offsets=np.concatenate(([0], np.cumsum(np.concatenate([batch.lengths for batch in batches])))),
            token_ids=np.concatenate(token_ids) if len(token_ids) == len(batches) else None,
            spans=np.concatenate(spans) if len(spans) == len(batches) else None,
        )


def _float_array(vectors: Any) -> NDArray[Any]:
    """An array, or a tensor of any device and floating type, as an array of floats."""
    if hasattr(vectors, "detach"):  # torch's, which isn't imported here
        vectors = vectors.detach().cpu().float()
    try:
        found = np.asarray(vectors)
        return found if found.dtype.kind == "f" else found.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(
            f"token vectors must be arrays or tensors [n_tokens, dim], one a text, not a "
            f"{type(vectors).__name__}"
        ) from error
