"""Questions to learn from which score on a collection answers one: made of its own texts, and of nonsense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..datatypes import SearchParams, TokenEmbeddings
from ..encoder import Encoder
from ..errors import InvalidInputError
from ..indexes import Index, MinScore, Tuning, learn_min_score
from .batches import refuse_one

__all__ = ["check_keep", "learn_from", "tune"]

_SHORTEST, _LONGEST = 5, 13
"""Words of a made-up question."""


def tune(
    store: Index,
    load: Callable[[], Encoder],
    target_recall: float,
    k: int,
    *,
    queries: Sequence[str] | None,
    sample: int,
    keep: float,
    on_progress: Callable[[str], None] | None,
) -> Tuning:
    """Find the fastest way to search that reaches a recall, and which scores answer.

    See :meth:`Retriever.tune`.
    """
    tell = on_progress or (lambda _: None)
    check_keep(keep)
    refuse_one([] if queries is None else queries)
    encoder = load()
    encoded = None if queries is None else encoder.encode_queries([q for q in queries if q.strip()])
    tuning = store.tune(target_recall, k, queries=encoded, sample=sample, on_progress=tell)
    learnt = learn_from(store, encoder, encoded, keep=keep, on_progress=tell)
    return replace(tuning, min_score=learnt)


def learn_from(
    store: Index,
    encoder: Encoder,
    questions: Sequence[str] | TokenEmbeddings | None = None,
    *,
    keep: float = 0.98,
    sample: int = 200,
    on_progress: Callable[[str], None] = lambda _: None,
) -> MinScore | None:
    """Learn a threshold of normalized scores, and store it with the index.

    Parameters
    ----------
    store, encoder
        Where to search, and with which vectors.
    questions
        Real ones, as texts or encoded, which the collection answers; None: passages of stored documents.
    keep
        The share of them that shall have a hit.
    sample
        How many questions, and how many queries of nonsense, at most.
    on_progress
        Told what goes on.

    Returns
    -------
    MinScore or None
        None if no document has a text to make queries from.

    Raises
    ------
    InvalidInputError
        If ``keep`` isn't above 0 and at most 1.
    """
    check_keep(keep)
    on_progress("learning which scores answer")
    rng = np.random.default_rng(int(store.settings.get("seed", 0)))
    texts = _some_texts(store, sample, rng)
    words = [word for text in texts for word in _words(text)]
    if not words:
        return None
    nonsense = [" ".join(rng.choice(words, _length(rng))) for _ in range(sample)]
    made = questions is None
    if questions is None:
        passages = [passage for text in texts if (passage := _passage(text, rng)).strip()]
        questions = encoder.encode_queries(passages[:sample], on_cut=_ignore)
    elif not isinstance(questions, TokenEmbeddings):
        questions = encoder.encode_queries([text for text in questions if text.strip()][:sample])
    learnt = learn_min_score(
        _best(store, questions),
        _best(store, encoder.encode_queries(nonsense, on_cut=_ignore)),
        keep=keep,
        from_documents=made,
        n_documents=len(store),
    )
    with store.writer() as writer:
        writer.set({"min_score": learnt.to_json()})
    return learnt


def check_keep(keep: float) -> None:
    """InvalidInputError for what is no share of questions."""
    if not 0 < keep <= 1:
        raise InvalidInputError(f"keep must be above 0 and at most 1, not {keep!r}")


def _ignore(_: int) -> None:
    """Nobody asked what was made to measure with, so nobody need know that it was cut."""


def _best(store: Index, queries: TokenEmbeddings) -> list[float]:
    """The normalized score of the best hit of each query."""
    results = store.search(queries, SearchParams(1))
    return [hits[0].normalized_score or 0.0 for hits in results if hits]


def _some_texts(store: Index, n: int, rng: np.random.Generator) -> list[str]:
    """The texts of documents drawn at random; twice as many, as some may have none."""
    ids = store.ids()
    drawn = rng.choice(len(ids), min(2 * n, len(ids)), replace=False)
    entries = store.get_many([ids[number] for number in drawn.tolist()])
    texts = [entry.text for entry in entries if entry is not None and entry.n_tokens and entry.text]
    return texts[:n]


def _words(text: str) -> list[str]:
    """What is between spaces; of scripts without them, pairs of characters."""
    words: list[str] = []
    for word in text.split():
        pairs = len(word) > 20 and not word.isascii()
        words += [word[at : at + 2] for at in range(0, len(word), 2)] if pairs else [word]
    return words


def _length(rng: np.random.Generator) -> int:
    return int(rng.integers(_SHORTEST, _LONGEST + 1))


def _passage(text: str, rng: np.random.Generator) -> str:
    """Some words in a row."""
    words = text.split()
    if len(words) < _SHORTEST:
        start = int(rng.integers(max(1, len(text) - 2 * _LONGEST)))
        return text[start : start + 2 * _LONGEST]
    length = _length(rng)
    start = int(rng.integers(max(1, len(words) - length)))
    return " ".join(words[start : start + length])
