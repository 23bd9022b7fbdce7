"""Documents into passages, as an index says and its model reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from ..datatypes import Document
from ..documents import FileDocument, Passage, Passages, Structure, split
from ..encoder import Encoder
from ..errors import DamagedIndexError, InvalidInputError, InvalidTypeError, remedy
from ..indexes import HeldDocument, StoredDocument
from ..records import Draft

__all__ = [
    "PassagesChoice",
    "Splitter",
    "Whole",
    "check_passages",
    "recorded_passages",
    "restored",
    "same_passages",
    "to_setting",
    "whole_of",
]

PassagesChoice = Passages | Literal["auto", "none"] | None
"""How documents are to be split; ``"auto"`` and None leave it to what they are, and to the index."""


def check_passages(passages: object, long_documents: str | None) -> PassagesChoice:
    """What a caller wants of passages.

    Raises
    ------
    InvalidInputError, InvalidTypeError
        If it is none of what it may be, or long documents are to be read in another way, too.
    """
    if passages is not None and not isinstance(passages, Passages) and passages not in ("auto", "none"):
        error = InvalidInputError if isinstance(passages, str) else InvalidTypeError
        raise error(f"passages must be 'auto', 'none' or Passages(…), not {passages!r:.80}")
    if isinstance(passages, Passages) and long_documents not in (None, "truncate"):
        option = remedy("long_documents=", "--long-documents")
        raise InvalidInputError(
            f"passages and {option}{long_documents!r} are two ways to read long documents: leave one out"
        )
    return passages


def to_setting(passages: Passages | None) -> dict[str, Any] | None:
    """How documents are split, as an index records it."""
    return None if passages is None else asdict(passages)


def recorded_passages(settings: Mapping[str, Any]) -> Passages | None:
    """How the documents of an index are split; None where they aren't."""
    setting = settings.get("passages")
    return None if setting is None else Passages(**{name: setting.get(name) for name in _NAMES})


_NAMES = ("tokens", "overlap", "headings")


class Whole(NamedTuple):
    """A whole document on its way into an index of passages; one without an id gets a number there.

    ``facts`` and ``structure`` as of :class:`StoredDocument`.
    """

    id: str | None
    document: Document
    facts: Mapping[str, Any]
    structure: Mapping[str, Any]

    def stored(self, id: str) -> StoredDocument:
        """As it is stored under an id."""
        return StoredDocument(id, self.document.text, self.document.metadata, self.facts, self.structure)

    def to_json(self) -> bytes:
        """As bytes, from which `from_json` makes the same."""
        whole = [self.id, self.document.id, self.document.text, dict(self.document.metadata)]
        return json.dumps([*whole, dict(self.facts), dict(self.structure)]).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Whole:
        """What `to_json` made bytes of."""
        id, name, text, metadata, facts, structure = json.loads(data)
        document = restored(StoredDocument(name, text, metadata, facts, structure))
        return cls(id, document, facts, structure)

    def is_held(self, held: StoredDocument) -> bool:
        """Whether an index holds just this."""
        same = self.document.text == held.text and _encode(self.structure) == _encode(held.structure)
        return same and all(
            _encode(given) == _encode(there)
            for given, there in ((self.document.metadata, held.metadata), (self.facts, held.facts))
        )


def _encode(values: Mapping[str, Any]) -> str:
    """JSON so that 1, 1.0 and True differ, and orders of keys don't."""
    return json.dumps(dict(values), sort_keys=True)


def whole_of(draft: Draft, facts: Mapping[str, Any] | None = None) -> Whole:
    """What was given as a document, with what it knows of its file, and further facts."""
    given = draft.document or Document(draft.id or "0", draft.text, draft.metadata)
    if not isinstance(given, FileDocument):
        return Whole(draft.id, given, dict(facts or {}), {})
    own = {"source": given.source, "format": given.format}
    known = {name: value for name, value in own.items() if value}
    structure = {} if given.structure == Structure() else given.structure.to_dict()
    return Whole(draft.id, given, {**known, **given.facts, **(facts or {})}, structure)


def restored(stored: StoredDocument) -> Document:
    """A document as it was given.

    Raises
    ------
    DamagedIndexError
        If its structure can't be.
    """
    text, facts = stored.text or "", dict(stored.facts)
    if not facts and not stored.structure:
        return Document(stored.id, text, stored.metadata)
    named = {name: str(facts.pop(name)) for name in ("source", "format") if name in facts}
    try:
        structure = Structure.from_dict(stored.structure) if stored.structure else Structure()
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedIndexError(
            f"index.db: the structure of the document {stored.id!r:.80} can't be ({error}); add it anew"
        ) from error
    return FileDocument(stored.id, text, stored.metadata, structure=structure, facts=facts, **named)


@dataclass(frozen=True)
class _Counter:
    """Counts tokens as an encoder does."""

    encoder: Encoder

    @property
    def limit(self) -> int:
        return self.encoder.document_room

    def count(self, texts: Sequence[str]) -> list[int]:
        return self.encoder.count_tokens(texts)


@dataclass(frozen=True)
class Splitter:
    """Splits documents.

    Parameters
    ----------
    encoder
        What will encode the passages.
    passages
        How long they are.
    """

    encoder: Encoder
    passages: Passages

    def split(self, document: Document) -> list[Passage]:
        """The passages of a document; of one without text an empty one, which holds its place."""
        found = split(document, _Counter(self.encoder), self.passages)  # type: ignore[arg-type]
        return found or [Passage(document.id, 1, 0, 0, "")]


def same_passages(passages: Sequence[Passage], held: HeldDocument) -> bool:
    """Whether a document's passages are just those that an index holds of it."""
    stored = {entry.passage.number: entry.passage for entry in held.passages if entry.passage is not None}
    if len(passages) != len(stored):
        return False
    for passage in passages:
        there = stored.get(passage.number)
        if there is None or (passage.start, passage.end, passage.headings, passage.context) != (
            there.start,
            there.end,
            there.headings,
            there.context,
        ):
            return False
        if passage.place.to_dict() != dict(there.place):
            return False
    return True
