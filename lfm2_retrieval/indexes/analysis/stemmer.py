"""Porter's stemmer for English (M. F. Porter, "An algorithm for suffix stripping", Program 14, 1980).

It gives the stems of SQLite's FTS5, which stemmed the words of older indexes: with the two suffixes that
Porter added later (``bli``, ``logi``), on the bytes of UTF-8, and only for words of 3 to 64 bytes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

__all__ = ["stem"]

_SHORTEST, _LONGEST = 3, 64

_STEP_2 = (
    *((b"ational", b"ate"), (b"tional", b"tion"), (b"enci", b"ence"), (b"anci", b"ance"), (b"izer", b"ize")),
    *((b"logi", b"log"), (b"bli", b"ble"), (b"alli", b"al"), (b"entli", b"ent"), (b"eli", b"e")),
    *((b"ousli", b"ous"), (b"ization", b"ize"), (b"ation", b"ate"), (b"ator", b"ate"), (b"alism", b"al")),
    *((b"iveness", b"ive"), (b"fulness", b"ful"), (b"ousness", b"ous"), (b"aliti", b"al")),
    *((b"iviti", b"ive"), (b"biliti", b"ble")),
)
_STEP_3 = (
    *((b"icate", b"ic"), (b"ative", b""), (b"alize", b"al"), (b"iciti", b"ic"), (b"ical", b"ic")),
    *((b"ful", b""), (b"ness", b"")),
)
_STEP_4 = (
    *(b"al", b"ance", b"ence", b"er", b"ic", b"able", b"ible", b"ant", b"ement", b"ment", b"ent"),
    *(b"sion", b"tion", b"ou", b"ism", b"ate", b"iti", b"ous", b"ive", b"ize"),
)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of a word in lower case; other languages' words may lose an ending that looks English."""
    found = word.encode("utf-8", "surrogatepass")
    if not _SHORTEST <= len(found) <= _LONGEST:
        return word
    found = _step_1(found)
    found = _replace(found, _STEP_2)
    found = _replace(found, _STEP_3)
    for suffix in _STEP_4:
        if found.endswith(suffix) and len(found) > len(suffix):
            kept = found[: -len(suffix)] + (suffix[:1] if suffix.endswith(b"ion") else b"")
            if _measure(kept) > 1:
                found = kept
            break
    return _step_5(found).decode("utf-8", "surrogatepass")


def _step_1(word: bytes) -> bytes:
    """Plurals, participles, and y."""
    if word.endswith(b"es"):
        longer = (len(word) > 4 and word.endswith(b"sses")) or (len(word) > 3 and word.endswith(b"ies"))
        word = word[: -2 if longer else -1]
    elif word.endswith(b"s") and not word.endswith(b"ss"):
        word = word[:-1]
    if word.endswith(b"eed") and len(word) > 3:
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    elif word.endswith(b"ed") and len(word) > 2 and _has_vowel(word[:-2]):
        word = _repair(word[:-2])
    elif word.endswith(b"ing") and len(word) > 3 and _has_vowel(word[:-3]):
        word = _repair(word[:-3])
    if word.endswith(b"y") and _has_vowel(word[:-1]):
        word = word[:-1] + b"i"
    return word


def _repair(word: bytes) -> bytes:
    """The end of a word after ``ed`` or ``ing`` was taken off."""
    if word.endswith((b"at", b"bl", b"iz")) and len(word) > 2:
        return word + b"e"
    if len(word) > 1 and word[-1] == word[-2] and word[-1] not in b"aeioulsz":
        return word[:-1]
    return word + b"e" if _measure(word) == 1 and _is_short(word) else word


def _replace(word: bytes, rules: tuple[tuple[bytes, bytes], ...]) -> bytes:
    for suffix, other in rules:
        if word.endswith(suffix) and len(word) > len(suffix):
            kept = word[: -len(suffix)]
            return kept + other if _measure(kept) > 0 else word
    return word


def _step_5(word: bytes) -> bytes:
    """A final e, and a double l."""
    if word.endswith(b"e"):
        kept = word[:-1]
        measure = _measure(kept)
        if measure > 1 or (measure == 1 and not _is_short(kept)):
            word = kept
    if word.endswith(b"ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def _consonants(word: bytes) -> list[bool]:
    """Which letters are consonants: y is one unless it comes after another."""
    found: list[bool] = []
    consonant = False
    for letter in word:
        consonant = letter not in (b"aeiouy" if consonant else b"aeiou")
        found.append(consonant)
    return found


def _measure(word: bytes) -> int:
    """How often consonants follow vowels."""
    kinds = _consonants(word)
    return sum(after and not before for before, after in pairwise(kinds))


def _has_vowel(word: bytes) -> bool:
    return any(letter in (b"aeiouy" if place else b"aeiou") for place, letter in enumerate(word))


def _is_short(word: bytes) -> bool:
    """Whether it ends consonant, vowel, consonant, the last one neither w, x nor y."""
    return word[-1:] not in (b"w", b"x", b"y") and _consonants(word)[-3:] == [True, False, True]
