"""Stage 1: the student learns the teacher's token vectors by characters, other languages by translation.

    python examples/train_nano/distil.py WORK --minutes 60 [--start CHECKPOINT_FOLDER]

Resumes from WORK/distil.pt when that exists; ``--start`` takes the first weights from an exported student.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sources
import torch
from japanese import plain
from student import DOCUMENT, QUERY, Student
from teacher import Teacher, overlaps
from tokenizers import Encoding
from torch import Tensor

PEAK_RATE, WARM_UP, TOKENS_PER_STEP, LIMIT = 1.5e-3, 200, 4_500, 512
FRESH, REPEATED = 200, 0.6
"""After so many batches, this share of the steps repeats one of those that the teacher has seen."""


class Texts:
    """An endless, seeded stream of English texts and of (English, other) pairs."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.articles = sources.wiki_articles()
        self.documentation = sorted({e for x in sources.PARALLEL for e, _ in sources.parallel(x)})
        self.meetings = sources.meetings()
        self.pairs = [sources.parallel(language) for language in sources.PARALLEL]

    def english(self) -> str:
        draw = self.rng.random()
        if draw < 0.06:
            return self.rng.choice(self.documentation)
        if draw < 0.10:
            return self.rng.choice(self.meetings)[: self.rng.randint(200, 1500)]
        return self.part(self.articles)

    def part(self, articles: list[tuple[str, list[str]]]) -> str:
        """Passages of an article or a sentence, often with the title."""
        title, passages = self.rng.choice(articles)
        start, draw = self.rng.randrange(len(passages)), self.rng.random()
        if draw < 0.28:
            count = self.rng.randint(2, 4)
            return f"{title}. {' '.join(passages[start : start + count])}"
        if draw < 0.45:
            return self.rng.choice(sources.sentences(passages[start]) or passages)[:300]
        return f"{title}. {passages[start]}" if draw < 0.72 else passages[start]

    def batch(self, characters: int) -> list[str]:
        texts: list[str] = []
        while sum(map(len, texts)) < characters:
            texts.append(self.english()[:2400])
        return texts

    def translations(self, count: int) -> list[tuple[str, str]]:
        pairs = (self.rng.choice(self.rng.choice(self.pairs)) for _ in range(count))
        return [
            (english[:600], (plain(other) if self.rng.random() < 0.5 else other)[:600])
            for english, other in pairs
        ]


class Lesson(NamedTuple):
    """English texts, the rows of the student's tokens that the teacher knows, and what it says of them."""

    texts: list[str]
    ours: list[Encoding]
    rows: Tensor
    targets: Tensor


class Lessons:
    """What the teacher says of texts; much of it said again, for the teacher costs as much as the student."""

    def __init__(self, student: Student, teacher: Teacher, texts: Texts) -> None:
        self.student, self.teacher, self.texts = student, teacher, texts
        self.past: list[Lesson] = []

    def loss(self) -> Tensor:
        """Token loss on a batch of texts, short ones mostly as queries."""
        rng = self.texts.rng
        if len(self.past) >= FRESH and rng.random() < REPEATED:
            lesson = rng.choice(self.past)
        else:
            lesson = self.learn(self.texts.batch(int(TOKENS_PER_STEP * 4.2)))
            self.past.append(lesson)
        prefixes = [QUERY if len(t) < 160 and rng.random() < 0.7 else DOCUMENT for t in lesson.texts]
        vectors, _ = self.student.encode(lesson.ours, prefixes)
        return (1 - (vectors[lesson.rows] * lesson.targets.float()).sum(-1)).mean()

    def learn(self, texts: list[str]) -> Lesson:
        ours, theirs = self.student.tokenizer.encode_batch(texts), self.teacher.tokenize(texts)
        taught = self.teacher.project(torch.cat(self.teacher.states(theirs)))
        rows, targets = align(texts, ours, theirs, taught)
        return Lesson(texts, ours, rows, targets.half())


def align(
    texts: list[str], ours: list[Encoding], theirs: list[Encoding], taught: Tensor
) -> tuple[Tensor, Tensor]:
    """The rows of the student's tokens that share characters with the teacher's, and the mean of those."""
    rows, columns = [], []
    row_start = column_start = 0
    for text, mine, its in zip(texts, ours, theirs, strict=True):
        row, column = overlaps(text, mine, its, LIMIT)
        rows.append(row + row_start)
        columns.append(column + column_start)
        row_start += min(len(mine.ids) + 1, LIMIT)
        column_start += len(its.ids)
    row = torch.from_numpy(np.concatenate(rows))
    targets = torch.zeros(row_start, 128)
    targets.index_add_(0, row, taught[torch.from_numpy(np.concatenate(columns))])
    covered = row.unique()
    return covered, torch.nn.functional.normalize(targets[covered], dim=-1)


