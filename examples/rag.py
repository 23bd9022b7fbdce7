"""Retrieval-augmented answers over the bundled demo collection, offline and without a language model.

    python examples/rag.py "Where do the bubbles in a baguette come from?"

Without a language model the answer is the best sentence of the passages found. With one, give
`answer` a function from the prompt to its answer: ``answer(question, retriever, generate=ask)``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from lfm2_retrieval import Encoder, Hit, Retriever

QUESTIONS = [
    "Does leaving bread dough in the cold until tomorrow give it more taste?",
    "The underside of my tomato fruit turns black; should I spray against a disease?",
]


@dataclass(frozen=True)
class Answer:
    """An answer, the prompt that a language model gets, and the passages that it may cite as [1], [2], …"""

    text: str
    prompt: str
    sources: list[Hit]


def answer(
    question: str, retriever: Retriever, *, k: int = 3, generate: Callable[[str], str] | None = None
) -> Answer:
    """Retrieve ``k`` passages and answer from them with ``generate``, else with the best sentence."""
    sources = retriever.search(question, k)
    prompt = build_prompt(question, sources)
    if generate is not None:
        return Answer(generate(prompt), prompt, sources)
    return Answer(best_sentence(question, sources, retriever.encoder), prompt, sources)


def build_prompt(question: str, sources: list[Hit]) -> str:
    passages = "\n".join(f"[{hit.rank}] {title(hit)}: {passage(hit)}" for hit in sources)
    return (
        "Answer the question from the numbered sources only, and cite them like [1]. "
        f"If they don't answer it, say so.\n\nSources:\n{passages}\n\nQuestion: {question}\nAnswer:"
    )


def best_sentence(question: str, sources: list[Hit], encoder: Encoder) -> str:
    """The sentence with the highest MaxSim: for each query vector its best match, summed."""
    sentences = [
        (sentence, hit.rank) for hit in sources for sentence in re.split(r"(?<=[.!?])\s+", passage(hit))
    ]
    if not sentences:
        return "Nothing was found."
    [query] = encoder.encode_queries([question])
    vectors = encoder.encode_documents([sentence for sentence, _ in sentences])
    sentence, source = sentences[int(np.argmax([(query @ v.T).max(axis=1).sum() for v in vectors]))]
    return f"{sentence} [{source}]"


def title(hit: Hit) -> str:
    return str(hit.metadata["title"])


def passage(hit: Hit) -> str:
    """The text without the title, which was indexed in front of it."""
    return (hit.text or "").removeprefix(title(hit)).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions over the demo collection.")
    parser.add_argument("question", nargs="*", default=QUESTIONS)
    parser.add_argument("--model", default="nano")
    parser.add_argument("-k", type=int, default=3, help="passages to retrieve")
    arguments = parser.parse_args()

    corpus = files("lfm2_retrieval").joinpath("collections/demo-en/corpus.jsonl").read_text(encoding="utf-8")
    with Retriever.index(
        [json.loads(line) for line in corpus.splitlines()], model=arguments.model
    ) as retriever:
        for question in arguments.question:
            result = answer(question, retriever, k=arguments.k)
            print(f"Q: {question}\nA: {result.text}")
            for hit in result.sources:
                print(f"   [{hit.rank}] {title(hit)} ({hit.id}, {hit.score_kind} {hit.score:.2f})")
            print()
    print(f"What a language model would be asked, for the last one:\n\n{result.prompt}")


if __name__ == "__main__":
    main()
