"""The words of a text, as they are indexed, and those of a query.

- NFKC, case folded, decimal digits of any script as ASCII. Accents of Latin, Greek and Cyrillic letters and
  the vowel signs of Arabic and Hebrew are dropped; Arabic letters that are written in several ways become
  one. The marks of other scripts, which are vowels, stay with their letter. What is not seen (soft hyphens,
  joiners, directions) is dropped.
- A word is a run of letters, marks and numbers that begins with no mark. Where writing has no spaces between
  words (Chinese, Japanese, Thai and their neighbours), and in Korean, whose words carry endings, a run
  becomes its overlapping pairs of letters with their marks, and its last letter: every word of two letters is
  then a term, and one letter finds the pairs that begin with it and the runs that end with it.
- What signs join to one is a term besides, its `form`: ``c++``, ``f#``, ``.net``, ``@user``, ``at&t``,
  ``node.js``, ``3.14``. A hyphen or an underscore beside a letter falls out of it, so that ``e-mail`` is
  ``email`` and ``POL-358`` is ``pol358``.
- English words are stemmed.

A query has words and forms too, and nothing else: no character of it is an operator.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import regex

from .stemmer import stem

__all__ = ["QueryWord", "query_words", "terms", "words"]

_MOST_WORDS = 256
"""Of a query, different ones: more would only cost time."""
_LONGEST_WORD, _LONGEST_FORM = 255, 64
"""Characters: a longer word is cut, of a longer form only its words remain."""
_MOST_JOINED = 15
"""Words that a form has after its first; what follows is another one."""

_PAIRED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar, Khmer
    "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul, kana
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3100-\u312f"  # Han: signs among the ideographs; Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = rf"[[\p{{L}}\p{{N}}]--[{_PAIRED}]]"
_LETTERS = rf"[[\p{{L}}\p{{M}}\p{{N}}]--[[{_PAIRED}]--\p{{M}}]]"
_PAIRED_LETTER = rf"[[\p{{L}}\p{{N}}]&&[{_PAIRED}]]"
_PAIRED_LETTERS = rf"[[{_PAIRED_LETTER}\p{{M}}]]"
_LEADS, _JOINTS = r"[.@#]", r"[-._·&@/:+#]"


def _forms_of(letter: str, letters: str) -> str:
    """What signs join: a word before which, after which or in which one stands."""
    atom = rf"{letter}{letters}*+(?:\+\+|[+#](?!{letter}))?+"
    joint = rf"(?:::|{_JOINTS}|(?<=\+\+))"
    return (
        rf"(?:(?<!{letters}|{_JOINTS}){_LEADS}(?={letter})"
        rf"|(?<!{letters})(?={letter}{letters}*+{_JOINTS}))"
        rf"{atom}(?:{joint}{atom}){{0,{_MOST_JOINED}}}+"
    )


_RUN = regex.compile(rf"{_LETTER}{_LETTERS}*+|{_PAIRED_LETTER}{_PAIRED_LETTERS}*+", regex.V1)
_IS_PAIRED = regex.compile(_PAIRED_LETTER, regex.V1)
_PAIRED_CLUSTER = regex.compile(rf"{_PAIRED_LETTER}\p{{M}}*+", regex.V1)
_FORM = regex.compile(_forms_of(_LETTER, _LETTERS), regex.V1)
_ASCII_RUN = re.compile("[a-z0-9]+")
_ASCII_FORM = re.compile(_forms_of("[a-z0-9]", "[a-z0-9]"))
_SIGNED = re.compile(r"[^-._·&@/:+#]+(?:\+\+|[+#](?![^-._·&@/:+#]))")
_GLUE = re.compile(r"(?<=[^\d])[-_·]|[-_·](?=[^\d])")

_ACCENTED = re.compile("[\u00c0-\u052f\u1e00-\u1fff]")
_DROPPED = regex.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # accents
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08ff"
    "\u0730-\u074a"  # Syriac points
    r"\u115f\u1160\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef\p{Me}[\p{Cf}--[\u200b\u0600-\u0605]]]",
    regex.V1,
)
"""What changes no word; zero width spaces do, as they are written where words end."""
_MANY_MARKS = regex.compile(r"(\p{M}{30})\p{M}+")
"""Normalising takes time by the square of a run of marks; Unicode's stream-safe texts have at most 30."""
_DIGITS = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
_SAME = str.maketrans(
    "\u0622\u0623\u0625\u0671\u0649\u06cc\u06a9\u0629\u2010\u2013\u2212",
    "\u0627\u0627\u0627\u0627\u064a\u064a\u0643\u0647---",
)


