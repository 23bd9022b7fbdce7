"""What the answering examples share: a folder becomes an index, and passages an answer with citations."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from lfm2_retrieval import Retriever
from lfm2_retrieval.documents import Passages

QUESTION = "how much does a night cost for a boat of nine metres?"
PROMPT = """Answer the question from the numbered sources only, and cite them like [1].
If they don't answer it, say so.

{sources}

Question: {question}
Answer:"""

Found = tuple[str, Mapping[str, Any]]
"""A passage, and where it lies: what stands under ``lfm2`` in every framework's metadata."""


def arguments(description: str) -> argparse.Namespace:
    """What each of the examples takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--folder", default=Path(__file__).parent / "harbour", help="files of any kind")
    parser.add_argument("--index", help="where to keep the index, for the next question")
    parser.add_argument("--model", default="nano", help="or LiquidAI/LFM2-ColBERT-350M, or a folder")
    parser.add_argument("--url", help="an OpenAI-compatible endpoint, such as http://localhost:11434/v1")
    parser.add_argument("--chat-model", default="default", help="what it calls the language model")
    return parser.parse_args()


def index_folder(given: argparse.Namespace) -> Retriever:
    """The index of a folder, brought to what the folder holds now."""
    retriever = Retriever.index(
        [], given.index, model=given.model, passages=Passages(tokens=64), if_exists="append"
    )
    retriever.sync(given.folder)
    return retriever


def answer(question: str, found: list[Found], write: Callable[[str, list[str]], str]) -> str:
    """An answer that cites passages by number, and below it what the numbers open."""
    if not found:
        return "Nothing was found."
    told = write(question, [text for text, _ in found])
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", told)}
    return "\n".join([told, *(f"[{n}] {link(place)}" for n, (_, place) in enumerate(found, 1) if n in cited)])


def writer(given: argparse.Namespace, retriever: Retriever) -> Callable[[str, list[str]], str]:
    """What writes the answer: a language model where one is named, else the sentence that answers best."""
    if given.url is not None:
        return lambda question, texts: chat(given, [prompt(question, texts)])["content"]
    return lambda question, texts: best_sentence(question, texts, retriever)


def best_sentence(question: str, texts: list[str], retriever: Retriever) -> str:
    """The sentence of the highest MaxSim, and its passage's number."""
    sentences = [
        (sentence.strip(), number)
        for number, text in enumerate(texts, 1)
        for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
        if sentence.strip()
    ]
    [best] = retriever.rerank(question, [sentence for sentence, _ in sentences], k=1)
    sentence, number = sentences[int(best.id)]
    return f"{sentence} [{number}]"


def prompt(question: str, texts: list[str]) -> dict[str, str]:
    """The message that a language model gets."""
    sources = "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, 1))
    return {"role": "user", "content": PROMPT.format(sources=sources, question=question)}


def chat(given: argparse.Namespace, messages: list[Any], tools: list[Any] | None = None) -> dict[str, Any]:
    """The next message of a language model, at any endpoint that speaks OpenAI's protocol."""
    body = {"model": given.chat_model, "messages": messages} | ({"tools": tools} if tools else {})
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{given.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
    with urlopen(request, timeout=120) as reply:
        message: dict[str, Any] = json.load(reply)["choices"][0]["message"]
        return message


def link(place: Mapping[str, Any]) -> str:
    """What a terminal or a browser opens, at the page or with the line, and the place in words."""
    source = place.get("source")
    if source is None:
        return str(place.get("document_id", ""))
    at = f"#page={place['page']}" if "page" in place else f"#L{place['lines'][0]}" if "lines" in place else ""
    told = ", ".join([*filter(None, [place.get("place")]), *place.get("headings", ())])
    return f"{Path(source).as_uri()}{at}" + (f" ({told})" if told else "")
