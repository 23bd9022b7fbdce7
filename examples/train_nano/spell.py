"""Which word a token is, beside what it means: for a student that goes on from a finished one.

    python examples/train_nano/spell.py WORK --start CHECKPOINT_FOLDER --minutes 40

A teacher's vectors say what a token means where it stands, and less of which word it is, which BM25 sees:
with the token's own vector added, the same vectors rank better. So what the student learns is what it began
with (``--start``), to which each token's whitened word vector is added, with those of its neighbours
in the word, the more the rarer the token is. Its projection starts as the best linear one (least squares);
then all weights learn, by 1 - cosine, on texts of all languages. Resumes from WORK/study.pt.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import sources
import torch
import torch.nn.functional as F
from ciphers import Cipher
from distil import Texts
from japanese import plain, polite
from refine import Groups
from student import DOCUMENT, PUNCTUATION, QUERY, Student
from study import Course
from tokenizers import Tokenizer
from torch import Tensor

PEAK_RATE, CHARACTERS, LIMIT = 6e-4, 14_000, 512
SHARE, COUNTED = 0.4, 4_000
"""How much of a rare token's target is its spelling, and how many texts of each language say what is rare."""
NEIGHBOURS = (0.6, 0.4, 0.3)
"""How much of a spelling are the tokens next to it in the word, those after next, and the third ones."""


