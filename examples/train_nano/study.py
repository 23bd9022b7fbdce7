"""Stages 1 and 2 at once, with the teacher in a process of its own: for a student that goes on.

    python examples/train_nano/study.py WORK --start CHECKPOINT_FOLDER --minutes 80

Half of the steps learn token vectors from texts of all lengths; half learn them, and the ranking of stage 2,
from groups of hard passages, with the best similarity of each query token and passage besides. Four of ten
steps add other languages: translations, contrast within a batch, and that of English in the letters of
scripts that there is no text for. Matrices are turned by Muon (Jordan et al., 2024), all else by AdamW.
Resumes from WORK/study.pt.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from distil import Texts, align, chamfer, fit_teacher
from refine import LEXICAL_SCALE, Groups, Lexical, maxsim, nearest, rank
from student import DOCUMENT, QUERY, Student
from teacher import BFLOAT16, Teacher
from torch import Tensor
from torch.multiprocessing import Process, Queue
from torch.overrides import TorchFunctionMode

PEAK_RATE, WARM_UP, AVERAGED = 5e-4, 60, 0.998
CHARACTERS, QUERIES_PER_STEP, QUERY_LIMIT = 18_000, 5, 64
FRESH = 60
"""Lessons before any is repeated."""
WEIGHTS = {
    "tokens": 1.0,
    "ranking": 0.03,
    "nearest": 0.5,
    "translated": 0.3,
    "contrast": 0.3,
    "enciphered": 0.3,
}


class Lesson(NamedTuple):
    """Texts, and what the teacher says of them: a vector for each of some rows of the student's tokens.

    The first ``len(ranking)`` are queries, of which ``ranking`` orders the others; ``nearest`` is the best
    similarity of each of the queries' rows to each of the others.
    """

    texts: list[str]
    prefixes: list[int]
    rows: Tensor
    targets: Tensor
    ranking: Tensor | None = None
    nearest: Tensor | None = None


class Tutor:
    """Makes lessons, in the teacher's process."""

    def __init__(self, work: Path, seed: int) -> None:
        self.teacher, self.student = Teacher(), Student(work)
        self.teacher.load(work / "teacher.pt")
        self.texts, self.groups = Texts(seed), Groups(work, seed)
        groups = self.groups.groups
        self.lexical = Lexical(text for group in groups for text in (group["positive"], *group["negatives"]))

    def lessons(self) -> Iterator[Lesson]:
        while True:
            yield self.ranked()
            yield self.read()

    def read(self, characters: int = CHARACTERS) -> Lesson:
        rng = self.texts.rng
        texts = sorted(self.texts.batch(characters), key=len)
        prefixes = [QUERY if len(t) < 160 and rng.random() < 0.7 else DOCUMENT for t in texts]
        theirs = self.teacher.tokenize(texts)
        taught = self.teacher.project(torch.cat(self.teacher.states(theirs)))
        rows, targets = align(texts, self.student.tokenizer.encode_batch(texts), theirs, taught)
        return Lesson(texts, prefixes, rows, targets.half())

    def ranked(self) -> Lesson:
        queries, passages, positives, better = self.groups.english(QUERIES_PER_STEP)
        count, texts = len(queries), queries + passages
        theirs, ours = self.teacher.tokenize(texts), self.student.tokenizer.encode_batch(texts)
        states = self.teacher.states(theirs)
        projected = [self.teacher.project(s) for s in states]
        ranking = rank(states, projected, count) + LEXICAL_SCALE * self.lexical.scores(queries, passages)
        ranking[torch.arange(count), positives] += better
        rows, targets = align(texts, ours, theirs, torch.cat(projected))
        asked = targets[rows < sum(min(len(e.ids) + 1, 512) for e in ours[:count])]
        best = nearest(asked, projected[count:])
        prefixes = [QUERY] * count + [DOCUMENT] * len(passages)
        return Lesson(texts, prefixes, rows, targets.half(), ranking, best.half())

    def translations(self) -> tuple[list[str], list[Tensor], list[int]]:
        """Texts in other languages, the teacher's vectors of their English, and prefixes."""
        english, other = zip(*self.texts.translations(14), strict=True)
        targets = [
            self.teacher.project(s).half() for s in self.teacher.states(self.teacher.tokenize(list(english)))
        ]
        return list(other), targets, [self.texts.rng.choice((QUERY, DOCUMENT)) for _ in other]


def teach(work: Path, seed: int, queue: Queue) -> None:
    torch.set_num_threads(1)
    tutor = Tutor(work, seed)
    for number, lesson in enumerate(tutor.lessons()):
        queue.put((lesson, tutor.translations() if number % 8 == 7 else None))


def taught(queue: Queue, rng: random.Random) -> Iterator[tuple]:
    """What the teacher says; while it is behind, what it said before."""
    past: list[tuple] = []
    while True:
        try:
            past.append(queue.get(timeout=0.05 if len(past) > FRESH else None))
            yield past[-1]
        except Empty:
            yield rng.choice(past)


