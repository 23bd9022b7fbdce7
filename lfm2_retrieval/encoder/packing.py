"""Sequences into steps of the packed forward pass, by length, and its rows back in the order of the texts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from ..datatypes import TokenEmbeddings
from .engine import Engine
from .tokenization import Tokens, columns

__all__ = ["embed"]


def embed(  # noqa: PLR0917
    engine: Engine,
    texts: Sequence[Sequence[Tokens]],
    dim: int,
    output: str,
    skip: NDArray[np.int64],
    stop: threading.Event | None = None,
    threads: int = 1,
) -> TokenEmbeddings:
    """The vectors of texts.

    Parameters
    ----------
    engine
        Runs the model.
    texts
        The sequences of each, one or more.
    dim
        How wide its vectors are.
    output
        The dtype to return them in.
    skip
        Ids whose vectors are left out.
    stop
        Once it is set, no further step is taken.
    threads
        How many take steps at once.

    Raises
    ------
    CancelledError
        If ``stop`` was set before the end.
    """
    tokens = [one for text in texts for one in text]
    kept, ids, spans = columns(tokens, skip)
    lengths = np.array([len(one.ids) for one in tokens], dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    rows = np.concatenate(([0], np.cumsum(kept)))  # of a position, where its vector goes
    vectors = np.empty((rows[-1], dim), dtype=output)
    steps = _steps(tokens, engine.budget)
    with closing(engine.run([[tokens[i] for i in step] for step in steps], threads)) as done:
        for step, out in zip(steps, done, strict=True):
            if stop is not None and stop.is_set():
                raise CancelledError
            at = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in step])
            vectors[rows[at[kept[at]]]] = out[kept[at]]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    offsets = np.concatenate(([0], rows[starts[ends]]))
    token_ids = ids[kept].astype(np.int32)
    return TokenEmbeddings(embeddings=vectors, offsets=offsets, token_ids=token_ids, spans=spans[kept])


def _steps(tokens: Sequence[Tokens], budget: int) -> list[list[int]]:
    """Positions of the sequences by length, together up to a budget of tokens, or a longer one alone."""
    steps: list[list[int]] = []
    room = 0
    for i in sorted(range(len(tokens)), key=lambda i: (len(tokens[i].ids), tokens[i].real)):
        length = len(tokens[i].ids)
        if length > room or not steps:
            steps.append([])
            room = budget
        steps[-1].append(i)
        room -= length
    return steps
