"""LlamaIndex's components over an index of this library; needs the extra ``llamaindex``.

from lfm2_retrieval.integrations.llamaindex import LFM2VectorStore

store = LFM2VectorStore(path="my-index", model="nano")
found = store.as_retriever(similarity_top_k=3).retrieve("who proposed it?")
"""

from ...errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("LlamaIndex's components", "llamaindex") from error

from .reranker import LFM2Reranker
from .retriever import LFM2Retriever
from .vectorstore import LFM2VectorStore

__all__ = ["LFM2Reranker", "LFM2Retriever", "LFM2VectorStore"]