class Learner:
    def __init__(self, work: Path, seed: int) -> None:
        self.student, self.groups = Student(work), Groups(work, seed + 1)
        self.student.scale = torch.nn.Parameter(torch.tensor(math.log(40.0)))

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        parts, encodings = self.student.read(lesson.texts, lesson.prefixes)
        known = torch.cat(parts)[lesson.rows]
        losses = {"tokens": (1 - (known * lesson.targets.float()).sum(-1)).mean()}
        if lesson.ranking is not None:
            count = len(lesson.ranking)
            documents = self.student.content(torch.cat(parts[count:]), encodings[count:])
            scores = self.student.scale.exp() * maxsim(
                tuple(p[:QUERY_LIMIT] for p in parts[:count]), documents
            )
            losses["ranking"] = F.kl_div(
                scores.log_softmax(1), lesson.ranking.softmax(1), reduction="batchmean"
            )
            best = nearest(known[: len(lesson.nearest)], documents)
            losses["nearest"] = (best - lesson.nearest.float()).square().mean().sqrt()
        return losses

    def contrast(self, pairs: tuple[list[str], list[str]], limit: int = 512) -> Tensor:
        """Cross-entropy of finding each query's passage among everyone's."""
        queries, passages = pairs
        encodings = self.student.tokenizer.encode_batch(queries + passages)
        count = len(queries)
        vectors, lengths = self.student.encode(encodings, [QUERY] * count + [DOCUMENT] * count, limit)
        asked = vectors[: sum(lengths[:count])]
        documents = self.student.content(vectors[len(asked) :], encodings[count:], limit)
        scores = self.student.scale.exp() * maxsim(asked.split(lengths[:count]), documents)
        return F.cross_entropy(scores, torch.arange(count))

    def translated(self, texts: list[str], targets: list[Tensor], prefixes: list[int]) -> Tensor:
        """How far translations' vectors are from the teacher's of the English texts."""
        vectors, lengths = self.student.encode(self.student.tokenizer.encode_batch(texts), prefixes)
        return chamfer((target.float() for target in targets), vectors.split(lengths))


def optimisers(student: Student, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for all else."""
    layers = student.backbone.layers.named_parameters()
    matrices = [value for name, value in layers if value.ndim == 2 and not name.endswith("conv_weight")]
    chosen = set(map(id, matrices))
    rest = [value for value in student.parameters() if id(value) not in chosen]
    return [
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    ]


class InFloat32(TorchFunctionMode):
    """Muon's products, which it makes in bfloat16, in float32."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].clone() if function is Tensor.bfloat16 else function(*args, **kwargs or {})


class Course:
    """A student on its way: its weights, their running mean, and how far it has come.

    Resumes from WORK/study.pt if that is there.

    Parameters
    ----------
    weights
        Of the losses by name; 1 where there is none.
    """

    def __init__(
        self, student: Student, work: Path, minutes: float, rate: float, weights: dict[str, float]
    ) -> None:
        self.student, self.rate, self.seconds, self.weights = student, rate, minutes * 60, weights
        self.checkpoint = work / "study.pt"
        self.step, self.spent, self.tokens = 0, 0.0, 0
        self.sums: dict[str, list[float]] = {}
        self.optimisers = optimisers(student, rate)
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            student.load_state_dict(state["last"])
            self.mean = state["model"]
            for optimiser, held in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(held)
            self.step, self.spent, self.tokens = state["step"], state["spent"], state["tokens"]
        else:
            self.mean = {name: value.detach().clone() for name, value in student.state_dict().items()}
        self.last, self.saved = time.thread_time(), time.monotonic()

    @property
    def over(self) -> bool:
        return self.spent >= self.seconds

    def save(self) -> None:
        state = {
            "model": self.mean,
            "last": self.student.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "spent": self.spent,
            "tokens": self.tokens,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").replace(self.checkpoint)

    def learn(self, losses: dict[str, Tensor], tokens: int) -> None:
        """One step, by the ``losses`` of so many ``tokens``; now and then a report and a checkpoint."""
        rate = self.rate * min(1.0, (self.step + 1) / WARM_UP) * (1.02 - min(1.0, self.spent / self.seconds))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
        torch.stack([self.weights.get(name, 1.0) * value for name, value in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        with contextlib.nullcontext() if BFLOAT16 else InFloat32():
            for optimiser in self.optimisers:
                optimiser.step()
        self.step, self.tokens = self.step + 1, self.tokens + tokens
        share = min(AVERAGED, self.step / (self.step + 9))
        with torch.no_grad():
            for name, value in self.student.state_dict().items():
                self.mean[name].lerp_(value, 1 - share)
        for name, value in losses.items():
            kind = f"{name}/ranked" if name == "tokens" and "ranking" in losses else name
            self.sums.setdefault(kind, []).append(value.item())
        now = time.thread_time()  # a machine that sleeps, or serves others, learns nothing
        self.spent, self.last = self.spent + now - self.last, now
        if self.step % 50 == 0:
            self.report()
        if time.monotonic() - self.saved > 240 or self.over:
            self.saved = time.monotonic()
            self.save()

    def report(self) -> None:
        means = " ".join(f"{name} {sum(some) / len(some):.4f}" for name, some in sorted(self.sums.items()))
        print(f"step {self.step} {self.spent / 60:.1f} min {self.tokens / 1e6:.2f} M {means}", flush=True)
        self.sums = {}


def train(work: Path, minutes: float, start: Path, rate: float, seed: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    learner = Learner(work, seed)
    if not (work / "teacher.pt").exists() or not (work / "study.pt").exists():
        learner.student.load(start)
        fit_teacher(work, learner.student, Teacher(), trained=True)
    course = Course(learner.student, work, minutes, rate, WEIGHTS)
    queue: Queue = Queue(6)
    Process(target=teach, args=(work, seed + course.step, queue), daemon=True).start()
    for lesson, translations in taught(queue, random.Random(seed + course.step)):
        if course.over:
            break
        losses = learner.losses(lesson)
        if translations is not None:
            losses["translated"] = learner.translated(*translations)
        elif course.step % 12 == 0:
            losses["enciphered"] = learner.contrast(learner.groups.enciphered(10))
        elif course.step % 3 == 0:
            losses["contrast"] = learner.contrast(learner.groups.other(14))
        course.learn(losses, len(lesson.rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="an exported student, which may be smaller")
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=2, help="another one draws other texts")
    arguments = parser.parse_args()
    train(arguments.work, arguments.minutes, arguments.start, arguments.rate, arguments.seed)
