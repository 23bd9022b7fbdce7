"""What is known of each of the student's tokens: the teacher's states, and today's nano's vectors if English.

Both are carried over from their own tokens by characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from e5 import E5
from student import BOS, DOCUMENT, QUERY, Student
from torch import Tensor

SPECIALS = 2
"""BOS and the prefix, before a text's own tokens."""
Spans = Sequence[tuple[int, int]]


class Said(NamedTuple):
    """Of a text's tokens: ids, the teacher's states, nano's vectors if English, and where these are known.

    The states of the first two are the mean of the others.
    """

    ids: Tensor
    states: Tensor
    nano: Tensor | None
    known: Tensor


def carried(size: int, ours: Spans, theirs: Spans, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the ``vectors`` of their tokens over the characters of ours, and whether there are any.

    ``size``: characters of the text.
    """
    owner = np.full(size + 1, -1)
    for index, (start, end) in enumerate(theirs[: len(vectors)]):
        owner[start:end] = index
    row = torch.repeat_interleave(torch.arange(len(ours)), torch.tensor([b - a for a, b in ours]))
    column = torch.from_numpy(np.concatenate([owner[a:b] for a, b in ours])).long()
    row, column = row[column >= 0], column[column >= 0]
    counts = torch.bincount(row, minlength=len(ours))
    sums = torch.zeros(len(ours), vectors.shape[1]).index_add_(0, row, vectors[column])
    return sums / counts.clamp(min=1)[:, None], counts > 0


class Reader:
    def __init__(self, work: Path, nano: Path) -> None:
        self.teacher, self.student, self.nano = E5(work), Student(work), Student(nano)
        self.nano.load(nano)
        self.student.load_state_dict(torch.load(work / "start.pt", weights_only=True))

    @torch.no_grad()
    def read(self, texts: list[str], asked: list[bool], *, english: bool) -> list[Said]:
        """Texts that are not empty, of one language; ``asked``: which are queries."""
        ours, theirs = self.student.tokenizer.encode_batch(texts), self.teacher.tokenize(texts)
        states = self.teacher.states(theirs, asked)
        prefixes = [QUERY if query else DOCUMENT for query in asked]
        own = zip(*self.nano.read(texts, prefixes), strict=True) if english else ((None, None) for _ in texts)
        said = []
        for text, prefix, mine, its, state, (part, encoding) in zip(
            texts, prefixes, ours, theirs, states, own, strict=True
        ):
            mapped, known = carried(len(text), mine.offsets[1:], its.offsets, state)
            vectors = None
            if part is not None:
                inner, _ = carried(len(text), mine.offsets[1:], encoding.offsets[1:], part[SPECIALS:])
                vectors = torch.cat([part[:SPECIALS], F.normalize(inner, dim=-1)])
            ids = torch.tensor([BOS, prefix, *mine.ids[1:]])
            pooled = state.mean(0).expand(SPECIALS, -1)
            known = torch.cat([torch.ones(SPECIALS, dtype=torch.bool), known])
            said.append(Said(ids, torch.cat([pooled, mapped]), vectors, known))
        return said
