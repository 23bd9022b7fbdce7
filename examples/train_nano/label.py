"""What the teacher, and today's nano in English, say of texts of all languages, in shards that are made once.

    python examples/train_nano/label.py WORK NANO_FOLDER --shards 60

A third of the texts is English. A shard, WORK/labels/NUMBER.pt, depends on its number alone, and goes on
from those that are there, so it can be stopped at any time. One needs some two minutes of a core.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import languages
import sources
import torch
from space import Space
from targets import Reader
from torch import Tensor

TEXTS, LONGEST, TOGETHER = 560, 900, 16
ENGLISH = 0.34
BALANCE = 0.4
"""A language is drawn in proportion to its characters to this power."""


class Text(NamedTuple):
    language: str
    text: str
    asked: bool


class Label(NamedTuple):
    """Ids of a text's tokens, which of them are known, and these ones' vectors, [n_known, 128] in float16."""

    language: str
    text: str
    asked: bool
    ids: Tensor
    known: Tensor
    e5: Tensor
    nano: Tensor | None


class Texts:
    """Texts that are not held out, without end."""

    def __init__(self, work: Path) -> None:
        self.parallel: dict[str, list[str]] = {}
        for paragraph in languages.paragraphs(work):
            if not languages.held_out(paragraph.page):
                for language, text in paragraph.texts.items():
                    self.parallel.setdefault(language, []).append(text)
        self.articles = {language: languages.articles(language) for language in ("en", *languages.ARTICLES)}
        self.questions = {language: languages.questions(language) for language in languages.QUESTIONS}
        sizes = {x: sum(map(len, some)) for x, some in self.parallel.items() if x != "en"}
        self.languages, self.weights = list(sizes), [size**BALANCE for size in sizes.values()]

    def draw(self, rng: random.Random) -> Iterator[Text]:
        while True:
            language = "en"
            if rng.random() > ENGLISH:
                language = rng.choices(self.languages, self.weights)[0]
            draw = rng.random()
            if draw < 0.25 and language in self.questions:
                question, passage = rng.choice(self.questions[language])
                yield Text(language, question, asked=True)
                text = passage
            elif draw < 0.75 and language in self.articles:
                text = rng.choice(self.articles[language])
            else:
                text = rng.choice(self.parallel[language])
            if rng.random() < 0.25:
                text = rng.choice(sources.sentences(text) or [text])
            text = text[:LONGEST].strip()
            if len(text) > 5:
                yield Text(language, text, asked=len(text) < 160 and rng.random() < 0.5)


def shard(texts: list[Text], reader: Reader, space: Space) -> list[Label]:
    found = []
    for english in (False, True):
        some = sorted((t for t in texts if (t.language == "en") is english), key=lambda t: len(t.text))
        for start in range(0, len(some), TOGETHER):
            part = some[start : start + TOGETHER]
            read = reader.read([t.text for t in part], [t.asked for t in part], english=english)
            for text, said in zip(part, read, strict=True):
                e5 = space.turned(said.states)[said.known].half()
                nano = None if said.nano is None else said.nano[said.known].half()
                found.append(Label(*text, said.ids, said.known, e5, nano))
    return found


def label(work: Path, nano: Path, shards: int) -> None:
    torch.set_num_threads(1)
    reader, texts = Reader(work, nano), Texts(work)
    space = Space.of(reader, work)
    (work / "labels").mkdir(exist_ok=True)
    for number in range(shards):
        path = work / "labels" / f"{number:05}.pt"
        if path.exists():
            continue
        stream = texts.draw(random.Random(number))
        labels = shard([next(stream) for _ in range(TEXTS)], reader, space)
        torch.save([tuple(one) for one in labels], path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
        print(f"shard {number}: {sum(len(one.e5) for one in labels)} tokens", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("nano", type=Path)
    parser.add_argument("--shards", type=int, default=60)
    arguments = parser.parse_args()
    label(arguments.work, arguments.nano, arguments.shards)
