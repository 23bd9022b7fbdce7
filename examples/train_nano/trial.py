"""Which targets to teach: what finds best on the development split, before anything is taught.

    python examples/train_nano/trial.py WORK NANO_FOLDER 1.5,0.3 [NANO,SPELLING ...]

Reads a part of the split once, into WORK/trial.pt, then scores one mixture after another.
"""

from __future__ import annotations

import sys
from pathlib import Path

import develop
import torch
from space import Mixture, Space
from targets import Reader, Said
from torch import Tensor

LANGUAGES = ("en", "de", "ru", "ar", "hi", "vi", "ja", "zh")
develop.PARAGRAPHS, develop.QUESTIONS, develop.PASSAGES = 48, 60, 80
Kept = dict[tuple[str, bool], Said]


def remember(reader: Reader, path: Path) -> Kept:
    """What is said of all texts of this part of the split."""
    if path.exists():
        return {key: Said(*said) for key, said in torch.load(path, weights_only=True).items()}
    kept: Kept = {}

    def encode(texts: list[str], queries: bool, language: str) -> list[Tensor]:
        some = [text for text in dict.fromkeys(texts) if (text, queries) not in kept]
        said = reader.read(some, [queries] * len(some), english=language == "en") if some else []
        kept.update(zip(((text, queries) for text in some), said, strict=True))
        print(language, len(some), flush=True)
        return [torch.ones(1, 1)] * len(texts)

    develop.develop(path.parent, encode, LANGUAGES)
    torch.save({key: tuple(said) for key, said in kept.items()}, path)
    return kept


def looked_up(kept: Kept, space: Space, mixture: Mixture, skipped: Tensor) -> develop.Encode:
    """Targets in the place of a student's vectors."""

    def encode(texts: list[str], queries: bool, _: str) -> list[Tensor]:
        found = []
        for said in (kept[text, queries] for text in texts):
            seen = said.known if queries else said.known & ~torch.isin(said.ids, skipped)
            found.append(space.target(said.ids, space.turned(said.states), said.nano, mixture)[seen])
        return found

    return encode


if __name__ == "__main__":
    torch.set_num_threads(1)
    work, nano = Path(sys.argv[1]), Path(sys.argv[2])
    reader = Reader(work, nano)
    kept, space = remember(reader, work / "trial.pt"), Space.of(reader, work)
    for mixture in (Mixture(*map(float, word.split(","))) for word in sys.argv[3:]):
        found = develop.develop(work, looked_up(kept, space, mixture, reader.student.skipped), LANGUAGES)
        print(mixture, found, sep="\n", flush=True)
