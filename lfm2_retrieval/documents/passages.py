"""Passages of documents: sections where they fit, else parts of them, that begin and end where a text allows.

A section that fits is one passage, with those below it. Of one that doesn't, its own text becomes passages,
and each section below is treated alike; a heading that stands alone goes with what follows. So an edit
changes the passages of its section, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..datatypes import Document
from ..errors import InvalidInputError, InvalidTypeError
from ..hits import encode_front
from .file_document import FileDocument
from .splitting import Span, TokenCounter, split_span, without_surrogates
from .structure import Heading, Place, Places, Structure

__all__ = ["Passage", "Passages", "TokenCounter", "TokenizerCounter", "keep_numbers", "passage_key", "split"]

_LEAST = 16
"""How many tokens a passage has room for at least, beside its headings."""
_AT_ONCE = 1 << 18
_SHARE = 4
"""The headings in front of a passage take one part in so many of its tokens at most."""


@dataclass(frozen=True, slots=True)
class Passages:
    """How documents are split.

    Parameters
    ----------
    tokens
        How many tokens a passage has at most, headings in front of it included; None: as many as are encoded.
    overlap
        How many tokens the end of one part of a section has in common with the next, about.
    headings
        Whether the path of headings above a passage is encoded in front of it.

    Raises
    ------
    InvalidInputError
        If there are too few tokens, or the overlap is no less than half of them.
    """

    tokens: int | None = None
    overlap: int = 0
    headings: bool = True

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("overlap", self.overlap)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InvalidTypeError(f"{name} is a whole number, not {value!r:.80}")
        if self.tokens is not None and self.tokens < _LEAST:
            raise InvalidInputError(f"a passage has at least {_LEAST} tokens, not {self.tokens}")
        if self.overlap < 0 or (self.tokens is not None and 2 * self.overlap >= self.tokens):
            raise InvalidInputError(
                f"overlap={self.overlap}: passages overlap by less than half of their tokens"
                + (f", {self.tokens}" if self.tokens is not None else "")
            )


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, which is what is encoded and found.

    Parameters
    ----------
    document_id, number
        Whose, and which one.
    start, end
        Its span: ``document.text[start:end]`` is its text.
    text
        The text.
    headings
        The titles of the headings above it and of its own, the highest first.
    context
        Those of them that are encoded in front of it: all that are not in the text itself.
    place
        Where it lies in the file.
    """

    document_id: str
    number: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    place: Place = field(default_factory=Place)

    @property
    def id(self) -> str:
        """That of the document with the number, such as ``guide.md#12``."""
        return f"{self.document_id}#{self.number}"

    @property
    def encoded(self) -> str:
        """What is encoded: the path of headings, and the text."""
        return encode_front(self.context) + self.text

    @property
    def key(self) -> str:
        """A digest of what is encoded: passages of one key have the same vectors, whatever their place."""
        return passage_key(self.encoded)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "id": self.id,
            "document_id": self.document_id,
            "number": self.number,
            "span": [self.start, self.end],
            "text": self.text,
            "headings": list(self.headings),
            "place": self.place.to_dict(),
        }


class TokenizerCounter:
    """Counts the tokens of a tokenizer of Hugging Face's ``tokenizers``, or a fast one of ``transformers``.

    Parameters
    ----------
    tokenizer
        It has ``encode_batch``, or a ``backend_tokenizer`` that does.
    limit
        How many tokens of a text are encoded, special ones apart.
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self._tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self.limit = limit

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has; one that is cut, as the tokenizer is set up, counts as cut."""
        clean = [without_surrogates(text) for text in texts]
        return [len(one.ids) for one in self._tokenizer.encode_batch(clean, add_special_tokens=False)]


@dataclass(slots=True)
class _Section:
    """A heading with its own text, up to the next heading, and the sections below it."""

    heading: Heading | None
    start: int
    body: int
    """Where the text behind the heading begins."""
    own_end: int = 0
    end: int = 0
    tokens: int = 0
    """Of all of it, those below included."""
    children: list[_Section] = field(default_factory=list)


