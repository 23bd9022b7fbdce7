"""English of every subject, of WordNet (Fellbaum, 1998): definitions, examples, and questions by rule.

Wikipedia is one kind of text. What a teacher says of words that stand together as they do nowhere in it is
worth as much, and people ask in few and plain words. Read from $WORDNET, by default where Debian's package
``wordnet-base`` puts it.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

WORDNET = Path(os.environ.get("WORDNET", "/usr/share/wordnet"))
PARTS = {"noun": "noun", "verb": "verb", "adjective": "adj", "adverb": "adv"}

ASKED = {
    "noun": (
        "what is {a} {word}",
        "what is {a} {word} used for",
        "how does {a} {word} work",
        "where would I find {a} {word}?",
        "difference between {a} {word} and {a_noun} {noun}",
        "who needs {a} {word} and why?",
        "what do you call {meaning}?",
        "what is the name of {meaning}",
        "{meaning}",
        "which {noun} has the best {word}",
        "why is my {word} so {adjective}?",
        "is {a} {word} {adjective}",
        "how much {word} is too much",
        "what kinds of {word} are there",
        "how long does {a} {word} last?",
        "when was the {word} invented",
        "{word} of the {noun}",
    ),
    "verb": (
        "how to {word} {a_noun} {noun}",
        "how can I {meaning}?",
        "what happens when you {word} {a_noun} {noun}",
        "why do people {word}",
        "should I {word} before I {verb}?",
        "can {a_noun} {noun} {word}",
        "what makes {a_noun} {noun} {word}?",
        "who may {word} the {noun}",
        "is it better to {word} or to {verb}",
        "{meaning}",
        "how often should {a_noun} {noun} be made to {word}",
    ),
    "adjective": (
        "why is the {noun} {word}",
        "which {noun} is the most {word}?",
        "what makes {a_noun} {noun} {word}",
        "how to tell whether {a_noun} {noun} is {word}",
        "{word} {noun}",
        "is {word} the same as {adjective}?",
        "what does it mean to be {meaning}",
        "{word} {noun} for {a_noun} {other}",
    ),
    "adverb": ("what does it mean to {verb} {word}", "{verb} {word}", "who {verb}s {word}?"),
}
CLAIMED = (
    "{Noun} can {verb} {other}.",
    "The {noun} of {other} is {adjective}.",
    "{Noun} reduces the {other}.",
    "{Adjective} {noun} does not {verb} the {other}.",
    "{Noun} is associated with {adjective} {other}.",
    "To {verb} {a_noun} {noun}, first {verb2} the {other}.",
    "A {noun} that is {adjective} must {verb} {other}.",
)


class Entry(NamedTuple):
    part: str
    words: tuple[str, ...]
    meaning: str
    examples: tuple[str, ...]


def entries() -> list[Entry]:
    """The entries of WordNet, 117,000 of them.

    Raises FileNotFoundError where WordNet is not.
    """
    found = []
    for part, ending in PARTS.items():
        for line in (WORDNET / f"data.{ending}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence
                continue
            fields, _, gloss = line.partition(" | ")
            columns = fields.split()
            words = [columns[4 + 2 * i].replace("_", " ") for i in range(int(columns[3], 16))]
            examples = tuple(re.findall(r'"([^"]+)"', gloss))
            meaning = re.sub(r"[;:,] *$", "", re.split(r'; *"', gloss)[0].strip())
            plain = tuple(re.sub(r"\(\w+\)$", "", word) for word in words)  # "(a)": before a noun
            found.append(Entry(part, plain, meaning, examples))
    return found


def article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


class Writer:
    """Endless texts of WordNet's words, by a generator of random numbers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.entries = rng, entries()
        said = Counter(
            word
            for e in self.entries
            for text in (e.meaning, *e.examples)
            for word in re.findall(r"[\w-]+", text.lower())
        )
        self.by_part = {}
        for part in PARTS:
            words = [(e, word) for e in self.entries if e.part == part for word in e.words]
            weights = ((said[word.lower()] + 0.05) ** 0.5 for _, word in words)
            self.by_part[part] = words, list(accumulate(weights))

    def sense(self, part: str) -> tuple[Entry, str]:
        """An entry and one of its words: the more a word is used in WordNet's own texts, the more often."""
        words, weights = self.by_part[part]
        return self.rng.choices(words, cum_weights=weights)[0]

    def word(self, part: str) -> str:
        return self.sense(part)[1]

    def any_word(self) -> str:
        return self.word(self.rng.choice(("noun", "noun", "verb", "adjective", "adverb")))

    def definition(self) -> str:
        entry = self.rng.choice(self.entries)
        word, meaning = self.rng.choice(entry.words), entry.meaning
        forms = [
            f"{word}: {meaning}.",
            f"{word} ({entry.part}), {meaning}",
            f"{meaning[:1].upper()}{meaning[1:]}.",
        ]
        if entry.part == "noun":
            forms += [f"{article(word).capitalize()} {word} is {meaning}."] * 3
        if entry.part == "verb":
            forms.append(f"To {word} is to {meaning}.")
        if len(entry.words) > 1:
            forms.append(f"{' or '.join(entry.words[:3])}: {meaning}.")
        return self.rng.choice(forms)

    def example(self) -> str:
        while True:
            if found := self.rng.choice(self.entries).examples:
                text = self.rng.choice(found)
                return f"{text[:1].upper()}{text[1:]}" + ("" if text[-1] in ".?!" else ".")

    def filled(self, form: str, **more: str) -> str:
        words = {part: self.word(part) for part in ("noun", "verb", "adjective")}
        words |= {"other": self.word("noun"), "verb2": self.word("verb"), "a_noun": article(words["noun"])}
        words |= {"Noun": words["noun"].capitalize(), "Adjective": words["adjective"].capitalize()}
        return form.format(**words, **more)

    def question(self) -> str:
        entry, word = self.sense(self.rng.choice(("noun", "noun", "verb", "verb", "adjective", "adverb")))
        text = self.filled(
            self.rng.choice(ASKED[entry.part]), word=word, a=article(word), meaning=entry.meaning[:110]
        )
        return f"{text[:1].upper()}{text[1:]}" if self.rng.random() < 0.4 else text

    def claim(self) -> str:
        return self.filled(self.rng.choice(CLAIMED))

    def keywords(self) -> str:
        return " ".join(self.any_word() for _ in range(self.rng.randint(1, 5)))

    def mixed(self, sentence: str) -> str:
        """A sentence with some of its longer words exchanged for others."""
        share = self.rng.uniform(0.15, 0.5)
        return re.sub(
            r"\b[a-z]{4,}\b",
            lambda found: self.any_word() if self.rng.random() < share else found[0],
            sentence,
        )
