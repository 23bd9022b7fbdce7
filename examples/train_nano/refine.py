"""Stage 2: rank as MiniLM and BM25 together, among hard candidates.

    python examples/train_nano/refine.py WORK --minutes 35 [--start CHECKPOINT_FOLDER]

Three losses: KL divergence from a ranking of each query's positive, its BM25 negatives and everyone
else's, by the sum of MiniLM's tokens, its pooled vector and BM25, which ranks better than any alone; the
token loss of stage 1 on the same passages, which keeps what was learnt there; and in other languages
contrast within a batch, with translations. Resumes from WORK/refine.pt; ``--start``
begins half-way between stage 1 and an earlier refined student.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import sources
import torch
import torch.nn.functional as F
from bm25s.stopwords import STOPWORDS_EN
from ciphers import Cipher
from distil import Texts, align, translation_loss
from japanese import plain, polite
from student import DOCUMENT, QUERY, Student
from teacher import Teacher
from torch import Tensor

STOPWORDS = frozenset(STOPWORDS_EN)
PEAK_RATE, WARM_UP, QUERIES_PER_STEP = 3e-4, 30, 6
DENSE_SCALE, TOKEN_SCALE, LEXICAL_SCALE = 20.0, 30.0, 0.3
K1, B = 0.9, 0.4


class Groups:
    """Endless, seeded batches of English groups and of pairs in other languages."""

    def __init__(self, work: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        with (work / "groups.jsonl").open(encoding="utf-8") as lines:
            self.groups = [json.loads(line) for line in lines]
        self.articles = {x: sources.monolingual_articles(x) for x in sources.MONOLINGUAL}
        self.questions = [sources.questions("jaquad-ja-train"), sources.questions("piaf11-fr")]
        self.pairs = [sources.parallel(language) for language in sources.PARALLEL]

    def english(self, count: int = QUERIES_PER_STEP) -> tuple[list[str], list[str], Tensor, Tensor]:
        """Queries, passages, and for each query the position of its positive and how much better that is."""
        queries, passages, positives, better = [], [], [], []
        for group in self.rng.sample(self.groups, count):
            better.append(group["better"])
            positives.append(len(passages))
            queries.append(group["query"])
            passages += [group["positive"][:1200], *(text[:1200] for text in group["negatives"])]
        return queries, passages, torch.tensor(positives), torch.tensor(better)

    def other(self, count: int) -> tuple[list[str], list[str]]:
        """Queries and their positives, all in one language or across two."""
        draw = self.rng.random()
        if draw < 0.4:
            chosen = self.rng.sample(self.rng.choice(self.questions), count)
            pairs = {
                self.styled(self.rng.choice(texts)[:700], polite): self.styled(query, polite)
                for query, texts in chosen
            }
            return list(pairs.values()), list(pairs)
        if draw < 0.65:
            chosen_pairs = [
                (english, self.styled(other, plain))
                for english, other in self.rng.sample(self.rng.choice(self.pairs), count)
            ]
            both = [
                (e[:400], o[:400]) if self.rng.random() < 0.5 else (o[:400], e[:400]) for e, o in chosen_pairs
            ]
            return [a for a, _ in both], [b for _, b in both]
        pairs = {}
        for title, passages in self.rng.sample(self.articles[self.rng.choice(list(self.articles))], count):
            passage = self.rng.choice(passages)
            parts = sources.sentences(passage)
            if len(parts) > 2 and self.rng.random() < 0.6:
                part = self.rng.choice(parts)
                pairs[" ".join(p for p in parts if p is not part)[:700]] = part[:150]
            else:
                pairs[passage[:700]] = title
        return list(pairs.values()), list(pairs)

    def styled(self, text: str, style: Callable[[str], str]) -> str:
        """Half of the Japanese texts in the other style."""
        return style(text) if self.rng.random() < 0.5 else text

    def enciphered(self, count: int) -> tuple[list[str], list[str]]:
        """English queries and their positives in another script's letters."""
        cipher, groups = Cipher(self.rng), self.rng.sample(self.groups, count)
        pairs = {
            cipher.write(group["positive"][:240]): cipher.write(group["query"][:100]) for group in groups
        }
        return list(pairs.values()), list(pairs)


def nearest(vectors: Tensor, documents: Iterable[Tensor]) -> Tensor:
    """The best similarity of each vector in each document, ``[n_vectors, n_documents]``."""
    return torch.stack([(vectors @ document.T).amax(1) for document in documents], dim=1)


def maxsim(queries: tuple[Tensor, ...], documents: tuple[Tensor, ...]) -> Tensor:
    """Mean over a query's vectors of the best similarity in each document, ``[n_queries, n_documents]``."""
    best = nearest(torch.cat(queries), documents)
    return torch.stack([part.mean(0) for part in best.split([len(q) for q in queries])])


def rank(states: list[Tensor], projected: list[Tensor], count: int) -> Tensor:
    """MiniLM's scores of the first ``count`` texts for the others: of its pooled vector and of its tokens.

    ``states`` and ``projected`` are the hidden states and token vectors of each text.
    """
    pooled = F.normalize(torch.stack([s.mean(0) for s in states]), dim=-1)
    tokens = maxsim(tuple(projected[:count]), tuple(projected[count:]))
    return DENSE_SCALE * pooled[:count] @ pooled[count:].T + TOKEN_SCALE * tokens


