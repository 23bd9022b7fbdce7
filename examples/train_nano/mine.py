"""Stage 2's data: English pseudo-queries with a positive and BM25's best wrong passages.

    python examples/train_nano/mine.py WORK --queries 12000

With ``--textbooks``, as many again are made of textbooks, which also ask questions of their own; with
``--papers``, of scientific papers, half of them of their abstracts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import bm25s
import papers
import sources
import textbooks

NEGATIVES = 5
LIKELY, SURE = 1.0, 5.0
"""What a positive gets beside the ranking: more where the rest of the article is known to be wrong."""
DEFINITION = re.compile(r"^.{3,80}? (is|was|are|were) (an?|the|one of) (.{20,160}?)[.;,]")

Article = tuple[str, list[str]]
Group = dict[str, Any]


class QueryMaker:
    """Queries of several kinds from a passage of an article."""

    def __init__(self, rng: random.Random, frequency: Counter[str]) -> None:
        self.rng, self.frequency = rng, frequency

    def make(self, title: str, passages: list[str], at: int) -> tuple[str, str]:
        """A query and the passage that it should find."""
        passage, draw = passages[at], self.rng.random()
        titled = f"{title}. {passage}"
        if draw < 0.2:
            return title, passage if self.rng.random() < 0.7 else titled
        defined = DEFINITION.match(passage) if at == 0 else None
        if defined and draw < 0.7:
            verb, _, predicate = defined.groups()
            opening = self.rng.choice((f"who {verb} the ", f"which one {verb} a ", "", "name the "))
            return opening + predicate, titled
        parts = sources.sentences(passage)
        if len(parts) > 2 and draw < 0.75:
            sentence = self.rng.choice(parts)
            rest = " ".join(part for part in parts if part is not sentence)
            words = sentence.split()
            start = self.rng.randrange(max(1, len(words) - 6))
            query = (
                sentence
                if self.rng.random() < 0.4
                else " ".join(words[start : start + self.rng.randint(5, 12)])
            )
            return query[:200], f"{title}. {rest}" if self.rng.random() < 0.6 else rest
        words = list(dict.fromkeys(re.findall(r"\w{4,}", passage)))
        words.sort(key=lambda word: self.frequency[word.lower()])
        chosen = self.rng.sample(words[:15], min(len(words[:15]), self.rng.randint(2, 5)))
        return " ".join(chosen) or title, titled


def asked(articles: list[Article], count: int, rng: random.Random) -> list[Group]:
    """Questions by rule, each with its passage and others of the same article, in which it isn't answered."""
    longer = [article for article in articles if len(article[1]) >= 3]
    groups: list[Group] = []
    while len(groups) < count:
        title, passages = rng.choice(longer)
        opening = f"{title}. " if rng.random() < 0.6 else ""
        at = rng.randrange(len(passages))
        sentences = sources.sentences(passages[at])[0 if at == 0 else 1 :]  # a passage may begin within one
        question = asking.ask(rng.choice(sentences), title, rng) if sentences else None
        if question:
            others = [opening + passage for i, passage in enumerate(passages) if i != at]
            negatives = rng.sample(others, min(len(others), NEGATIVES))
            positive = opening + passages[at]
            groups.append({"query": question, "positive": positive, "negatives": negatives, "better": SURE})
    return groups


def made(articles: list[Article], count: int, rng: random.Random) -> Iterator[Group]:
    """Pseudo-queries, each with its passage and BM25's best of other articles."""
    places = [(article, at) for article, (_, passages) in enumerate(articles) for at in range(len(passages))]
    texts = [f"{articles[article][0]}. {articles[article][1][at]}" for article, at in places]
    frequency = Counter(word for text in texts for word in set(re.findall(r"\w{4,}", text.lower())))
    maker = QueryMaker(rng, frequency)
    chosen = rng.sample(range(len(places)), count)
    pairs = [maker.make(*articles[places[i][0]], places[i][1]) for i in chosen]
    negatives = neighbours(texts, [query for query, _ in pairs])
    for i, (query, positive), found in zip(chosen, pairs, negatives, strict=True):
        others = [texts[j] for j in found if places[j][0] != places[i][0]][:NEGATIVES]
        yield {"query": query, "positive": positive, "negatives": others, "better": LIKELY}


def meetings(rng: random.Random) -> Iterator[Group]:
    pairs = sources.questions("qmsum-passages-en-train")
    corpus = list(dict.fromkeys(text for _, positives in pairs for text in positives))
    negatives = neighbours(corpus, [query for query, _ in pairs])
    for (query, positives), found in zip(pairs, negatives, strict=True):
        others = [corpus[j] for j in found if corpus[j] not in positives][:NEGATIVES]
        yield {"query": query, "positive": rng.choice(positives), "negatives": others, "better": LIKELY}


def unanswered(
    articles: list[Article], questions: list[str], count: int, rng: random.Random
) -> Iterator[Group]:
    """Textbooks' questions with BM25's best passages, of which nothing says which one answers them."""
    texts = [f"{title}. {passage}" for title, passages in articles for passage in passages]
    chosen = rng.sample(questions, count)
    for query, found in zip(chosen, neighbours(texts, chosen), strict=True):
        first, *others = (texts[j] for j in found[: NEGATIVES + 1])
        yield {"query": query, "positive": first, "negatives": others, "better": 0.0}


def of_textbooks(count: int, rng: random.Random) -> Iterator[Group]:
    articles, questions = textbooks.books()
    yield from made(articles, count, rng)
    yield from asked(articles, count // 2, rng)
    yield from unanswered(articles, questions, count // 2, rng)


def of_papers(count: int, rng: random.Random) -> Iterator[Group]:
    abstracts, sections = papers.papers()
    rounds = -(-count // (2 * len(abstracts)))
    for _ in range(rounds):  # an abstract has several queries, but is never wrong for its own
        yield from made(abstracts, count // (2 * rounds), rng)
    yield from made(sections, count // 2, rng)
    yield from asked(sections, count // 4, rng)


def mine(arguments: argparse.Namespace, seed: int = 0) -> None:
    rng = random.Random(seed)
    articles = sources.wiki_articles()
    groups = [
        *made(articles, arguments.queries, rng),
        *meetings(rng),
        *asked(articles, arguments.questions, rng),
    ]
    if arguments.textbooks:
        groups += of_textbooks(arguments.textbooks, rng)
    if arguments.papers:
        groups += of_papers(arguments.papers, rng)
    with (arguments.work / "groups.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(group) + "\n" for group in groups)


def neighbours(texts: list[str], queries: list[str]) -> list[list[int]]:
    """The BM25 top ten of each query, as positions in ``texts``."""
    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(queries, stopwords="en", show_progress=False)
    found, _ = index.retrieve(tokens, k=10, show_progress=False)
    return found.tolist()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--queries", type=int, default=12_000)
    parser.add_argument("--questions", type=int, default=0, help="made by rule, beside those")
    parser.add_argument("--textbooks", type=int, default=0, help="of textbooks, and as many questions")
    parser.add_argument("--papers", type=int, default=0, help="of papers, and a quarter as many questions")
    mine(parser.parse_args())
