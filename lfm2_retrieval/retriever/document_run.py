"""Changes of whole documents in an index of passages: what has to be encoded, and what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..datatypes import TokenEmbeddings
from ..documents import Passage, keep_numbers, passage_key
from ..encoder import Encoder
from ..indexes import HeldDocument, Writer, passage_id
from .encoding import encode_texts
from .ingest import check_same_model
from .pieces import part
from .splitting import Splitter, Whole, same_passages

__all__ = ["DocumentCounts", "DocumentRun", "VectorCache"]

_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 1 << 18


class VectorCache(Protocol):
    """Keeps vectors of passages for another run, should this one be killed."""

    def get(self, keys: Sequence[str]) -> Sequence[TokenEmbeddings | None]:
        """Of each key of a passage its vectors, of one text, as they were put; None where there are none."""

    def put(self, keys: Sequence[str], embeddings: TokenEmbeddings) -> None:
        """Keep the vectors of passages, float16, one text a key."""


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """What became of documents, and of their passages.

    Parameters
    ----------
    added, changed, unchanged, renamed, deleted
        Documents. One that was renamed and changed counts in both.
    encoded, kept
        Passages of those added and changed: those that were encoded, and those whose vectors stayed. What
        came out of a cache counts as kept.
    tokens
        Vectors of those encoded.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    renamed: int = 0
    deleted: int = 0
    encoded: int = 0
    kept: int = 0
    tokens: int = 0

    def plus(self, other: DocumentCounts) -> DocumentCounts:
        """The counts of both."""
        ours, others = self.to_dict(), other.to_dict()
        return DocumentCounts(**{name: ours[name] + others[name] for name in ours})

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class _Plan(NamedTuple):
    """What is to become of a document: its passages that stay, by their ids, and those to be encoded."""

    whole: Whole
    kept: Mapping[str, Passage]
    new: list[Passage]
    is_new: bool


_Vectors = dict[str, TokenEmbeddings]
"""By key of the passage."""


@dataclass
class DocumentRun:
    """The carrying out of one call's changes.

    Parameters
    ----------
    load
        Loads the encoder, when it is needed.
    splitter
        Splits documents as the index says, once there is an encoder.
    ids
        Those that no document may get as a number.
    cache
        Where vectors may come from, and go to.
    """

    load: Callable[[], Encoder]
    splitter: Callable[[Encoder], Splitter]
    ids: set[str]
    cache: VectorCache | None = None
    _ready: _Vectors = field(default_factory=dict, init=False)
    _encoded: tuple[int, int] = field(default=(0, 0), init=False)

    def guess(self, batch: Sequence[Whole], held: Mapping[str, HeldDocument]) -> None:
        """Encode what seems to be needed, without the lock; `write` takes what proves right."""
        self._encode_ahead(self._plan(batch, held))

    def encode_into_cache(
        self, batch: Sequence[Whole], held: Mapping[str, HeldDocument]
    ) -> tuple[DocumentCounts, bool]:
        """Encode what seems to be needed, without the lock, for the cache alone.

        Returns
        -------
        tuple
            What would become of the batch, but for passages kept; and whether the cache keeps vectors still.
        """
        plans = self._plan(batch, held)
        keeps = True
        for passages in _batches(passage for plan in plans for passage in plan.new):
            self._vectors(passages)
            keeps = self.cache is not None and self.cache.get([passages[-1].key])[0] is not None
            if not keeps:
                break
        (encoded, tokens), self._encoded = self._encoded, (0, 0)
        added = sum(plan.is_new for plan in plans)
        changed, unchanged = len(plans) - added, len(batch) - len(plans)
        counts = DocumentCounts(added, changed, unchanged, encoded=encoded, tokens=tokens)
        return counts, keeps

    def write(self, writer: Writer, batch: Sequence[Whole]) -> DocumentCounts:
        """Put a batch of documents into the index, each in the place of what has its id."""
        held = writer.find_documents([whole.id for whole in batch if whole.id is not None])
        plans = self._plan(batch, held)
        added = sum(plan.is_new for plan in plans)
        if plans:
            check_same_model(writer, self.load())
            ids = writer.fill_ids([plan.whole.id for plan in plans], self.ids)
            self.ids.update(ids)
            self._encode_ahead(plans)
            for plan, id in zip(plans, ids, strict=True):
                opened = writer.put_document(plan.whole.stored(id), plan.kept)
                for passages in _batches(plan.new):
                    vectors = self._vectors(passages)
                    found = [vectors[passage.key] for passage in passages]
                    writer.add_passages(opened, passages, TokenEmbeddings.concatenate(found))
        encoded, tokens = self._encoded
        total = sum(len(plan.kept) + len(plan.new) for plan in plans)
        self._ready, self._encoded = {}, (0, 0)
        return DocumentCounts(
            added=added,
            changed=len(plans) - added,
            unchanged=len(batch) - len(plans),
            encoded=encoded,
            kept=max(0, total - encoded),
            tokens=tokens,
        )

    def _plan(self, batch: Sequence[Whole], held: Mapping[str, HeldDocument]) -> list[_Plan]:
        """What there is to do for documents that aren't there as they are given."""
        if not batch:
            return []
        splitter = self.splitter(self.load())
        plans = []
        for whole in batch:
            there = None if whole.id is None else held.get(whole.id)
            passages = splitter.split(whole.document)
            if there is None:
                plans.append(_Plan(whole, {}, passages, is_new=True))
                continue
            before: dict[str, list[int]] = {}
            for entry in there.passages:
                if entry.passage is not None:
                    before.setdefault(passage_key(entry.passage.encoded), []).append(entry.passage.number)
            passages = keep_numbers(passages, before)
            if whole.is_held(there.document) and same_passages(passages, there):
                continue
            known = {number for numbers in before.values() for number in numbers}
            stays = [passage for passage in passages if passage.number in known]
            kept = {passage_id(there.document.id, passage.number): passage for passage in stays}
            new = [passage for passage in passages if passage.number not in known]
            plans.append(_Plan(whole, kept, new, is_new=False))
        return plans

    def _encode_ahead(self, plans: Sequence[_Plan]) -> None:
        """Encode the passages of short documents together; those of long ones come when they are written."""
        short = [plan.new for plan in plans if sum(len(one.text) for one in plan.new) < _CHARACTERS_AT_ONCE]
        for passages in _batches(passage for new in short for passage in new):
            self._ready.update(self._vectors(passages))

    def _vectors(self, passages: Sequence[Passage]) -> _Vectors:
        """The vectors of passages, by key."""
        texts = {passage.key: passage.encoded for passage in passages}
        found = {key: self._ready[key] for key in texts if key in self._ready}
        left = [key for key in texts if key not in found]
        if left and self.cache is not None:
            cached = zip(left, self.cache.get(left), strict=True)
            found.update((key, one) for key, one in cached if one is not None)
            left = [key for key in left if key not in found]
        if left:
            embeddings, _ = encode_texts(self.load(), [texts[key] for key in left])
            if self.cache is not None:
                self.cache.put(left, embeddings)
            found.update((key, part(embeddings, i, i + 1)) for i, key in enumerate(left))
            encoded, tokens = self._encoded
            self._encoded = encoded + len(left), tokens + len(embeddings.embeddings)
        return found


def _batches(passages: Iterable[Passage]) -> Iterable[list[Passage]]:
    """Passages, as many at a time as are encoded together."""
    batch: list[Passage] = []
    characters = 0
    for passage in passages:
        batch.append(passage)
        characters += len(passage.text)
        if len(batch) == _AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