class Library:
    """Texts of every language, without end."""

    def __init__(self, work: Path, seed: int) -> None:
        self.texts, self.groups = Texts(seed), Groups(work, seed)
        self.rng = self.texts.rng
        self.foreign = {
            x: [p for _, a in articles for p in a] for x, articles in self.groups.articles.items()
        }
        for language, pairs in zip(sources.PARALLEL, self.groups.pairs, strict=True):
            self.foreign.setdefault(language, []).extend(other for _, other in pairs)
        for language, questions in zip(("ja", "fr"), self.groups.questions, strict=True):
            self.foreign[language] += [text for _, texts in questions for text in texts]

    def languages(self) -> dict[str, list[str]]:
        return self.foreign | {"en": [p for _, passages in self.texts.articles for p in passages]}

    def some(self) -> tuple[list[str], list[int]]:
        """Texts of one batch, and their prefixes."""
        rng, texts, prefixes = self.rng, [], []
        while sum(map(len, texts)) < CHARACTERS:
            draw = rng.random()
            if draw < 0.40:
                text = self.texts.english()[:1600]
            elif draw < 0.50:
                text = rng.choice(self.groups.groups)["query"]
            else:
                text = self.other()
            texts.append(text)
            prefixes.append(QUERY if len(text) < 160 and rng.random() < 0.6 else DOCUMENT)
        return texts, prefixes

    def other(self) -> str:
        """A text that isn't English, or English in other letters."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.70:
            text = rng.choice(self.foreign[rng.choice(list(self.foreign))])[:900]
            text = rng.choice((plain, polite))(text) if rng.random() < 0.3 else text
            return rng.choice(sources.sentences(text) or [text]) if rng.random() < 0.3 else text
        if draw < 0.84:
            return rng.choice(rng.choice(self.groups.questions))[0]
        return Cipher(rng).write(self.texts.english()[:500])


def rarity(tokenizer: Tokenizer, languages: Iterable[list[str]], rng: random.Random) -> Tensor:
    """Of each token, in the language where it is most frequent: 1 if in no text, 0 if in every one."""
    rarest = torch.ones(tokenizer.get_vocab_size())
    for texts in languages:
        some = rng.sample(texts, min(COUNTED, len(texts)))
        found = torch.zeros(len(rarest))
        for encoding in tokenizer.encode_batch(some):
            found[list(set(encoding.ids))] += 1
        rarest = torch.minimum(rarest, 1 - torch.log1p(found) / math.log(1 + len(some)))
    for token, i in tokenizer.get_vocab().items():
        if i <= DOCUMENT or token.removeprefix("Ġ") in PUNCTUATION | {""}:
            rarest[i] = 0.0
    return rarest


class Spelling:
    """Vectors of tokens by what they and their neighbours in the word are.

    Parameters
    ----------
    student
        Whose word vectors are whitened for this.
    rarity
        Of each token, from 0 to 1.
    """

    def __init__(self, student: Student, rarity: Tensor) -> None:
        self.rarity = rarity
        table = student.backbone.embed_tokens.weight.detach()
        table = table - table[DOCUMENT + 1 :].mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(table[DOCUMENT + 1 :].T))
        draw = torch.Generator().manual_seed(0)
        turn, _ = torch.linalg.qr(torch.randn(table.shape[1], 128, generator=draw))
        self.own = F.normalize(table @ vectors / values.sqrt() @ turn, dim=-1)
        self.near = [
            tuple(self.own[:, torch.randperm(128, generator=draw)] for _ in range(2)) for _ in NEIGHBOURS
        ]
        words = student.tokenizer.get_vocab()
        self.begins = torch.zeros(len(rarity), dtype=torch.bool)
        self.begins[[i for token, i in words.items() if token.startswith("Ġ") or i <= DOCUMENT]] = True

    def add(self, vectors: Tensor, ids: Tensor, share: float = SHARE) -> Tensor:
        """``vectors`` [n_tokens, 128] of the tokens ``ids``, texts in a row, with spelling, normalised."""
        weight, begins, spelt = self.rarity[ids], self.begins[ids], self.own[ids]
        word = weight > 0
        before, after = word, word
        for away, (part, (left, right)) in enumerate(zip(NEIGHBOURS, self.near, strict=True), 1):
            before = before & ~begins.roll(away - 1) & word.roll(away)
            after = after & ~begins.roll(-away) & word.roll(-away)
            spelt = spelt + part * before[:, None] * left[ids.roll(away)]
            spelt = spelt + part * after[:, None] * right[ids.roll(-away)]
        return F.normalize(vectors + (share * weight).sqrt()[:, None] * F.normalize(spelt, dim=-1), dim=-1)


class Speller:
    """A student, what it was at first, and the texts that it reads."""

    def __init__(self, work: Path, start: Path, seed: int) -> None:
        self.library, self.student, self.first = Library(work, seed), Student(work), Student(work)
        self.first.load(start)
        self.student.load(start)
        languages = self.library.languages().values()
        self.spelling = Spelling(self.first, rarity(self.student.tokenizer, languages, random.Random(seed)))

    @torch.no_grad()
    def batches(self) -> Iterator[tuple[list, list[int], Tensor]]:
        """Encodings, their prefixes, and what is to be learnt of their tokens."""
        while True:
            texts, prefixes = self.library.some()
            pairs = zip(self.student.tokenizer.encode_batch(texts), prefixes, strict=True)
            ordered = sorted(pairs, key=lambda pair: len(pair[0].ids))
            encodings, prefixes = [e for e, _ in ordered], [p for _, p in ordered]
            vectors, lengths = self.first.encode(encodings, prefixes, LIMIT)
            ids = torch.cat(
                [
                    torch.tensor([DOCUMENT, DOCUMENT, *e.ids[1 : n - 1]])
                    for e, n in zip(encodings, lengths, strict=True)
                ]
            )
            yield encodings, prefixes, self.spelling.add(vectors, ids)

    @torch.no_grad()
    def project(self, count: int = 24) -> None:
        """The student's projection becomes the one nearest to what is to be learnt."""
        size = self.student.shape.hidden_size
        of_states, of_targets = torch.eye(size), torch.zeros(size, 128)
        kept, self.student.dense = self.student.dense, torch.nn.Identity()
        for (encodings, prefixes, targets), _ in zip(self.batches(), range(count), strict=False):
            states, _ = self.student.encode(encodings, prefixes, LIMIT)
            of_states += states.T @ states
            of_targets += states.T @ targets
        self.student.dense = kept
        solved = torch.linalg.solve(of_states, of_targets).T
        kept.weight.copy_(solved * kept.weight.norm() / solved.norm())


def train(work: Path, start: Path, minutes: float, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    speller = Speller(work, start, seed)
    if not (work / "study.pt").exists():
        speller.project()
    course = Course(speller.student, work, minutes, rate, {})
    speller.library.rng.seed(seed + course.step)
    for encodings, prefixes, targets in speller.batches():
        if course.over:
            break
        vectors, _ = speller.student.encode(encodings, prefixes, LIMIT)
        course.learn({"spelt": (1 - (vectors * targets).sum(-1)).mean()}, len(targets))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="an exported student")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    train(arguments.work, arguments.start, arguments.minutes, arguments.rate, arguments.seed)
