"""nano 1.0: learns what ``label.py`` wrote down, and to find paragraphs across languages.

    python examples/train_nano/cross.py WORK --minutes 100

Begins with WORK/start.pt (``grow.py``) and resumes from WORK/study.pt. Every step learns token vectors, by
1 - cosine; every second one contrast besides: part of a paragraph in one language looks for it in another,
beside others of the same page; or a question for its passage. Labels may still be being made: it reads
those that are there.
"""

from __future__ import annotations

import argparse
import math
import random
from functools import lru_cache
from pathlib import Path

import languages
import torch
import torch.nn.functional as F
from develop import halves
from label import Label
from refine import maxsim
from space import Space
from student import DOCUMENT, QUERY, Student
from study import Course
from torch import Tensor

PEAK_RATE, TOKENS, LIMIT = 6e-4, 2_600, 512
PAGES, PARAGRAPHS, ASKED = 4, 4, 14
"""Pages and paragraphs of each in a step of contrast; and questions in one of those."""
WEIGHTS = {"across": 0.1, "asked": 0.1}
"""Beside the tokens', of which English has ``--english`` and others what is left of 1."""
ENGLISH = 0.35
"""How often one of two other languages becomes English."""
SHORT = 320
"""Characters of a paragraph or passage in contrast."""


class Labels:
    """Batches of a shard each, of a random one of those that are there."""

    def __init__(self, work: Path, seed: int) -> None:
        self.folder, self.rng = work / "labels", random.Random(seed)

    @staticmethod
    @lru_cache(maxsize=64)
    def shard(path: Path) -> list[Label]:
        return [Label(*one) for one in torch.load(path, weights_only=True)]

    def batch(self) -> list[Label]:
        """Labels of some TOKENS tokens, the shortest first."""
        labels = self.shard(self.rng.choice(sorted(self.folder.glob("*.pt"))))
        order = self.rng.sample(range(len(labels)), len(labels))
        chosen, size = [], 0
        for i in order:
            chosen.append(labels[i])
            size += len(labels[i].ids)
            if size >= TOKENS:
                break
        return sorted(chosen, key=lambda label: len(label.ids))


class Pairs:
    """Queries and documents, a document each."""

    def __init__(self, work: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.pages: dict[str, list[dict[str, str]]] = {}
        for paragraph in languages.paragraphs(work):
            if not languages.held_out(paragraph.page):
                # Python's paragraphs don't say what page they are of
                alone = paragraph.page.startswith("python/")
                page = f"python/{len(paragraph.texts)}" if alone else paragraph.page
                self.pages.setdefault(page, []).append(paragraph.texts)
        self.pages = {page: texts for page, texts in self.pages.items() if len(texts) >= PARAGRAPHS}
        kinds = sorted({page.split("/")[0] for page in self.pages})
        self.kinds = [[page for page in self.pages if page.split("/")[0] == kind] for kind in kinds]
        self.weights = [sum(len(self.pages[page]) for page in kind) ** 0.5 for kind in self.kinds]
        self.questions = [languages.questions(language) for language in languages.QUESTIONS]

    def across(self) -> tuple[list[str], list[str]]:
        rng, queries, documents = self.rng, [], []
        for _ in range(PAGES):
            page = rng.choice(rng.choices(self.kinds, self.weights)[0])
            for texts in rng.sample(self.pages[page], PARAGRAPHS):
                pair = rng.sample(sorted(texts), 2)
                if "en" not in pair and rng.random() < ENGLISH:
                    pair[rng.randrange(2)] = "en"
                by, of = pair
                parts = halves(texts[by][:SHORT])
                queries.append(parts.first if parts and rng.random() < 0.6 else texts[by][:SHORT])
                documents.append(texts[of][:SHORT])
        return queries, documents

    def asked(self) -> tuple[list[str], list[str]]:
        pairs = self.rng.sample(self.rng.choice(self.questions), ASKED)
        kept = {passage: question for question, passage in pairs}
        return list(kept.values()), [passage[: SHORT * 2] for passage in kept]


class Learner:
    def __init__(self, work: Path) -> None:
        self.student = Student(work)
        if not (work / "study.pt").exists():
            self.student.load_state_dict(torch.load(work / "start.pt", weights_only=True))
        self.student.scale = torch.nn.Parameter(torch.tensor(math.log(40.0)))
        self.space = Space.load(work)

    def tokens(self, labels: list[Label]) -> tuple[dict[str, Tensor], int]:
        """Losses of English and of others, and of how many tokens."""
        encodings = self.student.tokenizer.encode_batch([label.text for label in labels])
        prefixes = [QUERY if label.asked else DOCUMENT for label in labels]
        vectors, lengths = self.student.encode(encodings, prefixes, LIMIT)
        found: dict[str, list[Tensor]] = {"english": [], "other": []}
        for label, part in zip(labels, vectors.split(lengths), strict=True):
            known = label.known[: len(part)].nonzero().squeeze(1)
            target = self.space.target(label.ids[label.known], label.e5, label.nano)[: len(known)]
            loss = 1 - (part[known] * target).sum(-1)
            found["english" if label.language == "en" else "other"].append(loss)
        return {name: torch.cat(some).mean() for name, some in found.items() if some}, len(vectors)

    def contrast(self, queries: list[str], documents: list[str]) -> Tensor:
        """Cross-entropy of finding each query's document among everyone's."""
        encodings = self.student.tokenizer.encode_batch(queries + documents)
        count = len(queries)
        vectors, lengths = self.student.encode(encodings, [QUERY] * count + [DOCUMENT] * count, LIMIT)
        asked = vectors[: sum(lengths[:count])]
        read = self.student.content(vectors[len(asked) :], encodings[count:], LIMIT)
        scores = self.student.scale.exp() * maxsim(asked.split(lengths[:count]), read)
        return F.cross_entropy(scores, torch.arange(count))


def train(work: Path, *, minutes: float, sitting: float, rate: float, seed: int, english: float) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    learner = Learner(work)
    weights = {"english": english, "other": 1 - english, **WEIGHTS}
    course = Course(learner.student, work, minutes, rate, weights)
    labels, pairs = Labels(work, seed + course.step), Pairs(work, seed + course.step)
    begun = course.spent
    while not course.over and course.spent - begun < sitting * 60:
        losses, count = learner.tokens(labels.batch())
        if course.step % 2:
            losses["across"] = learner.contrast(*pairs.across())
        elif course.step % 8 == 0:
            losses["asked"] = learner.contrast(*pairs.asked())
        course.learn(losses, count)
    course.save()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--sitting", type=float, default=math.inf, help="stop after so many, to go on later")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=200)
    parser.add_argument(
        "--english", type=float, default=0.34, help="what tokens in English weigh; others 1 - that"
    )
    arguments = parser.parse_args()
    train(**vars(arguments))
