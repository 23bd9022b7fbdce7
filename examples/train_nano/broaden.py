"""The teacher's token vectors, spelt, on English of every subject: for a student that goes on.

    python examples/train_nano/broaden.py WORK --start FOLDER --first FOLDER --minutes 75

A student that has read Wikipedia knows what the teacher says there, and half as well what it says elsewhere.
So two of three English texts are textbooks' (``textbooks.py``), papers' (``papers.py``), WordNet's,
questions, and passages with words exchanged (``wordnet.py``). What is to be learnt of an English token is
what the teacher says of it, with its spelling added (``spell.py``); of one in another language, what an
earlier student (``--first``) says, with more of its spelling. Every other lesson orders passages, as in
``study.py``, and has the best similarity of each query token in each passage learnt, too. Resumes from
WORK/study.pt.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import papers
import sources
import textbooks
import torch
import torch.nn.functional as F
from distil import Texts, fit_teacher
from refine import maxsim, nearest
from spell import Library, Spelling, rarity
from student import DOCUMENT, QUERY, Student, sequences
from study import QUERY_LIMIT, Course, Lesson, Tutor, taught
from teacher import Teacher
from tokenizers import Encoding
from torch import Tensor
from torch.multiprocessing import Process, Queue
from wordnet import Writer

RATE, CHARACTERS, FOREIGN, LIMIT = 3e-4, 13_000, 2_400, 512
WEIGHTS = {"tokens": 1.0, "ranking": 0.03, "nearest": 0.5, "spelt": 0.4}
ENGLISH, OTHER = 0.4, 2.5
"""How much of a rare token's target is its spelling: less in English, where more is understood."""
KINDS = (0.35, 0.16, 0.20, 0.06, 0.06, 0.13, 0.04)
"""Of English texts: as before, textbooks, papers, WordNet, mixed, questions, and claims and words."""
ASKING = 2.0
"""What a query's token counts for: there are few of them, and each decides more than a document's."""


