"""Documents into an index: reading, checking, encoding, committing and compressing as it goes."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from .datatypes import Document, TokenEmbeddings
from .encoder import Encoder, TruncationWarning, batched, check_whole, numbered
from .errors import (
    DuplicateIdError,
    IndexClosedError,
    InvalidInputError,
    InvalidTypeError,
    ModelMismatchError,
    remedy,
)
from .frames import collected, column_names, is_frame, iter_records, length
from .indexes import CompressedIndex, Estimate, Writer
from .indexes.rows import encode_metadata
from .interrupts import uninterrupted
from .records import COLUMNS, Columns, Problems, Source, as_mapping, check_names, document_of

__all__ = [
    "Ingest",
    "Progress",
    "Source",
    "batches",
    "check_names",
    "check_same_model",
    "document_of",
    "encode_texts",
    "parsed",
    "refuse_one",
    "warn_of_cut",
]

_COMMIT_TOKENS = 1 << 18
_UNKNOWN_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far indexing has come: documents and vectors stored, seconds spent, texts that were cut.

    ``phase`` is ``"index"``, or, while the index is compressed, ``"train"`` or ``"encode"``, of which
    ``share`` (0 to 1) is done. ``total``: how many documents there will be, and ``estimate``: what the index
    will take, if that is known.
    """

    documents: int
    tokens: int
    seconds: float
    cut: int
    phase: str = "index"
    share: float = 0.0
    estimate: Estimate | None = None
    total: int | None = None

    @property
    def documents_per_second(self) -> float:
        """The mean rate so far."""
        return self.documents / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until all documents are stored, at the mean rate so far; None if nobody knows."""
        if self.total is None or not self.documents or not self.seconds:
            return None
        return max(0, self.total - self.documents) / self.documents_per_second


@dataclass
class Ingest:
    """One run of indexing.

    Parameters
    ----------
    store, encoder
        Where the documents go, and what encodes them.
    n_documents
        How many there will be, if that is known.
    memory
        What compressing may use; see :meth:`CompressedIndex.build`.
    on_progress
        Called after each batch, and now and then while the index is compressed.
    settings
        Those of a new content: the index is replaced in one commit, and an interrupted run leaves it be.
    """

    store: CompressedIndex
    encoder: Encoder
    n_documents: int | None = None
    memory: str | int = "2GB"
    on_progress: Callable[[Progress], None] | None = None
    settings: Mapping[str, Any] | None = None
    _started: float = field(default_factory=time.monotonic)
    _codec_before: Any = field(default=None, init=False)

    def run(self, batches: Iterator[list[Document]]) -> None:
        """Encode and store in several commits, compressing in between; if interrupted, what was encoded.

        Documents are read and stored by this thread while others tokenize and encode those that follow.
        """
        with closing(_encoded(self.encoder, batches)) as encoded:
            self._store(encoded)

    def _store(self, batches: Iterator[_Encoded]) -> None:
        done = Progress(0, 0, 0.0, 0, total=self.n_documents)
        self._codec_before = self.store.codec_facts if self.settings is None else None
        held = self.store.n_tokens if self.settings is None else 0
        more = True
        while more:
            done, more = self._commit(batches, done)
            expected = held + self._expected(done)
            # Of a stream of unknown length a first codec is made late, so that it fits longer.
            if more and (self.n_documents or self.store.codec_facts or done.tokens >= _UNKNOWN_TOKENS):
                self._compress(done, expected_tokens=expected)
        self._compress(done)
        if self.store.outgrown and self.store.tier.int8 and 2 * done.tokens >= self.store.n_tokens:
            self._compress(done, retrain=True)
        elif self._codec_before is None:
            self._renew(done)
        if done.cut and self.on_progress is None:
            warn_of_cut(done.cut, done.documents, self.encoder)

    def _commit(self, batches: Iterator[_Encoded], done: Progress) -> tuple[Progress, bool]:
        """A commit's worth, or, with ``settings``, all; and whether there may be more."""
        before, more = done, True
        with self.store.writer(replace=self.settings) as writer:
            if self.settings is None:
                check_same_model(writer, self.encoder)
            try:
                for batch, embeddings, cut in batches:
                    texts = [document.text for document in batch]
                    with uninterrupted():  # half a batch written is all of them lost
                        writer.add([d.id for d in batch], embeddings, texts, [d.metadata for d in batch])
                        done = replace(
                            done,
                            documents=done.documents + len(batch),
                            tokens=done.tokens + len(embeddings.embeddings),
                            seconds=time.monotonic() - self._started,
                            cut=done.cut + cut,
                        )
                    if done.estimate is None and self.n_documents:
                        done = replace(
                            done, estimate=self.store.estimate(self._expected(done), self.n_documents)
                        )
                    if self.on_progress is not None:
                        self.on_progress(done)
                    if self.settings is None and done.tokens - before.tokens >= _COMMIT_TOKENS:
                        break
                else:
                    more = False
                with uninterrupted():
                    writer.commit()
            except BaseException as error:
                if done.documents and self.settings is None:
                    with suppress(IndexClosedError), uninterrupted():  # closed: the writer itself failed
                        writer.commit()
                        error.add_note(f"the {done.documents} documents before it are in the index")
                raise
        return done, more

    def _compress(self, done: Progress, *, expected_tokens: int = 0, retrain: bool = False) -> None:
        self.store.build(
            retrain=retrain,
            expected_tokens=expected_tokens,
            memory=self.memory,
            progress=self._reporting(done),
            own=self._codec_before is None,
        )

    def _renew(self, done: Progress) -> None:
        """A codec of this run saw only what came first: if the rest suffers from that, have another."""
        self.store.renew_codec(memory=self.memory, progress=self._reporting(done))

    def _reporting(self, done: Progress) -> Callable[[str, int, int], None]:
        """What tells how far the compression is, after ``done``."""

        def report(phase: str, now: int, total: int) -> None:
            if self.on_progress is not None:
                seconds = time.monotonic() - self._started
                self.on_progress(replace(done, seconds=seconds, phase=phase, share=now / max(total, 1)))

        return report

    def _expected(self, done: Progress) -> int:
        """How many vectors there will be, going by those so far; 0 if nobody knows."""
        if not self.n_documents or not done.documents:
            return 0
        return round(done.tokens / done.documents * max(self.n_documents, done.documents))