class Lexical:
    """BM25 (Lucene's form) of a few passages, with the document frequencies of many.

    Parameters
    ----------
    passages
        Those whose words are counted.
    """

    def __init__(self, passages: Iterable[str]) -> None:
        words = [self.words(passage) for passage in passages]
        self.average = sum(map(len, words)) / len(words)
        frequencies = Counter(word for some in words for word in set(some))
        self.weights = {
            word: math.log1p((len(words) - n + 0.5) / (n + 0.5)) for word, n in frequencies.items()
        }
        self.unseen = math.log1p(2 * len(words) + 1)

    @staticmethod
    def words(text: str) -> list[str]:
        return [word for word in re.findall(r"\b\w\w+\b", text.lower()) if word not in STOPWORDS]

    def scores(self, queries: list[str], passages: list[str]) -> Tensor:
        """``[n_queries, n_passages]``."""
        counted = [Counter(self.words(passage)) for passage in passages]
        norms = [K1 * (1 - B + B * counts.total() / self.average) for counts in counted]
        rows = []
        for query in queries:
            asked = [(word, self.weights.get(word, self.unseen)) for word in self.words(query)]
            rows.append(
                [
                    sum(weight * counts[word] / (counts[word] + norm) for word, weight in asked)
                    for counts, norm in zip(counted, norms, strict=True)
                ]
            )
        return torch.tensor(rows)


class Refiner:
    def __init__(self, work: Path, seed: int) -> None:
        self.teacher, self.student = Teacher(), Student(work)
        self.teacher.load(work / "teacher.pt")
        self.groups, self.texts = Groups(work, seed), Texts(seed)
        groups = self.groups.groups
        self.lexical = Lexical(text for group in groups for text in (group["positive"], *group["negatives"]))

    def documents(self, texts: list[str]) -> tuple[Tensor, tuple[Tensor, ...], list]:
        encodings = self.student.tokenizer.encode_batch(texts)
        vectors, _ = self.student.encode(encodings, [DOCUMENT] * len(texts))
        return vectors, self.student.content(vectors, encodings), encodings

    def queries(self, texts: list[str]) -> tuple[Tensor, ...]:
        encodings = self.student.tokenizer.encode_batch(texts)
        vectors, lengths = self.student.encode(encodings, [QUERY] * len(texts), 64)
        return vectors.split(lengths)

    def ranking_loss(self) -> tuple[Tensor, Tensor]:
        """KL divergence from the teachers' ranking, and the token loss on the same passages."""
        queries, passages, positives, better = self.groups.english()
        tokens = self.teacher.tokenize(queries + passages)
        states = self.teacher.states(tokens)
        count = len(queries)
        projected = [self.teacher.project(s) for s in states]
        target = rank(states, projected, count) + LEXICAL_SCALE * self.lexical.scores(queries, passages)
        target[torch.arange(count), positives] += better
        flat, documents, encodings = self.documents(passages)
        scores = self.student.scale.exp() * maxsim(self.queries(queries), documents)
        ranking = F.kl_div(scores.log_softmax(1), target.softmax(1), reduction="batchmean")
        rows, targets = align(passages, encodings, tokens[count:], torch.cat(projected[count:]))
        return ranking, (1 - (flat[rows] * targets).sum(-1)).mean()

    def contrast_loss(self) -> Tensor:
        queries, passages = self.groups.other(14)
        _, documents, _ = self.documents(passages)
        scores = self.student.scale.exp() * maxsim(self.queries(queries), documents)
        return F.cross_entropy(scores, torch.arange(len(queries)))


def train(work: Path, minutes: float, start: Path | None = None, seed: int = 1) -> None:
    torch.manual_seed(seed)
    refiner = Refiner(work, seed)
    student = refiner.student
    student.scale = torch.nn.Parameter(torch.tensor(math.log(40.0)))
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    checkpoint, step, spent = work / "refine.pt", 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
        refiner.groups.rng.seed(seed + step)
    else:
        first = torch.load(work / "distil.pt", weights_only=True)["model"]
        if start is not None:
            student.load(start)
            second = student.state_dict()
            first = {name: value.lerp(second[name], 0.5) for name, value in first.items()}
        student.load_state_dict(first, strict=False)
    last, saved = time.thread_time(), time.monotonic()
    sums = [0.0, 0.0, 0.0, 0.0]
    while spent < minutes * 60:
        progress = spent / (minutes * 60)
        rate = min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * rate
        ranking, kept = refiner.ranking_loss()
        losses = [ranking, 4.0 * kept]
        if step % 4 != 3:
            losses.append(0.7 * refiner.contrast_loss())
        else:
            pairs = refiner.texts.translations(12)
            losses.append(0.5 * translation_loss(student, refiner.teacher, pairs, refiner.texts.rng))
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        sums = [sums[0] + ranking.item(), sums[1] + kept.item(), sums[2], sums[3]]
        sums[3 if step % 4 == 3 else 2] += losses[2].item()
        step += 1
        now = time.thread_time()
        spent, last = spent + now - last, now
        if step % 40 == 0:
            print(
                f"step {step} {spent / 60:.1f} min ranking {sums[0] / 40:.4f} tokens {sums[1] / 40:.4f} "
                f"contrast {sums[2] / 30:.4f} translated {sums[3] / 10:.4f} scale {student.scale.exp():.1f}",
                flush=True,
            )
            sums = [0.0, 0.0, 0.0, 0.0]
        if time.monotonic() - saved > 240 or spent >= minutes * 60:
            saved = time.monotonic()
            state = {
                "model": student.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "spent": spent,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="another one draws other groups")
    arguments = parser.parse_args()
    train(arguments.work, arguments.minutes, arguments.start, arguments.seed)
