"""Late-interaction retrieval with LFM2-ColBERT.

    from lfm2_retrieval import Retriever

    retriever = Retriever.index(documents, path="my-index", model="nano")
    hits = retriever.search("who proposed it?", k=10)

Importing this package loads none of torch, faiss, numba or transformers; the names below do when they
are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .platform import forks as _forks  # noqa: F401 - has to know which libraries were loaded before this one

if TYPE_CHECKING:
    from .client import Client
    from .datatypes import Document, Hit, Match, ScoreKind, SearchParams, TokenEmbeddings
    from .encoder import Encoder
    from .indexes import Index
    from .retriever import Retriever, rerank

__version__ = "0.1.0"

_HOME = {
    "Client": ".client",
    "Document": ".datatypes",
    "Encoder": ".encoder",
    "Hit": ".datatypes",
    "Index": ".indexes",
    "Match": ".datatypes",
    "Retriever": ".retriever",
    "ScoreKind": ".datatypes",
    "SearchParams": ".datatypes",
    "TokenEmbeddings": ".datatypes",
    "rerank": ".retriever",
}

__all__ = [
    "Client",
    "Document",
    "Encoder",
    "Hit",
    "Index",
    "Match",
    "Retriever",
    "ScoreKind",
    "SearchParams",
    "TokenEmbeddings",
    "__version__",
    "rerank",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
