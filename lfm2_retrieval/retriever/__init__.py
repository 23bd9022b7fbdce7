"""The facade: documents, an encoder and an index."""

from .reranking import rerank
from .retriever import Retriever

__all__ = ["Retriever", "rerank"]
