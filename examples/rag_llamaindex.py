"""The same with LlamaIndex, as a query engine: ``python examples/rag_llamaindex.py "a question"``."""

from __future__ import annotations

from answering import answer, arguments, index_folder, writer
from llama_index.core.query_engine import CustomQueryEngine

from lfm2_retrieval import Retriever
from lfm2_retrieval.integrations.llamaindex import LFM2Reranker, LFM2Retriever


class Answers(CustomQueryEngine):
    """Ten passages by words and by meaning, the best three of them, and an answer."""

    retriever: LFM2Retriever
    reranker: LFM2Reranker
    library: Retriever

    def custom_query(self, query_str: str) -> str:
        nodes = self.retriever.retrieve(query_str)
        best = self.reranker.postprocess_nodes(nodes, query_str=query_str)
        found = [(one.text, one.metadata["lfm2"]) for one in best]
        return answer(query_str, found, writer(given, self.library))


given = arguments("Answer a question over a folder of files, with LlamaIndex.")
with index_folder(given) as library:
    engine = Answers(
        retriever=LFM2Retriever(library, similarity_top_k=10, mode="hybrid"),
        reranker=LFM2Reranker(retriever=library, top_n=3),
        library=library,
    )
    print(engine.query(given.question))
