"""Changes of documents as they are carried out: what has to be encoded, what only written, what neither."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from ..datatypes import Document, TokenEmbeddings
from ..encoder import Encoder
from ..errors import DuplicateIdError, InvalidInputError, InvalidTypeError
from ..indexes import Entry, OnConflict, Writer, encode_metadata, known_ids, unknown_ids
from ..json_values import is_absent, plain
from ..records import Columns, Source, as_mapping, document_of
from ..titles import Change, Replacement
from .encoding import encode_texts
from .ingest import check_same_model

__all__ = ["ChangeCounts", "Run", "Wanted", "parse_update"]


class ChangeCounts(int):
    """What a call did with the documents that it was given. As a number: how many there are now as given.

    Attributes
    ----------
    added
        How many are new.
    changed
        How many have another text or other metadata than before.
    unchanged
        How many were there as they were given, so that nothing was written.
    skipped
        How many were left out, as their ids were there; these don't count in the number.
    """

    added: int
    changed: int
    unchanged: int
    skipped: int

    def __new__(cls, added: int = 0, changed: int = 0, unchanged: int = 0, skipped: int = 0) -> Self:
        """Counts of nothing by default."""
        counts = super().__new__(cls, added + changed + unchanged)
        counts.added, counts.changed, counts.unchanged, counts.skipped = added, changed, unchanged, skipped
        return counts

    def to_dict(self) -> dict[str, int]:
        """The four counts by name."""
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
        }

    def plus(self, other: ChangeCounts) -> ChangeCounts:
        """The counts of both."""
        ours, others = self.to_dict(), other.to_dict()
        return ChangeCounts(*(ours[name] + others[name] for name in ours))

    def __getnewargs__(self) -> tuple[int, int, int, int]:  # type: ignore[override]
        return self.added, self.changed, self.unchanged, self.skipped

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={count}" for name, count in self.to_dict().items())
        return f"ChangeCounts({counts})"

    def __str__(self) -> str:
        return str(int(self))


class Wanted(NamedTuple):
    """What is to become of a document; without an id it is a new one that gets a number."""

    id: str | None
    change: Change | Replacement


class _Target(NamedTuple):
    """What a document is to be."""

    id: str | None
    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Documents that need vectors, with these; those that only get other metadata; and how many need neither.

    ``n_new`` of the first are new in the index.
    """

    encoded: list[_Target] = field(default_factory=list)
    embeddings: TokenEmbeddings | None = None
    n_new: int = 0
    others: list[_Target] = field(default_factory=list)
    unchanged: int = 0
    skipped: int = 0

    def vectors(self, texts: list[str]) -> TokenEmbeddings | None:
        """Those of some texts, if all of them were encoded."""
        places = {one.text: number for number, one in enumerate(self.encoded)}
        if self.embeddings is None or not set(texts) <= set(places):
            return None
        return self.embeddings.select([places[text] for text in texts])


@dataclass
class Run:
    """The carrying out of one call's changes. ``ids``: those that no document may get as a number."""

    encoder: Callable[[], Encoder]
    on_conflict: OnConflict | None
    ids: set[str]
    n_cut: int = field(default=0, init=False)

    def prepare(
        self, batch: list[Wanted], known: Mapping[str, Entry], before: _Prepared | None = None
    ) -> _Prepared:
        """Encode what has to be, given the documents that the index holds, unless it was done ``before``."""
        if (self.on_conflict == "error" and known) or (self.on_conflict is None and len(known) < len(batch)):
            return _Prepared()  # will be refused
        encoded: list[_Target] = []
        others: list[_Target] = []
        n_new = unchanged = skipped = 0
        for id, change in batch:
            entry = None if id is None else known.get(id)
            if entry is not None and self.on_conflict == "skip":
                skipped += 1
                continue
            stored = (None, {}) if entry is None else (entry.text, entry.metadata)
            text, metadata = change.apply(*stored)
            if entry is None or text != entry.text:
                encoded.append(_Target(id, text or "", metadata))
                n_new += entry is None
            elif _encode(metadata) != _encode(entry.metadata):
                others.append(_Target(id, text or "", metadata))
            else:
                unchanged += 1
        embeddings = None
        if encoded:
            texts = [one.text for one in encoded]
            embeddings = None if before is None else before.vectors(texts)
            if embeddings is None:
                embeddings, n_cut = encode_texts(self.encoder(), texts)
                self.n_cut += n_cut
        return _Prepared(encoded, embeddings, n_new, others, unchanged, skipped)

    def write(self, writer: Writer, batch: list[Wanted], guess: _Prepared | None = None) -> ChangeCounts:
        """Write a batch; what has no id gets its number here, under the lock."""
        named = [one.id for one in batch if one.id is not None]
        known = writer.find(named)
        if self.on_conflict == "error" and known:
            raise known_ids(list(known))
        if self.on_conflict is None and len(known) < len(batch):
            unknown = [id for id in named if id not in known]
            raise unknown_ids(unknown, "add() adds documents")
        done = self.prepare(batch, known, guess)
        if done.embeddings is not None:
            check_same_model(writer, self.encoder())
            ids = writer.fill_ids([one.id for one in done.encoded], self.ids)
            self.ids.update(ids)
            texts, metadata = [one.text for one in done.encoded], [one.metadata for one in done.encoded]
            writer.add(ids, done.embeddings, texts, metadata, on_conflict="replace")
        others = [one.id or "" for one in done.others]
        writer.update(others, metadata=[one.metadata for one in done.others])
        changed = len(done.encoded) - done.n_new + len(others)
        return ChangeCounts(done.n_new, changed, done.unchanged, done.skipped)


def _encode(metadata: Mapping[str, Any]) -> str:
    """Metadata so that 1, 1.0 and True differ, and orders of keys don't."""
    return json.dumps(dict(metadata), sort_keys=True)


def parse_update(source: Source, position: int, columns: Columns, seen: set[str]) -> Wanted:
    """What an update says is to become of a document whose id is none of those seen; then it is.

    Raises
    ------
    InvalidInputError
        If it can't be used, or its id comes twice.
    """
    row = None if isinstance(source, Document) else as_mapping(source)
    if row is None:
        if not isinstance(source, Document):
            raise InvalidTypeError(
                f"an update is a mapping with 'id' or a Document, not a {type(source).__name__} "
                f"(number {position} of those given)"
            )
        whole = document_of(source)
        wanted = Wanted(whole.id, Replacement(whole.text, whole.metadata))
    else:
        keys = {"id", "_id"} if columns.id is None else {columns.id}
        if all(is_absent(row.get(key)) for key in keys):
            raise InvalidInputError(
                f"an update needs the document's id; document {position} has {sorted(map(str, row))}"
                + (": id= names the column" if columns.id is None else "")
            )
        rest = dict(row)
        title = None if "title" in (columns.text, columns.id) else rest.pop("title", None)
        text = rest.get(columns.text)
        whole = document_of({**rest, columns.text: "" if is_absent(text) else text}, 0, position, columns)
        given = set(rest) - keys - {columns.text}
        if columns.metadata is not None:
            given &= set(columns.metadata)
        change = Change(
            None if is_absent(text) else whole.text,
            whole.metadata if given else None,
            None if is_absent(title) else plain(title),
        )
        wanted = Wanted(whole.id, change)
    if whole.id in seen:
        raise DuplicateIdError(f"the document id {whole.id[:80]!r} comes twice; ids must be unique")
    seen.add(whole.id)
    encode_metadata(whole.id, whole.metadata)  # refuses what the index can't store
    return wanted
