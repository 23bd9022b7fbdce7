"""Textbooks of OpenStax, in English: their passages and the questions that they ask.

Read from clones of their repositories, one in each folder of $TEXTBOOKS, at the newest commit at which the
book was under CC BY 4.0 (many came under CC BY-NC-SA later).
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

TEXTBOOKS = Path(os.environ.get("TEXTBOOKS", "../textbooks"))
LIMITED = re.compile(rb"by-nc|by-sa|by-nd|non-?commercial|share-?alike", re.IGNORECASE)
LENGTH, SHORTEST = 650, 40
"""Characters of a passage, about, and of the least that is a paragraph."""

_CNXML = "{http://cnx.rice.edu/cnxml}"
_MATHEMATICS = "{http://www.w3.org/1998/Math/MathML}math"


def git(repository: Path, *arguments: str, check: bool = True) -> bytes:
    return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=check).stdout


def free_commit(repository: Path) -> str:
    """The newest commit at which nothing says another licence than CC BY 4.0.

    Raises ValueError if there is none.
    """
    for commit in git(repository, "rev-list", "HEAD").decode().split():
        named = git(repository, "grep", "-hi", "creativecommons", commit, "--", "collections", check=False)
        files = (
            git(repository, "show", f"{commit}:{name}", check=False) for name in ("LICENSE", "README.md")
        )
        if b"licenses/by/4.0" in named and not LIMITED.search(b"".join([named, *files])):
            return commit
    raise ValueError(f"{repository} was never under CC BY 4.0")


def modules(repository: Path) -> Iterator[ElementTree.Element]:
    packed = git(repository, "archive", free_commit(repository), "modules")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if member.name.endswith(".cnxml"):
                yield ElementTree.parse(archive.extractfile(member)).getroot()


def footnote(element: ElementTree.Element) -> bool:
    return element.tag == f"{_CNXML}footnote"


def plain(element: ElementTree.Element, unread: Callable[[ElementTree.Element], bool] = footnote) -> str:
    """The words of an element, formulas as they are read, without what is ``unread`` in it."""
    return " ".join("".join(words(element, unread)).split())


def words(element: ElementTree.Element, unread: Callable[[ElementTree.Element], bool]) -> Iterator[str]:
    if element.tag == _MATHEMATICS:
        yield " ".join("".join(element.itertext()).split())
    else:
        yield element.text or ""
        for child in element:
            if not unread(child):
                yield from words(child, unread)
            yield child.tail or ""


def books() -> tuple[list[tuple[str, list[str]]], list[str]]:
    """(title, passages in order) of each chapter's parts, and questions.

    Raises FileNotFoundError where there are no textbooks, ValueError if one was never free.
    """
    articles, questions = [], []
    for repository in sorted(TEXTBOOKS.iterdir()):
        for module in modules(repository):
            title = " ".join((module.findtext(f"{_CNXML}title") or "").split())
            paragraphs = [plain(p) for p in module.iter(f"{_CNXML}para")]
            questions += [text for text in paragraphs if text.endswith("?") and len(text) < 200]
            others = [plain(p) for name in ("caption", "meaning") for p in module.iter(_CNXML + name)]
            if passages := packed(text for text in paragraphs + others if len(text) >= SHORTEST):
                articles.append((title, passages))
    return articles, questions


def packed(texts: Iterator[str]) -> list[str]:
    """Paragraphs put together until they are a passage."""
    passages, passage = [], ""
    for text in texts:
        passage = f"{passage} {text}".strip()
        if len(passage) >= LENGTH:
            passages.append(passage)
            passage = ""
    return passages + [passage] * bool(passage)
