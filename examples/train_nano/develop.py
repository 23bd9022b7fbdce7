"""How well a checkpoint finds what is held out: nDCG@10 by exact MaxSim, within and across languages.

    python examples/train_nano/develop.py WORK [CHECKPOINT_FOLDER | WORK/study.pt]

Across languages the first sentence of a paragraph in one language looks for the paragraph in another;
within a language it looks for the rest of its paragraph, and questions look for their passages. Runs are
chosen by this, and never by a collection below ``eval/``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import languages
import numpy as np
import torch
from student import DOCUMENT, QUERY, Student
from torch import Tensor

MAIN = ("en", "de", "es", "fr", "pt", "it", "ru", "el", "tr", "ar", "hi", "vi", "id", "ja", "ko", "zh")
PARAGRAPHS, QUESTIONS, PASSAGES = 100, 100, 300
"""Of a language, at most; and how many passages its questions are asked of."""
Encode = Callable[[list[str], bool, str], list[Tensor]]
"""Texts, whether they are queries, and their language, to their vectors."""

_END = re.compile(r"(?<=[.!?।])\s+|(?<=[。！？])")


class Halves(NamedTuple):
    """A paragraph's first sentence, what follows it, and all of it."""

    first: str
    rest: str
    whole: str


def halves(text: str) -> Halves | None:
    parts = [part for part in _END.split(text) if part.strip()]
    if len(parts) < 2 or len(parts[0]) < 8 or len(text) - len(parts[0]) < 15:
        return None
    return Halves(parts[0].strip(), " ".join(parts[1:]), text)


def development(work: Path) -> dict[str, dict[int, Halves]]:
    """By language, held-out paragraphs by number; those that most languages have."""
    kept = [
        p
        for p in languages.paragraphs(work)
        if languages.held_out(p.page) and not p.page.startswith("python/")
    ]
    kept.sort(key=lambda p: (p.page.startswith("office/"), -len(p.texts.keys() & set(MAIN))))
    found: dict[str, dict[int, Halves]] = {language: {} for language in MAIN}
    for source in (False, True):
        for number, paragraph in enumerate(kept):
            if paragraph.page.startswith("office/") is source:
                english = halves(paragraph.texts["en"][:500])
                for language, text in paragraph.texts.items():
                    some, parts = found.get(language), halves(text[:500])
                    if parts and english and language != "en" and set(parts) & set(english):
                        continue  # half of it has not been translated
                    room = PARAGRAPHS if source else PARAGRAPHS * 3 // 4
                    if some is not None and parts and len(some) < room:
                        some[number] = parts
    return found


def asked(language: str) -> tuple[list[str], list[str], list[int]]:
    """Held-out questions, passages, and which of these answers each."""
    pairs = languages.questions(language, development=True)
    pairs = [(question, passage[:700]) for question, passage in pairs]
    passages = list(dict.fromkeys(passage for _, passage in pairs))[:PASSAGES]
    place = {passage: i for i, passage in enumerate(passages)}
    some = [(question, place[passage]) for question, passage in pairs if passage in place]
    some = some[:: max(1, len(some) // QUESTIONS)][:QUESTIONS]
    return [question for question, _ in some], passages, [right for _, right in some]


def ndcg(queries: list[Tensor], documents: list[Tensor], right: list[int]) -> float:
    """Of queries that one document each answers."""
    every, lengths = torch.cat(documents), [len(d) for d in documents]
    gains = []
    for query, answer in zip(queries, right, strict=True):
        best = torch.stack([part.max(1).values.sum() for part in (query @ every.T).split(lengths, 1)])
        rank = int((best > best[answer]).sum()) + 1
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    return float(np.mean(gains))


class Found(NamedTuple):
    within: dict[str, float]
    asked: dict[str, float]
    across: dict[tuple[str, str], float]
    """(of documents, of queries)"""

    def __str__(self) -> str:
        mean = lambda values: f"{np.mean(list(values)):.3f}"  # noqa: E731
        lines = [f"within {mean(self.within.values())}, across {mean(self.across.values())}"]
        lines += [f"questions {name} {value:.3f}" for name, value in self.asked.items()]
        for name, value in self.within.items():
            of = [v for (d, q), v in self.across.items() if d == name]
            to = [v for (d, q), v in self.across.items() if q == name]
            if of and to:
                lines.append(f"{name} within {value:.3f} its documents {mean(of)} its queries {mean(to)}")
        return "\n".join(lines)


def develop(work: Path, encode: Encode, only: tuple[str, ...] = MAIN) -> Found:
    held = {language: some for language, some in development(work).items() if language in only}
    queries, wholes, within = {}, {}, {}
    for language, some in held.items():
        parts = list(some.values())
        queries[language] = dict(zip(some, encode([p.first for p in parts], True, language), strict=True))
        wholes[language] = dict(zip(some, encode([p.whole for p in parts], False, language), strict=True))
        rests = encode([p.rest for p in parts], False, language)
        within[language] = ndcg(list(queries[language].values()), rests, list(range(len(rests))))
    across = {}
    for of, by in product(held, held):
        place = {number: i for i, number in enumerate(wholes[of])}
        common = [number for number in queries[by] if number in place]
        if of != by and len(common) >= 20:
            chosen = [queries[by][number] for number in common]
            across[of, by] = ndcg(chosen, list(wholes[of].values()), [place[n] for n in common])
    answers = {}
    for language in languages.QUESTIONS:
        if language in only:
            questions, passages, right = asked(language)
            found = encode(questions, True, language), encode(passages, False, language)
            answers[language] = ndcg(*found, right)
    return Found(within, answers, across)


def reader(student: Student) -> Encode:
    """What ``develop`` needs of a student."""

    @torch.no_grad()
    def encode(texts: list[str], queries: bool, _: str) -> list[Tensor]:
        found: list[Tensor] = []
        for start in range(0, len(texts), 32):
            some = texts[start : start + 32]
            parts, encodings = student.read(some, [QUERY if queries else DOCUMENT] * len(some))
            found += parts if queries else student.content(torch.cat(parts), encodings)
        return found

    return encode


def load(work: Path, checkpoint: Path) -> Student:
    student = Student(work if checkpoint.suffix == ".pt" else checkpoint)
    if checkpoint.suffix == ".pt":
        weights = torch.load(checkpoint, weights_only=True)["model"]
        weights.pop("scale", None)
        student.load_state_dict(weights)
    else:
        student.load(checkpoint)
    return student.eval()


if __name__ == "__main__":
    torch.set_num_threads(1)
    work = Path(sys.argv[1])
    print(develop(work, reader(load(work, Path(sys.argv[2])))))
