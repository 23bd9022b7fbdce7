"""The space that all languages are taught in: today's nano's, with the teacher turned into it.

English keeps what nano says of it, to which the teacher's vectors are added, so that it meets every other
language, which has the teacher's alone. The teacher's principal components are those of all languages'
tokens, turned so that they agree best with nano's vectors of English ones (Procrustes; Schönemann, 1966).
What spelling adds is what word vectors tell of nano's vectors beside the teacher's, by least squares, on
English.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import languages
import torch
import torch.nn.functional as F
from student import DOCUMENT
from targets import SPECIALS, Reader
from torch import Tensor

ENGLISH, OTHER = 260, 28
"""English texts that the space is fitted to, and those of each other language."""
RIDGE = 0.03


class Mixture(NamedTuple):
    """How much of nano's vectors is in English, and of spelling in all else; the teacher's counts 1."""

    nano: float
    spelling: float


MIXTURE = Mixture(1.5, 0.3)
"""Chosen with ``trial.py``."""


class Sample(NamedTuple):
    """States, nano's vectors and ids of English tokens, and states of other languages' by name."""

    states: Tensor
    nano: Tensor
    ids: Tensor
    others: dict[str, Tensor]


def sample(reader: Reader, work: Path) -> Sample:
    rng = random.Random(0)
    texts: dict[str, list[str]] = {}
    for paragraph in languages.paragraphs(work):
        if not languages.held_out(paragraph.page):
            for language, text in paragraph.texts.items():
                texts.setdefault(language, []).append(text[:400])
    english = rng.sample(languages.articles("en"), ENGLISH // 2) + rng.sample(texts.pop("en"), ENGLISH // 2)
    said = reader.read(english, [i % 4 == 0 for i in range(len(english))], english=True)
    own = [(s.states[s.known], s.nano[s.known], s.ids[s.known]) for s in said if s.nano is not None]
    states, nano, ids = (torch.cat([part[SPECIALS:] for part in parts]) for parts in zip(*own, strict=True))
    others = {}
    for language, some in texts.items():
        if len(some) >= 300:
            read = reader.read(rng.sample(some, OTHER), [i % 4 == 0 for i in range(OTHER)], english=False)
            others[language] = torch.cat([s.states[s.known][SPECIALS:] for s in read])
    return Sample(states, nano, ids, others)


class Space:
    """Targets of what ``targets.py`` reads.

    Parameters
    ----------
    mean, components
        Of the teacher's states, [384] and [384, 128].
    words
        What each of the student's tokens adds by its spelling, [n_vocabulary, 128], of length 1 in the mean.
    """

    def __init__(self, mean: Tensor, components: Tensor, words: Tensor) -> None:
        self.mean, self.components, self.words = mean, components, words

    @classmethod
    def of(cls, reader: Reader, work: Path) -> Space:
        """Read from WORK/space.pt, or fitted and written there."""
        if not (work / "space.pt").exists():
            table = reader.student.backbone.embed_tokens.weight.detach()
            torch.save(fit(sample(reader, work), table), work / "space.pt")
        return cls.load(work)

    @classmethod
    def load(cls, work: Path) -> Space:
        return cls(**torch.load(work / "space.pt", weights_only=True))

    def turned(self, states: Tensor) -> Tensor:
        return F.normalize((states - self.mean) @ self.components, dim=-1)

    def target(self, ids: Tensor, e5: Tensor, nano: Tensor | None, mixture: Mixture = MIXTURE) -> Tensor:
        """[n_tokens, 128], of tokens whose turned states are ``e5``."""
        if nano is not None:
            return F.normalize(mixture.nano * nano.float() + e5.float(), dim=-1)
        spelt = self.words[ids] * (ids > DOCUMENT)[:, None]
        return F.normalize(e5.float() + mixture.spelling * spelt, dim=-1)


def fit(found: Sample, table: Tensor) -> dict[str, Tensor]:
    every = torch.cat([found.states[:8_000], *found.others.values()])
    mean = every.mean(0)
    _, vectors = torch.linalg.eigh(torch.cov((every - mean).T))
    components = vectors.flip(1)[:, :128]
    theirs = F.normalize((found.states - mean) @ components, dim=-1)
    left, _, right = torch.linalg.svd(theirs.T @ found.nano)
    theirs, components = theirs @ (left @ right), components @ (left @ right)
    print(f"cosine of the teacher's and nano's English {(theirs * found.nano).sum(1).mean():.3f}", flush=True)
    table = table - table[DOCUMENT + 1 :].mean(0)
    x = torch.cat([theirs, table[found.ids]], 1)
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    words = table @ torch.linalg.solve(gram, x.T @ found.nano)[128:]
    words = words / words[found.ids].norm(dim=1).mean()
    return {"mean": mean, "components": components, "words": words}
