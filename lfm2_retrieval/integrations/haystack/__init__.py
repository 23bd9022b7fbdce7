"""Haystack's components over an index of this library; needs the extra ``haystack``.

from lfm2_retrieval.integrations.haystack import LFM2DocumentStore, LFM2TextRetriever

store = LFM2DocumentStore("my-index", model="nano")
found = LFM2TextRetriever(store).run("who proposed it?")["documents"]
"""

from ...errors import MissingExtraError

try:
    import haystack  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("Haystack's components", "haystack") from error

from .document_store import LFM2DocumentStore
from .ranker import LFM2Ranker
from .retriever import LFM2TextRetriever

__all__ = ["LFM2DocumentStore", "LFM2Ranker", "LFM2TextRetriever"]
