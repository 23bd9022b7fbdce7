"""Passages on their way into an index: split in front of the encoder, and written behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from ..datatypes import TokenEmbeddings
from ..documents import Passage
from ..indexes import OpenDocument, Writer, known_ids
from .splitting import Splitter, Whole

__all__ = ["Piece", "PieceWriter", "part", "pieces"]

_PIECES_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 1 << 18


class Piece(NamedTuple):
    """A passage on its way into an index, and of which document; whether it is the first, or the last."""

    whole: Whole
    passage: Passage
    first: bool
    last: bool

    @property
    def text(self) -> str:
        """What is encoded."""
        return self.passage.encoded


def pieces(batches: Iterable[list[Whole]], splitter: Splitter) -> Iterator[list[Piece]]:
    """The passages of documents by the batch; that of a long document may not be its last."""
    for batch in batches:
        waiting: list[Piece] = []
        characters = 0
        for whole in batch:
            passages = splitter.split(whole.document)
            for number, passage in enumerate(passages, 1):
                waiting.append(Piece(whole, passage, number == 1, number == len(passages)))
                characters += len(passage.text)
                if len(waiting) == _PIECES_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
                    yield waiting
                    waiting, characters = [], 0
        if waiting:
            yield waiting


def part(embeddings: TokenEmbeddings, first: int, last: int) -> TokenEmbeddings:
    """The texts from one number to before another: a view."""
    offsets = embeddings.offsets[first : last + 1]
    tokens = slice(int(offsets[0]), int(offsets[-1]))
    ids = embeddings.token_ids
    return TokenEmbeddings(
        embeddings.embeddings[tokens], offsets - offsets[0], None if ids is None else ids[tokens]
    )


class PieceWriter:
    """Writes encoded passages; one document may reach over several batches.

    Parameters
    ----------
    ids
        Those that no document may get as a number; those written are added.
    """

    def __init__(self, ids: set[str]) -> None:
        self._ids = ids
        self._open: OpenDocument | None = None

    @property
    def is_open(self) -> bool:
        """Whether passages of the last document are to come."""
        return self._open is not None

    def add(self, writer: Writer, batch: list[Piece], embeddings: TokenEmbeddings) -> None:
        """Write a batch.

        Raises
        ------
        DuplicateIdError
            If the index holds one of the documents; then nothing of the batch is written.
        """
        begun = [piece.whole.id for piece in batch if piece.first]
        if known := writer.has_documents([id for id in begun if id is not None]):
            raise known_ids(known)
        ids = iter(writer.fill_ids(begun, self._ids))
        first = 0
        for _, group in groupby(batch, key=lambda piece: id(piece.whole)):
            some = list(group)
            if some[0].first:
                name = next(ids)
                self._ids.add(name)
                self._open = writer.put_document(some[0].whole.stored(name))
            assert self._open is not None
            passages = [piece.passage for piece in some]
            writer.add_passages(self._open, passages, part(embeddings, first, first + len(some)))
            first += len(some)
            if some[-1].last:
                self._open = None

    def drop(self, writer: Writer) -> None:
        """Drop the document of which not all passages came, before what came before it is committed."""
        if self._open is not None:
            writer.drop_document(self._open)
            self._open = None