def check_same_model(writer: Writer, encoder: Encoder) -> None:
    """Refuse to write vectors of another model than the index has, now that the lock is held.

    Raises
    ------
    ModelMismatchError
        If it was encoded anew since it was opened.
    """
    recorded = writer.settings.get("encoder") or {}
    if recorded.get("fingerprint", encoder.fingerprint) != encoder.fingerprint:
        raise ModelMismatchError(
            f"{writer.path} was encoded anew with {recorded.get('name')} (fingerprint "
            f"{recorded['fingerprint']}) since it was opened; nothing was written: "
            f"{remedy('open it again', 'run the command again')}"
        )


def warn_of_cut(n_cut: int, n_documents: int, encoder: Encoder) -> None:
    """Say that texts were cut."""
    warnings.warn(
        f"{n_cut} of {n_documents} documents were longer than the {encoder.document_length} tokens that are "
        "read and were cut; long_documents='window' reads all of a document",
        TruncationWarning,
        stacklevel=4,
    )


def refuse_one(documents: object, what: str = "documents") -> None:
    """Refuse a single document where several are expected."""
    if is_frame(documents) or hasattr(documents, "dtype"):  # also a column, or an array, of texts
        return
    several = f"{what} must be a list or another iterable of {what}"
    if isinstance(documents, Mapping) and any(map(is_table, documents.values())):
        raise InvalidTypeError(f"{several}, not a mapping of several: choose one of {list(documents)}")
    if (
        isinstance(documents, (str, bytes))
        or as_mapping(documents) is not None
        or not isinstance(documents, Iterable)
    ):
        raise InvalidTypeError(f"{several}, not a single one")


def is_table(value: object) -> bool:
    """Whether something has named columns, as a frame or a data set."""
    return column_names(value) is not None


