"""Scientific papers in English, biology and medicine for the most part: their abstracts and sections.

Read from clones of public repositories that hold papers as JATS XML, each in a folder of $PAPERS, at the
commits named here. A paper is taken if it says itself that it is under CC BY or in the public domain (CC0),
and if it belongs to no collection that nano is measured on.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import sources
from textbooks import LIMITED, SHORTEST, git, packed, plain

PAPERS = Path(os.environ.get("PAPERS", "../papers"))
COMMITS = {
    "allofplos": "07fdeed848b2816a7fbf7da6418ef6e2076e1960",
    "ami": "77524a52dec5e652cb66fef64473f4f56ec5e064",
    "tigr2ess": "9612323fd84d69053c1477e4a224f4b85d4a5f4f",
}
MOST = 400
"""Papers looked at in a repository, evenly chosen."""
FREE = re.compile(
    r"creativecommons\.org/(licenses/by|publicdomain)/|Creative Commons Attribution Licen[sc]e|public domain"
)
UNREAD = frozenset({"table-wrap", "fig", "disp-formula", "tex-math", "fn", "list", "supplementary-material"})
REFERENCES = re.compile(r"\s*[\[(][\s,;–—-]*[\])]")
"""What is left of a citation's brackets."""

Article = tuple[str, list[str]]


class Papers(NamedTuple):
    """(title, [abstract]) of each paper, and (title, passages in order) of each section."""

    abstracts: list[Article]
    sections: list[Article]


def files(repository: Path, commit: str) -> Iterator[bytes]:
    """The XML files of a commit that are long enough to be papers, each only once."""
    listed = git(repository, "ls-tree", "-r", "-l", commit).decode().splitlines()
    blobs: dict[str, None] = {}
    for line in listed:
        _, _, blob, size, path = line.split(None, 4)
        if path.endswith(".xml") and size.isdigit() and int(size) > 20_000:
            blobs[blob] = None
    chosen = list(blobs)[:: -(-len(blobs) // MOST)]
    command = ["git", "-C", str(repository), "cat-file", "--batch"]
    told = subprocess.run(command, input="\n".join(chosen).encode(), capture_output=True, check=True).stdout
    stream = io.BytesIO(told)
    for _ in chosen:
        size = int(stream.readline().split()[2])
        yield stream.read(size)
        stream.read(1)


def unread(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] in UNREAD or element.get("ref-type") == "bibr"


def prose(element: ElementTree.Element | None) -> str:
    """The words of an element, without citations, tables and figures."""
    return "" if element is None else REFERENCES.sub("", plain(element, unread))


def free(paper: ElementTree.Element) -> bool:
    licences = paper.findall("front/article-meta/permissions/license")
    said = " ".join(
        value
        for licence in licences
        for part in licence.iter()
        for value in (*part.attrib.values(), *part.itertext())
    )
    return bool(FREE.search(said)) and not LIMITED.search(said.encode())


def key(title: str) -> str:
    return re.sub(r"\W+", "", title.lower())


def measured() -> set[str]:
    """Titles of what nano is measured on, as ``key`` writes them: the only thing of it that is looked at."""
    titles = {key(row["title"]) for row in sources.read_jsonl("eval/scifact-en/corpus.jsonl.gz")}
    lines = (
        row["text"].split("\n", 1)[0] for row in sources.read_jsonl("eval/covidqa-long-en/corpus.jsonl.gz")
    )
    return titles | set(map(key, lines))


def papers() -> Papers:
    """Raises CalledProcessError where a repository or its commit is missing."""
    found, known = Papers([], []), measured()
    for name, commit in COMMITS.items():
        for file in files(PAPERS / name, commit):
            try:
                paper = ElementTree.fromstring(file)
            except ElementTree.ParseError:  # entities of HTML
                continue
            title = prose(paper.find("front/article-meta/title-group/article-title"))
            if not title or key(title) in known or not free(paper):
                continue
            known.add(key(title))
            abstract = " ".join(prose(p) for p in paper.findall("front/article-meta/abstract[1]//p"))
            if len(abstract) > SHORTEST:
                found.abstracts.append((title, [abstract]))
            for section in paper.findall("body//sec"):
                own = prose(section.find("title"))
                texts = (prose(p) for p in section.findall("p"))
                if passages := packed(text for text in texts if len(text) >= SHORTEST):
                    found.sections.append((own if own.count(" ") > 2 else title, passages))
    return found