class QueryWord(NamedTuple):
    """A word of a query: whether words that begin with it count, too, and the forms that it is a part of."""

    term: str
    prefix: bool = False
    forms: tuple[str, ...] = ()


def words(text: str) -> str:
    """The words of a text, separated by spaces, and after them its forms; not stemmed."""
    plain, forms = _analyse(text)
    return " ".join([*plain, *forms])


def terms(text: str) -> tuple[list[str], int]:
    """What is indexed of a text, and how many of these are words: forms don't make a text longer."""
    plain, forms = _analyse(text)
    return [_term(word) for word in (*plain, *forms)], len(plain)


def query_words(query: str) -> Counter[QueryWord]:
    """The stemmed words and forms to look for, and how often the query has each."""
    folded = _folded(query)
    joined = _find_forms(folded)
    starts = [start for start, _, _ in joined]
    found: Counter[QueryWord] = Counter()
    for run in (_ASCII_RUN if folded.isascii() else _RUN).finditer(folded):
        place = bisect_right(starts, run.start()) - 1
        within = place >= 0 and run.end() <= joined[place][1]
        forms = tuple(dict.fromkeys(map(_term, joined[place][2]))) if within else ()
        if not _IS_PAIRED.match(run[0]):
            found[QueryWord(_term(run[0]), False, forms)] += 1
        elif len(split := _split(run[0])) == 1:
            found[QueryWord(split[0], True)] += 1
        else:
            # Its last letter was made a word for queries of one letter; here it would match noise.
            found.update(QueryWord(pair) for pair in split[:-1])
    found.update(QueryWord(_term(form)) for _, _, forms in joined for form in forms)
    return Counter(dict(list(found.items())[:_MOST_WORDS]))


def _analyse(text: str) -> tuple[list[str], list[str]]:
    """The words of a text, and its forms."""
    folded = _folded(text)
    forms = [form for _, _, some in _find_forms(folded) for form in some]
    if folded.isascii():
        return [run[:_LONGEST_WORD] for run in _ASCII_RUN.findall(folded)], forms
    return [word for run in _RUN.findall(folded) for word in _split(run)], forms


def _term(word: str) -> str:
    return stem(word) if word.isalnum() else word


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _MANY_MARKS.sub(r"\1", text)).casefold()
    text = _ACCENTED.sub(lambda match: unicodedata.normalize("NFD", match[0]), text)
    text = unicodedata.normalize("NFKC", _DROPPED.sub("", text)).translate(_SAME)
    return str(_DIGITS.sub(lambda match: str(unicodedata.decimal(match[0], match[0])), text))


def _split(run: str) -> list[str]:
    """The words of a run: itself, or its pairs of letters and the last letter."""
    if not _IS_PAIRED.match(run):
        return [run[:_LONGEST_WORD]]
    letters = [letter[:_LONGEST_WORD] for letter in _PAIRED_CLUSTER.findall(run)]
    return [*(first + second for first, second in pairwise(letters)), letters[-1]]


def _find_forms(folded: str) -> list[tuple[int, int, list[str]]]:
    """Where signs join, and the forms there: words with their own signs, and the whole."""
    found = []
    for match in (_ASCII_FORM if folded.isascii() else _FORM).finditer(folded):
        whole = match[0]
        body = whole.lstrip(".@#")
        signed = _SIGNED.findall(body)
        if whole != body:
            signed.append(whole[0] + re.split(_JOINTS, body, maxsplit=1)[0])
        if len(whole) <= _LONGEST_FORM and body not in signed and re.search(_JOINTS, body):
            signed.append(_GLUE.sub("", body))
        forms = [form for form in signed if len(form) <= _LONGEST_FORM]
        if forms:
            found.append((*match.span(), forms))
    return found
