"""Documents into an index: reading, checking, encoding, committing and compressing as it goes."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .datatypes import TokenEmbeddings
from .encoder import Encoder, TruncationWarning, batched, check_whole, numbered
from .errors import (
    DuplicateIdError,
    IndexClosedError,
    InvalidInputError,
    InvalidTypeError,
    ModelMismatchError,
    StoredIndexError,
    remedy,
)
from .frames import collected, column_names, is_frame, iter_records, length
from .indexes import CompressedIndex, Estimate, Writer
from .indexes.rows import encode_metadata
from .indexes.settings import CONTENT
from .interrupts import uninterrupted
from .recorded import check_recorded
from .records import COLUMNS, Columns, Draft, Problems, Source, as_mapping, check_names, draft_of

__all__ = [
    "Ingest",
    "Progress",
    "Source",
    "batches",
    "check_names",
    "check_same_model",
    "encode_texts",
    "parsed",
    "refuse_one",
    "warn_of_cut",
]

_COMMIT_TOKENS = 1 << 18
_UNKNOWN_TOKENS = 1 << 20
_DECISIVE = ("fingerprint", "long_documents", "document_length", "pool_factor", "protected_tokens")
"""What of an encoder's identity decides its vectors of documents."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far indexing has come: documents and vectors encoded, seconds spent, texts that were cut.

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


class _Waiting(NamedTuple):
    """Encoded batches that aren't stored, and how far it is with each; then more come, or an error."""

    encoded: list[tuple[_Encoded, Progress]]
    more: bool
    failure: BaseException | None = None


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
    made
        The `content_id` of an index that was made for this run, which need not be replaced.
    ids
        Those that no document may get as a number.
    prepare
        Readies a writer to add to what is there, or refuses. It is called at each commit, under the lock:
        another process may have overwritten the index.
    locked
        Whether documents may only be read under the writer lock, as they come from the index itself.
    """

    store: CompressedIndex
    encoder: Encoder
    n_documents: int | None = None
    memory: str | int = "2GB"
    on_progress: Callable[[Progress], None] | None = None
    settings: Mapping[str, Any] | None = None
    made: str | None = None
    ids: set[str] = field(default_factory=set)
    prepare: Callable[[Writer], None] = lambda writer: None
    locked: bool = False
    _content: str | None = field(default=None, init=False)
    _started: float = field(default_factory=time.monotonic)
    _codec_before: Any = field(default=None, init=False)

    def run(self, batches: Iterator[list[Draft]]) -> None:
        """Encode and store in several commits, compressing in between; if interrupted, what was encoded.

        Documents are read and stored by this thread while others tokenize and encode those that follow.
        """
        with closing(_encoded(self.encoder, batches)) as encoded:
            self._store(encoded)

    def _store(self, batches: Iterator[_Encoded]) -> None:
        done = Progress(0, 0, 0.0, 0, total=self.n_documents)
        self._codec_before = self.store.codec_facts if self.settings is None else None
        held = self.store.n_tokens if self.settings is None else 0
        self._content = self.made
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
        """A commit's worth, or, where the index is replaced, all; and whether there may be more.

        What one commit takes is encoded before the writer lock is taken, so that others can add meanwhile.
        """
        waiting = _Waiting([], more=True) if self.locked else self._gather(batches, done)
        failure = waiting.failure
        if failure is not None and not waiting.encoded and not done.documents:
            raise failure
        done, more = self._write(waiting, done, batches)
        if failure is not None:
            failure.add_note(f"the {done.documents} documents before it are in the index")
            raise failure
        return done, more

    def _gather(self, batches: Iterator[_Encoded], done: Progress) -> _Waiting:
        """A commit's worth of encoded batches, or those that came before an error."""
        before = done
        encoded: list[tuple[_Encoded, Progress]] = []
        try:
            for one in batches:
                done = self._after(done, one)
                encoded.append((one, done))
                self._tell(done)
                if done.tokens - before.tokens >= _COMMIT_TOKENS:
                    return _Waiting(encoded, more=True)
        except BaseException as error:  # noqa: BLE001  (raised when what came before is safe)
            return _Waiting(encoded, more=False, failure=error)
        return _Waiting(encoded, more=False)

    def _write(self, waiting: _Waiting, done: Progress, batches: Iterator[_Encoded]) -> tuple[Progress, bool]:
        """Store and commit what is waiting, and, where the index is replaced, all that follows."""
        settings = None if done.documents else self.settings
        with self.store.writer(replace=settings, unless=self.made) as writer:
            whole = writer.replaces
            if waiting.failure is not None and whole:
                raise waiting.failure
            if not self._is_ours(writer, done):
                return done, False
            try:
                for one, after in waiting.encoded:
                    with uninterrupted():  # half a batch written is all of them lost
                        self._add(writer, one)
                        done = after
                for one in batches if whole and waiting.more else ():
                    with uninterrupted():
                        self._add(writer, one)
                        done = self._after(done, one)
                    self._tell(done)
                with uninterrupted():
                    writer.commit()
            except BaseException as error:
                if done.documents and not whole:
                    with suppress(IndexClosedError), uninterrupted():  # closed: the writer itself failed
                        writer.commit()
                        error.add_note(f"the {done.documents} documents before it are in the index")
                raise
        return done, waiting.more and not whole

    def _add(self, writer: Writer, one: _Encoded) -> None:
        batch, embeddings, _ = one
        ids = writer.fill_ids([draft.id for draft in batch], self.ids)
        self.ids.update(ids)
        writer.add(ids, embeddings, [draft.text for draft in batch], [draft.metadata for draft in batch])

    def _after(self, done: Progress, one: _Encoded) -> Progress:
        """How far it is with another batch."""
        batch, embeddings, cut = one
        done = replace(
            done,
            documents=done.documents + len(batch),
            tokens=done.tokens + len(embeddings.embeddings),
            seconds=time.monotonic() - self._started,
            cut=done.cut + cut,
        )
        if done.estimate is None and self.n_documents:
            done = replace(done, estimate=self.store.estimate(self._expected(done), self.n_documents))
        return done

    def _tell(self, done: Progress) -> None:
        if self.on_progress is not None:
            self.on_progress(done)

    def _is_ours(self, writer: Writer, done: Progress) -> bool:
        """Whether documents may be added: what was committed so far is still there.

        Where it isn't, a run that overwrites has been overwritten itself, and ends.
        """
        settings = writer.settings
        if done.documents and settings.get(CONTENT) != self._content:
            lost = (
                f"{self.store.path} was overwritten by another writer meanwhile, and the {done.documents} "
                "documents that were in it by then are gone"
            )
            if self.settings is None:
                raise StoredIndexError(f"{lost}: index them again")
            warnings.warn(lost, RuntimeWarning, stacklevel=2)
            return False
        if not writer.replaces:
            self.prepare(writer)
        check_same_model(writer, self.encoder)
        self._content = settings.get(CONTENT)
        return True

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
    """Refuse to write vectors that are made in another way than those of the index, now that it is locked.

    Raises
    ------
    ModelMismatchError
        If it was encoded anew, or overwritten, since it was opened.
    """
    recorded = check_recorded(writer.path, writer.settings.get("encoder"))
    own = encoder.identity
    differing = next((name for name in _DECISIVE if name in recorded and recorded[name] != own[name]), None)
    if differing is not None:
        raise ModelMismatchError(
            f"{writer.path} was encoded anew with {recorded.get('name')} ({differing} "
            f"{recorded[differing]}, not {own[differing]}) since it was opened; nothing was written: "
            f"{remedy('open it again', 'run the command again')}"
        )


