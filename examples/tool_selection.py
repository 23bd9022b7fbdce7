"""Which of 143 tools fits a request: ``python examples/tool_selection.py "is my flight late?"``.

A language model chooses better, and cheaper, among five tools than among all of them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from lfm2_retrieval import Retriever

HERE = Path(__file__).parent


def rows(name: str) -> list[list[str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))


parser = argparse.ArgumentParser(description="Find the tools that fit a request.")
parser.add_argument("request", nargs="?", default="is my flight late?")
parser.add_argument("--model", default="nano")
parser.add_argument("-k", type=int, default=5, help="how many tools the language model gets")
given = parser.parse_args()

tools = [{"id": name, "text": f"{name.replace('_', ' ')}: {told}"} for name, told in rows("tools.tsv")]
with Retriever.index(tools, model=given.model) as retriever:
    for hit in retriever.search(given.request, k=given.k):
        print(f"{hit.score:6.2f}  {hit.id}: {(hit.text or '').partition(': ')[2]}")
    asked = rows("tool_requests.tsv")
    found = retriever.search([request for request, _ in asked], k=given.k)
    places = [[hit.id for hit in hits] for hits in found]
    first = sum(wanted in ids[:1] for (_, wanted), ids in zip(asked, places, strict=True))
    among = sum(wanted in ids for (_, wanted), ids in zip(asked, places, strict=True))
    print(f"\nof {len(asked)} requests: the right tool is first for {first}, among {given.k} for {among}")
