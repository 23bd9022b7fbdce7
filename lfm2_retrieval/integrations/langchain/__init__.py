"""LangChain's components over a Retriever; needs the extra ``langchain``.

from lfm2_retrieval.integrations.langchain import LFM2Retriever, LFM2VectorStore

retriever = LFM2Retriever.open("my-index", k=5)
documents = retriever.invoke("who proposed it?")
"""

from ...errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("LangChain's components", "langchain") from error

from .document_index import LFM2DocumentIndex
from .reranker import LFM2Reranker
from .retriever import LFM2Retriever
from .vectorstore import LFM2VectorStore

__all__ = ["LFM2DocumentIndex", "LFM2Reranker", "LFM2Retriever", "LFM2VectorStore"]