def passage_key(encoded: str) -> str:
    """A digest of what is encoded of a passage."""
    return hashlib.blake2b(encoded.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def split(document: Document, counter: TokenCounter, passages: Passages | None = None) -> list[Passage]:
    """The passages of a document, in its order.

    A document that fits is one passage; one without text has none. All text but white space is in a passage.

    Parameters
    ----------
    document
        Of any kind; that of a :class:`FileDocument` has headings, which passages follow.
    counter
        Counts tokens as the model does.
    passages
        How long they are.
    """
    passages = passages or Passages()
    limit = counter.limit if passages.tokens is None else min(passages.tokens, counter.limit)
    if limit < _LEAST:
        raise InvalidInputError(f"a passage has at least {_LEAST} tokens, and the model reads {limit}")
    if 2 * passages.overlap >= limit:
        raise InvalidInputError(f"overlap={passages.overlap} is no less than half of the {limit} tokens read")
    structure = document.structure if isinstance(document, FileDocument) else Structure()
    splitter = _Splitter(document, structure, counter, passages, limit)
    return splitter.run()


class _Splitter:
    def __init__(
        self, document: Document, structure: Structure, counter: TokenCounter, passages: Passages, limit: int
    ) -> None:
        self._text = document.text
        self._document = document
        self._structure = structure
        self._counter = counter
        self._passages = passages
        self._limit = limit
        self._found: list[tuple[Span, tuple[str, ...], tuple[str, ...]]] = []
        title = document.metadata.get("title")
        self._title = " ".join(title.split())[:200] if isinstance(title, str) else ""
        self._room: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}

    def run(self) -> list[Passage]:
        """All passages."""
        root = self._sections()
        self._count(root)
        self._place(root)
        places = Places(self._text, self._structure)
        return [
            Passage(
                self._document.id,
                number,
                start,
                end,
                self._text[start:end],
                headings,
                context,
                places.of(start, end),
            )
            for number, ((start, end), headings, context) in enumerate(self._found, 1)
        ]

    def _sections(self) -> _Section:
        """The sections as a tree."""
        root = _Section(None, 0, 0)
        stack = [root]
        position = 0
        for heading in self._structure.headings:
            if not position <= heading.start < heading.end <= len(self._text):
                continue  # none that a reader of ours gives
            stack[-1].own_end = heading.start
            while len(stack) > 1 and (above := stack[-1].heading) and above.level >= heading.level:
                stack.pop().end = heading.start
            section = _Section(heading, heading.start, heading.end)
            stack[-1].children.append(section)
            stack.append(section)
            position = heading.end
        stack[-1].own_end = len(self._text)
        for section in stack:
            section.end = len(self._text)
        return root

    def _count(self, root: _Section) -> None:
        """Count the tokens of all sections, those below first."""
        order = [root]
        for section in order:
            order.extend(section.children)
        texts = [self._text[section.start : section.own_end] for section in order]
        # What is far too long is not counted as a whole; it is split in any case.
        longest = self._limit * 64
        counts = iter(self._counted([text for text in texts if len(text) <= longest]))
        for section, text in zip(order, texts, strict=True):
            section.tokens = next(counts) if len(text) <= longest else len(text)
        for section in reversed(order):
            section.tokens += sum(child.tokens for child in section.children)

    def _counted(self, texts: Sequence[str]) -> list[int]:
        """How many tokens texts have, not too many of them counted at once."""
        counts: list[int] = []
        batch: list[str] = []
        length = 0
        for text in texts:
            batch.append(text)
            length += len(text)
            if length > _AT_ONCE:
                counts += self._counter.count(batch)
                batch, length = [], 0
        return counts + list(self._counter.count(batch)) if batch else counts

    def _place(self, root: _Section) -> None:
        """Make passages of all sections, in order."""
        # ``start`` lies before a section where headings stand alone above it, so many as ``alone``.
        stack: list[tuple[_Section, tuple[str, ...], int, int]] = [(root, (), 0, 0)]
        while stack:
            section, path, start, alone = stack.pop()
            titles = path if section.heading is None else (*path, section.heading.title)
            above = path[: len(path) - alone]
            context, room = self._front(above)
            lead = self._counted([self._text[start : section.start]])[0] if start < section.start else 0
            if section.tokens + lead <= room and self._fits(start, section.end, room):
                self._add(start, section.end, titles, context)
                continue
            bare = bool(section.children) and not self._text[section.body : section.own_end].strip()
            if not bare:
                self._split(start, section, titles, above)
            for i in range(len(section.children) - 1, -1, -1):
                child = section.children[i]
                if bare and i == 0:
                    stack.append((child, titles, start, alone + (section.heading is not None)))
                else:
                    stack.append((child, titles, child.start, 0))

    def _front(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """What is encoded in front of a passage, and how many tokens that leaves."""
        if path not in self._room:
            context = path
            if self._title and self._title not in path[:1] and not self._begins_with_title():
                context = (self._title, *path)
            if not self._passages.headings:
                context = ()
            taken = 0
            while context:
                taken = self._counted([encode_front(context)])[0] + 1
                if taken <= self._limit // _SHARE:
                    break
                context, taken = context[1:], 0
            self._room[path] = context, self._limit - taken
        return self._room[path]

    def _begins_with_title(self) -> bool:
        return bool(self._title) and self._title in self._text[: len(self._title) + 80]

    def _fits(self, start: int, end: int, room: int) -> bool:
        return end - start <= room * 64 and self._counted([self._text[start:end]])[0] <= room

    def _split(self, start: int, section: _Section, titles: tuple[str, ...], above: tuple[str, ...]) -> None:
        """Passages of a section's own text; all but the first have its heading in front of them."""
        own, room = self._front(titles)
        first, first_room = self._front(above)
        body, end = section.body, section.own_end
        lead = self._counted([self._text[start:body]])[0] + 1 if start < body else 0
        room = min(room, first_room)
        if lead > room // _SHARE:  # so much that it is split, too
            body, lead = start, 0
        spans = split_span(
            self._text,
            (body, end),
            self._structure.kind,
            self._counter,
            room=room - lead,
            overlap=min(self._passages.overlap, (room - lead) // 2 - 1),
        )
        for i, (left, right) in enumerate(spans):
            if i or not self._fits(start, right, first_room):
                if not i and start < body:
                    self._add(start, body, titles, first)
                self._add(left, right, titles, own if i else first)
            else:
                self._add(start, right, titles, first)

    def _add(self, start: int, end: int, titles: tuple[str, ...], context: tuple[str, ...]) -> None:
        """A passage, without the empty lines around it."""
        text = self._text[start:end]
        end = start + len(text.rstrip())
        if end <= start:
            return
        blank = len(text) - len(text.lstrip())
        line = text.rfind("\n", 0, blank) + 1
        begins_line = line or start == 0 or self._text[start - 1] == "\n"
        start += line if begins_line else blank  # how far its first line is indented stays
        self._found.append(((start, end), titles, context))


def keep_numbers(passages: Iterable[Passage], before: Mapping[str, Iterable[int]]) -> list[Passage]:
    """Passages of a changed document under the numbers that those had which stayed.

    Parameters
    ----------
    passages
        All of the document as it is now.
    before
        The numbers that it had, by key.

    Returns
    -------
    list of Passage
        The same, in the same order; what is new gets numbers that none had.
    """
    left = {key: sorted(numbers, reverse=True) for key, numbers in before.items()}
    last = max((number for numbers in left.values() for number in numbers), default=0)
    kept = []
    for passage in passages:
        numbers = left.get(passage.key)
        if numbers:
            number = numbers.pop()
        else:
            last += 1
            number = last
        kept.append(replace(passage, number=number))
    return kept
