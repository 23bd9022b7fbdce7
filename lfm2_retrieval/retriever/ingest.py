"""Documents into an index: reading, checking, encoding, committing and compressing as it goes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..datatypes import TokenEmbeddings
from ..encoder import Encoder
from ..errors import (
    IndexClosedError,
    ModelMismatchError,
    StoredIndexError,
    callers_level,
    remedy,
)
from ..indexes import CONTENT, Estimate, Index, Writer
from ..platform.interrupts import uninterrupted
from ..records import Draft, Source, check_names
from .encoding import encoded_batches, warn_of_cut
from .pieces import Piece, PieceWriter
from .recorded import check_recorded

__all__ = ["Ingest", "Progress", "Source", "check_names", "check_same_model"]

_COMMIT_TOKENS = 1 << 18
_DECISIVE = ("fingerprint", "long_documents", "document_length", "pool_factor", "protected_tokens")
"""What of an encoder's identity decides its vectors of documents."""


Encoded = tuple[list[Any], TokenEmbeddings, int]
"""A batch of drafts, or of pieces, its vectors, and how many of its texts were cut."""


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

    encoded: list[tuple[Encoded, Progress]]
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
        What compressing may use; see :meth:`Index.build`.
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

    store: Index
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

    def __post_init__(self) -> None:
        self._pieces = PieceWriter(self.ids)

    def run(self, batches: Iterator[list[Draft]] | Iterator[list[Piece]]) -> None:
        """Encode and store in several commits, compressing in between; if interrupted, what was encoded.

        A commit has whole documents, of however many passages. Documents are read and stored by this thread
        while others tokenize and encode those that follow.
        """
        stream: Iterator[list[Any]] = batches
        with closing(encoded_batches(self.encoder, stream)) as encoded:
            self._store(encoded)

    def _store(self, batches: Iterator[Encoded]) -> None:
        """Commit by commit, with upkeep in between and at the end."""
        done = Progress(0, 0, 0.0, 0, total=self.n_documents)
        upkeep = self.store.run_upkeep(replaces=self.settings is not None, memory=self.memory)
        self._content = self.made
        more = True
        while more:
            done, more = self._commit(batches, done)
            if more:
                upkeep.between_commits(
                    done.tokens, self._expected(done), bool(self.n_documents), self._reporting(done)
                )
        upkeep.at_the_end(done.tokens, self._reporting(done))
        if done.cut and self.on_progress is None:
            warn_of_cut(done.cut, done.documents, self.encoder)

    def _commit(self, batches: Iterator[Encoded], done: Progress) -> tuple[Progress, bool]:
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

    def _gather(self, batches: Iterator[Encoded], done: Progress) -> _Waiting:
        """A commit's worth of encoded batches, or those that came before an error."""
        before = done
        encoded: list[tuple[Encoded, Progress]] = []
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

    def _write(self, waiting: _Waiting, done: Progress, batches: Iterator[Encoded]) -> tuple[Progress, bool]:
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
                while waiting.more and (whole or self._pieces.is_open):
                    if (another := next(batches, None)) is None:
                        break
                    with uninterrupted():
                        self._add(writer, another)
                        done = self._after(done, another)
                    self._tell(done)
                with uninterrupted():
                    self._pieces.drop(writer)
                    writer.commit()
            except BaseException as error:
                if done.documents and not whole:
                    with suppress(IndexClosedError), uninterrupted():  # closed: the writer itself failed
                        self._pieces.drop(writer)
                        writer.commit()
                        error.add_note(f"the {done.documents} documents before it are in the index")
                raise
        return done, waiting.more and not whole

    def _add(self, writer: Writer, one: Encoded) -> None:
        batch, embeddings, _ = one
        if batch and isinstance(batch[0], Piece):
            self._pieces.add(writer, batch, embeddings)
            return
        ids = writer.fill_ids([draft.id for draft in batch], self.ids)
        self.ids.update(ids)
        writer.add(ids, embeddings, [draft.text for draft in batch], [draft.metadata for draft in batch])

    def _after(self, done: Progress, one: Encoded) -> Progress:
        """How far it is with another batch."""
        batch, embeddings, cut = one
        done = replace(
            done,
            documents=done.documents + sum(not isinstance(item, Piece) or item.last for item in batch),
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
            warnings.warn(lost, RuntimeWarning, stacklevel=callers_level())
            return False
        if not writer.replaces:
            self.prepare(writer)
        check_same_model(writer, self.encoder)
        self._content = settings.get(CONTENT)
        return True

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
