"""Index a few texts, search them, add more: ``python examples/quickstart.py``. Needs no network."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lfm2_retrieval import Document, Hit, Retriever

MODEL = sys.argv[1] if len(sys.argv) > 1 else "nano"


def show(query: str, hits: list[Hit]) -> None:
    print(f"\n{query}")
    for hit in hits:
        print(f"  {hit.rank}. {hit.score:.2f} {hit.score_kind} {hit.id}: {hit.text}")


# A document is a string, a mapping with "text", or a Document.
documents = [
    "Yeast feeds on sugar in the flour and gives off carbon dioxide, which makes dough rise.",
    {
        "id": "tides",
        "text": "The Moon's gravity pulls the sea into two bulges, and so the tides.",
        "topic": "sea",
    },
    Document(
        "rust", "Iron left in damp air takes up oxygen and water and turns into rust.", {"topic": "metal"}
    ),
]

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "my-index"

    with Retriever.index(documents, path, model=MODEL) as retriever:
        query = "what makes bread dough rise?"
        show(query, retriever.search(query, k=2))

    # if_exists="append" adds to an index; the model has to be the one that it was made with.
    more = [{"id": "frost", "text": "Water expands as it freezes, which is why pipes burst in winter."}]
    Retriever.index(more, path, model=MODEL, if_exists="append").close()

    with Retriever.open(path, model=MODEL) as retriever:
        queries = ["why does the sea rise and fall?", "frozen water broke the pipes"]
        for query, hits in zip(queries, retriever.search(queries, k=1), strict=True):
            show(query, hits)
        print(f"\n{len(retriever)} documents; {retriever.get('rust')}")
