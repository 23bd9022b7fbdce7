"""Answers over a folder, with citations, without a framework: ``python examples/rag.py "a question"``."""

from __future__ import annotations

from answering import answer, arguments, index_folder, writer

from lfm2_retrieval.integrations.places import place_values

given = arguments("Answer a question over a folder of files.")
with index_folder(given) as retriever:
    hits = retriever.search(given.question, k=3)
    found = [(hit.text or "", place_values(hit)) for hit in hits]
    print(answer(given.question, found, writer(given, retriever)))
