"""The same as a pipeline of Haystack: ``python examples/rag_haystack.py "a question"``."""

from __future__ import annotations

from answering import answer, arguments, index_folder, writer
from haystack import Document, Pipeline, component

from lfm2_retrieval.integrations.haystack import LFM2DocumentStore, LFM2TextRetriever

given = arguments("Answer a question over a folder of files, with Haystack.")


@component
class Answers:
    """What the documents answer."""

    @component.output_types(answer=str)
    def run(self, question: str, documents: list[Document]) -> dict[str, str]:
        found = [(one.content or "", one.meta["lfm2"]) for one in documents]
        return {"answer": answer(question, found, writer(given, library))}


with index_folder(given) as library:
    pipeline = Pipeline()
    store = LFM2DocumentStore(retriever=library)
    pipeline.add_component("retriever", LFM2TextRetriever(store, top_k=3))
    pipeline.add_component("answers", Answers())
    pipeline.connect("retriever.documents", "answers.documents")
    asked = {"retriever": {"query": given.question}, "answers": {"question": given.question}}
    print(pipeline.run(asked)["answers"]["answer"])
