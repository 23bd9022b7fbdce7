"""Questions made of sentences by rule: a date, a place, a number or a name is asked for and left out.

"In 1884 Tesla arrived in New York." may become "when did Tesla arriv in New York?". They are no model
English and need not be: what they teach is to find the one passage of an article that has the answer, among
others about the same things.
"""

from __future__ import annotations

import random
import re

MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DAY = rf"(?:\d{{1,2}} )?(?:{MONTH} )?(?:\d{{1,2}}, )?"
DATE = rf"(?:the )?(?:early |late |mid-)?{DAY}(?:\d{{4}}s?|{MONTH})\b"
NAME = r"(?:the )?[A-Z][\w'-]*(?: (?:of |the |and |de )?[A-Z][\w'-]*)*"
COUNT = r"(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
VERB = r"(?:is|was|are|were|has|have|had|can|could|will|would|may|became|began|won|[a-z]{2,}ed)\b"

LEFT_OUT = (
    (re.compile(rf",? ?\b(?:[Ii]n|[Oo]n|[Ss]ince|[Uu]ntil|[Dd]uring) {DATE},?"), ("when", "in what year")),
    (re.compile(rf" (?:in|at|from|near|to) {NAME}"), ("where", "where", "in which place")),
    (re.compile(rf" by {NAME}"), ("by whom", "who", "which person")),
    (
        re.compile(r" (?:with|against|for|as|of|to) (?:an? |the )?[\w' -]{3,40}$"),
        ("what", "which", "for what"),
    ),
    (re.compile(r"(?<=[a-z]) (?:an?|the) [\w' -]{4,50}$"), ("what", "what", "which")),
)
"""What may be left out, not at the beginning, and what asks for it."""
COUNTED = re.compile(rf" (?:about |over |around |nearly )?{COUNT} ((?:[a-z]+ )?[a-z]{{3,}}s)\b")
SUBJECT = re.compile(rf"^(?:{NAME}|The [a-z]+(?: [a-z]+)?) (?={VERB})")
AUXILIARY = re.compile(r" (is|was|are|were|has|have|had|can|could|will|would|may) ")
PAST = re.compile(r" ([a-z]{2,}?)(?:ed) ")
OPENING = re.compile(
    r"^(?:However|Later|Then|Also|Additionally|Furthermore|Moreover|Finally|Eventually|Instead),? "
)
PRONOUN = re.compile(r"^(He|She|It|They|His|Her|Its|Their) ")
POSSESSIVE = frozenset({"His", "Her", "Its", "Their"})
DROPPED = 0.06
"""The share of words that a question does without, as people say things with others."""


def ask(sentence: str, title: str, rng: random.Random) -> str | None:
    """A question that this sentence of an article answers; None if no rule finds one."""
    name = re.sub(r" \(.*?\)$", "", title)
    clause = re.sub(r" ?\([^)]*\)", "", sentence).rstrip(".!?")
    clause = OPENING.sub("", clause)
    clause = PRONOUN.sub(lambda found: name + ("'s " if found[1] in POSSESSIVE else " "), clause)
    clause = re.split(r"; |, (?:and|but|while|which|who|where|although) ", clause)[0]
    ways = []
    for pattern, words in LEFT_OUT:
        ways += [(found.span(), rng.choice(words)) for found in pattern.finditer(clause) if found.start() > 8]
        if found := pattern.match(clause):
            ways.append((found.span(), rng.choice(words)))
    ways += [(found.span(), f"how many {found[1]}") for found in COUNTED.finditer(clause)]
    subject = SUBJECT.match(clause)
    if subject and (not ways or rng.random() < 0.3):
        question = f"{rng.choice(('who', 'what', 'which'))} {clause[subject.end() :]}"
    elif ways:
        (start, end), word = rng.choice(ways)
        question = f"{word} {inverted((clause[:start] + clause[end:]).strip(' ,'))}"
    else:
        return None
    words = question.split()
    if not 4 <= len(words) <= 25:
        return None
    kept = words[:3] + [word for word in words[3:] if rng.random() > DROPPED]
    return " ".join(kept) + ("?" if rng.random() < 0.8 else "")


def inverted(clause: str) -> str:
    """The verb before the subject, as in a question."""
    if found := AUXILIARY.search(clause):
        return f"{found[1]} {clause[: found.start()]} {clause[found.end() :]}"
    if found := PAST.search(clause):
        return f"did {clause[: found.start()]} {found[1]} {clause[found.end() :]}"
    return clause
