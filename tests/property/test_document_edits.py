"""Whatever is done to documents that are split, the index equals one made anew of what they are then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfm2_retrieval import Document, Encoder, Retriever
from lfm2_retrieval.documents import Passages

SPLIT = Passages(tokens=20)
WORDS = ("rain", "hill", "bread", "wine", "Käse", "石橋", "🦊", "train", "C++", "a", "the", "نهر")
PARAGRAPHS = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
TEXTS = st.lists(PARAGRAPHS, max_size=6).map("\n\n".join)
IDS = st.sampled_from(("a", "b/c.md", "ü#1"))
EDITS = st.one_of(
    st.tuples(st.just("put"), IDS, TEXTS),
    st.tuples(st.just("insert"), IDS, PARAGRAPHS),
    st.tuples(st.just("cut"), IDS, st.integers(0, 5)),
    st.tuples(st.just("delete"), IDS, st.none()),
    st.tuples(st.just("rename"), IDS, IDS),
)


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> Encoder:
    return Encoder.load(checkpoint())


def edited(documents: dict[str, str], kind: str, id: str, value: Any) -> dict[str, str]:
    """What the documents are after an edit, in any order."""
    after = dict(documents)
    parts = after.get(id, "").split("\n\n")
    if kind == "put":
        after[id] = value
    elif kind == "insert":
        after[id] = "\n\n".join([*parts[: len(parts) // 2], value, *parts[len(parts) // 2 :]])
    elif kind == "cut" and id in after:
        after[id] = "\n\n".join(parts[:value] + parts[value + 1 :])
    elif kind == "delete":
        after.pop(id, None)
    elif kind == "rename" and id in after and value not in after:
        after[value] = after.pop(id)
    return after


def apply(
    retriever: Retriever, before: dict[str, str], after: dict[str, str], edit: tuple[str, str, Any]
) -> None:
    """Do an edit in one commit."""
    kind, id, value = edit
    if kind == "rename" and id in before and value not in before:
        retriever.replace_documents([], rename={id: value})
        return
    put = [Document(one, text) for one, text in after.items() if before.get(one) != text]
    retriever.replace_documents(put, delete=[one for one in before if one not in after])


def passages(retriever: Retriever) -> dict[str, list[tuple[int, int, str]]]:
    found = {}
    for document in retriever.documents():
        held = retriever.store.sources.held(document.id)
        assert held is not None
        found[document.id] = [(e.passage.start, e.passage.end, e.text) for e in held.passages]
        for start, end, text in found[document.id]:
            assert document.text[start:end] == text
    return found


def scores(retriever: Retriever, query: str, **options: Any) -> list[tuple[str, tuple[int, int], float]]:
    hits = retriever.search(query, 50, **options)
    return sorted((hit.document_id, hit.span, round(hit.score, 3)) for hit in hits)  # type: ignore[misc]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=st.lists(EDITS, min_size=1, max_size=5))
def test_an_edited_index_is_one_made_anew(model: Encoder, edits: list[tuple[str, str, Any]]) -> None:
    documents = {"a": "rain hill\n\nbread wine train the", "b/c.md": "石橋 🦊 " * 20}
    given_documents = [Document(id, text) for id, text in documents.items()]
    with Retriever.index(given_documents, model=model, passages=SPLIT) as retriever:
        for edit in edits:
            after = edited(documents, *edit)
            apply(retriever, documents, after, edit)
            documents = after
            assert {one.id: one.text for one in retriever.documents()} == documents
        retriever.verify()
        with Retriever.index(retriever.documents(), model=model, passages=SPLIT) as anew:
            assert passages(retriever) == passages(anew)
            for query in ("rain on a hill", "石橋"):
                assert scores(retriever, query, exact=True) == scores(anew, query, exact=True)
                by_document = [
                    sorted(
                        (hit.document_id, round(hit.score, 3)) for hit in one.search(query, 9, by="document")
                    )
                    for one in (retriever, anew)
                ]
                assert by_document[0] == by_document[1]
