"""Titles: where a document comes with one, it stands in front of the text, and is kept as metadata, too.

The index stores one text and no border in it. So whether the title stands in front is seen from the stored
text itself, which holds for indexes made by any version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "Replacement", "join", "split"]


def join(title: object, text: str) -> str:
    """The text behind its title, if that is a string and not empty."""
    return f"{title} {text}".strip() if isinstance(title, str) and title else text


def split(title: object, text: str) -> str | None:
    """What follows the title that a text begins with; None if it doesn't."""
    if not isinstance(title, str) or not title.strip():
        return None
    if text == title.strip():
        return ""
    front = title.lstrip() + " "
    return text[len(front) :] if text.startswith(front) else None


@dataclass(frozen=True, slots=True)
class Replacement:
    """Text and metadata in the place of what there is, as they are given."""

    text: str
    metadata: Mapping[str, Any]

    def apply(self, text: str | None, metadata: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Text and metadata after the change."""
        return self.text, self.metadata


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a document's title, text and metadata.

    Parameters
    ----------
    text, title
        None: as it is.
    metadata
        In the place of those that there are, which a title is none of; None: as they are.
    """

    text: str | None = None
    metadata: Mapping[str, Any] | None = None
    title: Any = None

    def apply(self, text: str | None, metadata: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
        """Text and metadata after the change. A title that stood in front does so afterwards."""
        before = metadata.get("title")
        body = None if text is None else split(before, text)
        after = metadata
        if self.metadata is not None:
            after = {**({} if body is None else {"title": before}), **self.metadata}
        if self.title is not None and "title" not in (self.metadata or {}):
            after = {**after, "title": self.title}
        title = after.get("title")
        if self.text is not None:
            if self.title is not None:
                return join(self.title, self.text), after
            return self.text if body is None else join(title, _bare(self.text, before, title, body)), after
        if text is not None and body is not None:
            return (text if title == before else join(title, body)), after
        if text is not None and self.title is not None and not before:
            return join(title, text), after
        return text, after


def _bare(text: str, before: object, after: object, body: str) -> str:
    """A new text without the title that it may begin with: people take the stored one, and change that.

    Where what followed the title began with it once more, a text that begins with it once has none in front.
    """
    for title in (before, after):
        rest = split(title, text)
        if rest is not None and (split(title, body) is None or split(title, rest) is not None):
            return rest
    return text