def translation_loss(
    student: Student, teacher: Teacher, pairs: list[tuple[str, str]], rng: random.Random
) -> Tensor:
    """Soft Chamfer distance between a translation's vectors and the teacher's of the English text."""
    english, other = zip(*pairs, strict=True)
    targets = [teacher.project(s) for s in teacher.states(teacher.tokenize(list(english)))]
    prefixes = [rng.choice((QUERY, DOCUMENT)) for _ in pairs]
    vectors, lengths = student.encode(student.tokenizer.encode_batch(list(other)), prefixes)
    return chamfer(targets, vectors.split(lengths))


def chamfer(targets: Iterable[Tensor], vectors: Iterable[Tensor]) -> Tensor:
    """Mean soft Chamfer distance between texts' vectors, ``[n, 128]`` and ``[m, 128]`` each."""
    losses = []
    for target, ours in zip(targets, vectors, strict=True):
        cosine = target @ ours.T
        covered = (cosine * (cosine * 15).softmax(1)).sum(1).mean()
        grounded = (cosine * (cosine * 15).softmax(0)).sum(0).mean()
        losses.append(1 - 0.5 * (covered + grounded))
    return torch.stack(losses).mean()


@torch.no_grad()
def fit_teacher(work: Path, student: Student, teacher: Teacher, *, trained: bool) -> None:
    """Read WORK/teacher.pt, or make it; turned as a ``trained`` student has learnt its vectors."""
    if (work / "teacher.pt").exists():
        teacher.load(work / "teacher.pt")
        return
    texts = Texts(0)
    teacher.fit(texts.batch(400_000))
    if trained:
        some = texts.batch(150_000)
        ours, theirs = student.tokenizer.encode_batch(some), teacher.tokenize(some)
        rows, taught = align(some, ours, theirs, teacher.project(torch.cat(teacher.states(theirs))))
        vectors, _ = student.encode(ours, [DOCUMENT] * len(ours))
        teacher.turn_towards(vectors[rows], taught)
    teacher.save(work / "teacher.pt")


def train(
    work: Path, minutes: float, start: Path | None = None, peak_rate: float = PEAK_RATE, seed: int = 0
) -> None:
    torch.manual_seed(seed)
    teacher, student = Teacher(), Student(work)
    texts = Texts(seed)
    if start is None:
        student.initialise(teacher)
    else:
        student.load(start)
    fit_teacher(work, student, teacher, trained=start is not None)
    matrices = [p for p in student.parameters() if p.ndim == 2]
    rest = [p for p in student.parameters() if p.ndim != 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        lr=peak_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    step, spent, tokens = 0, 0.0, 0
    checkpoint = work / "distil.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, tokens = state["step"], state["spent"], state["tokens"]
        texts.rng.seed(seed + step)
    lessons = Lessons(student, teacher, texts)
    last, saved, mean = time.thread_time(), time.monotonic(), [0.0, 0.0]
    while spent < minutes * 60:
        rate = min(1.0, (step + 1) / WARM_UP) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent / (minutes * 60)))
        )
        for group in optimiser.param_groups:
            group["lr"] = peak_rate * rate
        loss = lessons.loss()
        mean[0] += loss.item() / 50
        if step > 300 and step % 3 == 0:
            other = translation_loss(student, teacher, texts.translations(12), texts.rng)
            mean[1] += 3 * other.item() / 50
            loss = loss + 0.3 * other
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        step, tokens = step + 1, tokens + TOKENS_PER_STEP
        now = time.thread_time()  # a machine that sleeps, or serves others, learns nothing
        spent, last = spent + now - last, now
        if step % 50 == 0:
            print(
                f"step {step} {spent / 60:.1f} min {tokens / 1e6:.2f} M tokens rate {rate:.3f} "
                f"loss {mean[0]:.4f} translated {mean[1]:.4f}",
                flush=True,
            )
            mean = [0.0, 0.0]
        if time.monotonic() - saved > 240 or spent >= minutes * 60:
            saved = time.monotonic()
            torch.save(
                {
                    "model": student.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "spent": spent,
                    "tokens": tokens,
                },
                checkpoint.with_suffix(".tmp"),
            )
            checkpoint.with_suffix(".tmp").replace(checkpoint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other texts")
    arguments = parser.parse_args()
    train(arguments.work, arguments.minutes, arguments.start, arguments.rate, arguments.seed)