class Broad(Texts):
    """English of every subject, without end."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.writer = Writer(self.rng)
        self.textbooks, self.asked = textbooks.books()
        self.papers = papers.papers()

    def english(self) -> str:
        ways = (super().english, self.taught, self.paper, self.said, self.mixed, self.question, self.terse)
        (way,) = self.rng.choices(ways, KINDS)
        return way()

    def taught(self) -> str:
        return self.part(self.textbooks)

    def paper(self) -> str:
        return self.part(self.papers.abstracts if self.rng.random() < 0.4 else self.papers.sections)

    def question(self) -> str:
        return self.writer.question() if self.rng.random() < 0.4 else self.rng.choice(self.asked)

    def said(self) -> str:
        """Definitions and examples."""
        way = self.rng.choice((self.writer.definition, self.writer.example))
        return " ".join(way() for _ in range(self.rng.choice((1, 1, 2, 4, 8))))

    def mixed(self) -> str:
        """A passage with words exchanged, or sentences that have nothing to do with each other."""
        rng, writer = self.rng, self.writer
        if rng.random() < 0.6:
            _, passages = rng.choice(self.articles if rng.random() < 0.5 else self.textbooks)
            return writer.mixed(rng.choice(passages)[: rng.choice((150, 400, 900))])
        ways = (writer.definition, writer.example, writer.claim, self.sentence)
        return " ".join(rng.choice(ways)() for _ in range(rng.randint(2, 8)))

    def terse(self) -> str:
        return self.rng.choice((self.writer.claim, self.writer.keywords))()

    def sentence(self) -> str:
        passage = self.rng.choice(self.rng.choice(self.articles)[1])
        return self.rng.choice(sources.sentences(passage) or [passage])[:300]


class Others(NamedTuple):
    """Texts in other languages, what is said of each of their tokens, and prefixes."""

    texts: list[str]
    prefixes: list[int]
    targets: Tensor


class BroadTutor(Tutor):
    """Makes lessons, and says what an earlier student says of other languages, in a process of its own."""

    def __init__(self, work: Path, first: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.texts, self.library = Broad(seed), Library(work, seed)
        self.student.load(first)

    def lessons(self) -> Iterator[Lesson]:
        while True:
            yield self.read(CHARACTERS)
            yield self.ranked()

    @torch.no_grad()
    def others(self) -> Others:
        texts, prefixes = [], []
        while sum(map(len, texts)) < FOREIGN:
            texts.append(self.library.other())
            asked = len(texts[-1]) < 160 and self.library.rng.random() < 0.6
            prefixes.append(QUERY if asked else DOCUMENT)
        vectors, _ = self.student.encode(self.student.tokenizer.encode_batch(texts), prefixes, LIMIT)
        return Others(texts, prefixes, vectors.half())


def teach(work: Path, first: Path, seed: int, queue: Queue) -> None:
    torch.set_num_threads(1)
    tutor = BroadTutor(work, first, seed)
    for lesson in tutor.lessons():
        queue.put((lesson, tutor.others()))


def tokens(encodings: list[Encoding], prefixes: list[int]) -> Tensor:
    """Those of all texts in a row, as ``Student.read`` has their vectors."""
    return torch.tensor([token for row in sequences(encodings, prefixes, LIMIT) for token in row])


class Learner:
    def __init__(self, work: Path, start: Path, first: Path) -> None:
        self.student, early = Student(work), Student(work)
        self.student.scale = torch.nn.Parameter(torch.tensor(math.log(40.0)))
        self.student.load(start)
        early.load(first)
        library = Library(work, 0)
        languages = library.languages().values()
        self.spelling = Spelling(early, rarity(self.student.tokenizer, languages, random.Random(0)))

    def losses(self, lesson: Lesson, others: Others) -> dict[str, Tensor]:
        parts, encodings = self.student.read(lesson.texts, lesson.prefixes, LIMIT)
        vectors = torch.cat(parts)
        said = torch.zeros_like(vectors)
        said[lesson.rows] = lesson.targets.float()
        known = vectors[lesson.rows]
        ids = tokens(encodings, lesson.prefixes)
        targets = self.spelling.add(said, ids, ENGLISH)[lesson.rows]
        lengths = torch.tensor([len(part) for part in parts])
        owner = torch.arange(len(parts)).repeat_interleave(lengths)[lesson.rows]  # the text of each row
        weights = torch.tensor([ASKING if p == QUERY else 1.0 for p in lesson.prefixes])[owner]
        losses = {"tokens": ((1 - (known * targets).sum(-1)) * weights).sum() / weights.sum()}
        if lesson.ranking is not None:
            count = len(lesson.ranking)
            passages = self.student.content(torch.cat(parts[count:]), encodings[count:], LIMIT)
            asked = tuple(part[:QUERY_LIMIT] for part in parts[:count])
            scores = self.student.scale.exp() * maxsim(asked, passages)
            losses["ranking"] = F.kl_div(
                scores.log_softmax(1), lesson.ranking.softmax(1), reduction="batchmean"
            )
            told = (owner < count) | ~torch.isin(ids[lesson.rows], self.student.skipped)
            sizes = torch.bincount(owner[told], minlength=len(parts)).tolist()
            ours, theirs = known[told].split(sizes), targets[told].split(sizes)
            best, wanted = (nearest(torch.cat(some[:count]), some[count:]) for some in (ours, theirs))
            losses["nearest"] = (best - wanted).square().mean().sqrt()
        parts, encodings = self.student.read(others.texts, others.prefixes, LIMIT)
        targets = self.spelling.add(others.targets.float(), tokens(encodings, others.prefixes), OTHER)
        losses["spelt"] = (1 - (torch.cat(parts) * targets).sum(-1)).mean()
        return losses


def main(arguments: argparse.Namespace) -> None:
    work, first, seed = arguments.work, arguments.first, arguments.seed
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(seed)
    if not (work / "teacher.pt").exists():
        early = Student(work)
        early.load(first)
        fit_teacher(work, early, Teacher(), trained=True)
    learner = Learner(work, arguments.start, first)
    course = Course(learner.student, work, arguments.minutes, arguments.rate, WEIGHTS)
    queue: Queue = Queue(6)
    Process(target=teach, args=(work, first, seed + course.step, queue), daemon=True).start()
    for lesson, others in taught(queue, random.Random(seed + course.step)):
        if course.over:
            break
        losses = learner.losses(lesson, others)
        course.learn(losses, len(lesson.rows) + len(others.targets))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="an exported student")
    parser.add_argument(
        "--first", type=Path, required=True, help="one that knows no spelling, for other languages"
    )
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--rate", type=float, default=RATE, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of the student; the teacher has one more")
    main(parser.parse_args())
