"""The same as a chain of LangChain: ``python examples/rag_langchain.py "a question"``."""

from __future__ import annotations

from answering import answer, arguments, index_folder, writer
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from lfm2_retrieval.integrations.langchain import LFM2Retriever

given = arguments("Answer a question over a folder of files, with LangChain.")
with index_folder(given) as library:
    write = writer(given, library)
    found = LFM2Retriever(retriever=library, k=3) | (
        lambda documents: [(one.page_content, one.metadata["lfm2"]) for one in documents]
    )
    chain = {"question": RunnablePassthrough(), "found": found} | RunnableLambda(
        lambda asked: answer(asked["question"], asked["found"], write)
    )
    print(chain.invoke(given.question))
