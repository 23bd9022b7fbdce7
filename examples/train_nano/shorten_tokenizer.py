"""A tokenizer's first words alone: byte-level BPE learns merges in order, so the first are a tokenizer, too.

python examples/train_nano/shorten_tokenizer.py CHECKPOINT_FOLDER WORK
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from student import LARGER
from tokenizers import Tokenizer


def shorten(folder: Path, work: Path, size: int = LARGER.vocab_size) -> None:
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = described["model"]
    surplus = len(model["vocab"]) - size
    model["vocab"] = {word: number for word, number in model["vocab"].items() if number < size}
    model["merges"] = model["merges"][:-surplus] if surplus else model["merges"]
    work.mkdir(parents=True, exist_ok=True)
    Tokenizer.from_str(json.dumps(described)).save(str(work / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    shorten(arguments.folder, arguments.work)