def batches(
    documents: Iterable[Source],
    size: int,
    first: int = 0,
    store: CompressedIndex | None = None,
    columns: Columns = COLUMNS,
) -> Iterator[list[Document]]:
    """Documents by the batch; those of a list or a frame are checked as a whole before the first comes out.

    Parameters
    ----------
    documents
        As people give them. What another iterable than a list raises comes after a batch of what it gave
        before; a bad document in its first batch comes at once.
    size
        How many make a batch.
    first
        What documents without ids are counted from.
    store
        An index that must not hold any of their ids.
    columns
        Which columns of rows are what.

    Raises
    ------
    InvalidInputError
        Naming all bad documents of a list or a frame, or of as many as a batch has of another iterable.
    """
    check_whole("batch_size", size, 1)
    documents = collected(documents)
    check_names(column_names(documents), columns)
    whole = isinstance(documents, Sequence) or (is_frame(documents) and length(documents) is not None)
    checked: Iterable[Document] = _checked(documents, first, store, columns, None if whole else size)
    if isinstance(documents, Sequence):
        checked = list(checked)
    elif whole:  # a frame, which holds its rows in less memory than Python's objects take
        for _ in checked:
            pass
        checked = _checked(documents, first, store, columns, size)
    return batched(checked, size, lambda document: len(document.text), at_once=InvalidInputError)


def _checked(
    documents: Iterable[Source],
    first: int,
    store: CompressedIndex | None,
    columns: Columns,
    ahead: int | None,
) -> Iterator[Document]:
    """The documents, each under an id that neither an earlier one nor the store has.

    After a bad one come no more; ``ahead`` further ones are looked at, or all, to name the bad ones of these.
    """
    seen: set[str] = set()

    def parse(position: int, source: Source) -> Document:
        document = document_of(source, first + position, position, columns)
        if document.id in seen:
            raise DuplicateIdError(f"the document id {document.id[:80]!r} comes twice; ids must be unique")
        seen.add(document.id)
        if store is not None and store.newest_ids([document.id]):
            raise DuplicateIdError(
                f"the document id {document.id[:80]!r} is already in the index {store.path}"
            )
        encode_metadata(document.id, document.metadata)  # refuses what the index can't store
        return document

    return parsed(iter_records(documents), parse, ahead)


_Parsed = TypeVar("_Parsed")


def parsed(
    sources: Iterable[Source], parse: Callable[[int, Source], _Parsed], ahead: int | None
) -> Iterator[_Parsed]:
    """What ``parse`` makes of each source and its position, up to the first that it refuses.

    Then ``ahead`` more are looked at, or all, so that one error names all that is wrong.
    """
    problems = Problems()
    end: int | None = None
    try:
        for position, source in numbered(sources):
            try:
                found = parse(position, source)
            except InvalidInputError as error:
                problems.add(position, error)
                if end is None and ahead is not None:
                    end = position + ahead
            else:
                if not problems:
                    yield found
            if problems and end is not None and position >= end:
                break
    except Exception as error:
        if problems:
            raise problems.error() from error
        raise
    if problems:
        raise problems.error()


_Encoded = tuple[list[Document], TokenEmbeddings, int]
"""A batch, its vectors and how many of its texts were cut."""


def _encoded(encoder: Encoder, batches: Iterator[list[Document]]) -> Generator[_Encoded, None, None]:
    """Each batch with its vectors, none for a document without text."""
    waiting: deque[list[Document]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            waiting.append(batch)
            yield [document.text for document in batch if document.text.strip()]

    with closing(encoder.iter_batches(texts(), output="float16")) as results:
        for embeddings, cut in results:
            batch = waiting.popleft()
            yield batch, _with_blanks(embeddings, [document.text for document in batch]), cut


def encode_texts(encoder: Encoder, texts: list[str]) -> tuple[TokenEmbeddings, int]:
    """The texts' vectors, none for one of white space, and how many texts were cut."""
    cuts: list[int] = []
    encoded = encoder.encode_documents(
        [text for text in texts if text.strip()], output="float16", on_cut=cuts.append
    )
    return _with_blanks(encoded, texts), sum(cuts)


def _with_blanks(encoded: TokenEmbeddings, texts: list[str]) -> TokenEmbeddings:
    """The vectors of those texts that aren't blank, with nothing for the others between them."""
    lengths = np.zeros(len(texts), dtype=np.int64)
    lengths[np.array([bool(text.strip()) for text in texts], dtype=bool)] = encoded.lengths
    return replace(encoded, offsets=np.concatenate(([0], np.cumsum(lengths))))