def read_all() -> str:
    """The option that reads all of a long document."""
    return remedy("long_documents='window'", "index --long-documents window")


def warn_of_cut(n_cut: int, n_documents: int, encoder: Encoder) -> None:
    """Say that texts were cut."""
    warnings.warn(
        f"{n_cut} of {n_documents} documents were longer than the {encoder.document_length} tokens that are "
        f"read and were cut; {read_all()} reads all of a document",
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
    ids: set[str],
    store: CompressedIndex | None = None,
    columns: Columns = COLUMNS,
) -> Iterator[list[Draft]]:
    """Documents by the batch; those of a list or a frame are checked as a whole before the first comes out.

    Parameters
    ----------
    documents
        As people give them. What another iterable than a list raises comes after a batch of what it gave
        before; a bad document in its first batch comes at once.
    size
        How many make a batch.
    ids
        Those that none of them may have; theirs are added as they are read. Who numbers some adds the
        numbers, so that no later document comes with one of these.
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
    checked: Iterable[Draft] = _checked(documents, ids, store, columns, None if whole else size)
    if isinstance(documents, Sequence):
        checked = list(checked)
    elif whole:  # a frame, which holds its rows in less memory than Python's objects take
        for _ in checked:
            pass
        checked = _checked(documents, set(), store, columns, size)
    return batched(checked, size, lambda draft: len(draft.text), at_once=InvalidInputError)


def _checked(
    documents: Iterable[Source],
    ids: set[str],
    store: CompressedIndex | None,
    columns: Columns,
    ahead: int | None,
) -> Iterator[Draft]:
    """The documents, each under an id that neither an earlier one nor the store has, or under none.

    After a bad one come no more; ``ahead`` further ones are looked at, or all, to name the bad ones of these.
    """

    def parse(position: int, source: Source) -> Draft:
        draft = draft_of(source, position, columns)
        if draft.id is not None:
            if draft.id in ids:
                raise DuplicateIdError(f"the document id {draft.id[:80]!r} comes twice; ids must be unique")
            ids.add(draft.id)
            if store is not None and store.newest_ids([draft.id]):
                raise DuplicateIdError(
                    f"the document id {draft.id[:80]!r} is already in the index {store.path}"
                )
        # Refuses what the index can't store.
        encode_metadata(str(position) if draft.id is None else draft.id, draft.metadata)
        return draft

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


_Encoded = tuple[list[Draft], TokenEmbeddings, int]
"""A batch, its vectors and how many of its texts were cut."""


def _encoded(encoder: Encoder, batches: Iterator[list[Draft]]) -> Generator[_Encoded, None, None]:
    """Each batch with its vectors, none for a document without text."""
    waiting: deque[list[Draft]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            waiting.append(batch)
            yield [draft.text for draft in batch if draft.text.strip()]

    with closing(encoder.iter_batches(texts(), output="float16")) as results:
        for embeddings, cut in results:
            batch = waiting.popleft()
            yield batch, _with_blanks(embeddings, [draft.text for draft in batch]), cut


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
