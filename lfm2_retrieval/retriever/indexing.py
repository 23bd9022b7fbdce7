"""One call of indexing: where documents go, what they are, and the run that puts them there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from ..documents import Passages
from ..encoder import DEFAULT_MODEL, Encoder
from ..frames import collected, length
from ..indexes import Index
from ..records import Columns, Draft, Source
from .batches import batches, refuse_one
from .ingest import Ingest
from .own_encoder import ModelChoice, given_encoder
from .pieces import Piece, pieces
from .progress import Show
from .splitting import Splitter, whole_of
from .target import Target

__all__ = ["Begun", "Given", "begin"]


@dataclass
class Given:
    """The documents of a call, which are checked and drawn from when they are needed.

    Parameters
    ----------
    documents
        As people give them; one document where several are expected is refused.
    columns
        Which columns of rows are what.
    batch_size
        How many are encoded at a time.
    n_documents
        How many there will be; found out where they have a length.
    """

    documents: Iterable[Source]
    columns: Columns
    batch_size: int
    n_documents: int | None
    ids: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        refuse_one(self.documents)
        self.documents = collected(self.documents)
        if self.n_documents is None:
            self.n_documents = length(self.documents)

    def batches(self, unlike: Index | None = None) -> Iterator[list[Draft]]:
        """Batch by batch; none has an id that an index holds."""
        return batches(self.documents, self.batch_size, self.ids, unlike, self.columns)


class Begun(NamedTuple):
    """A run that is ready: the index is there, the model fits it, and the first documents are sound.

    Parameters
    ----------
    store, encoder, load
        The index, what encodes, and what loads that again for the open index.
    target, given, batches
        Where to, what, and what is left of that to be encoded.
    settings, made
        See `Ingest`.
    """

    store: Index
    encoder: Encoder
    load: Callable[[], Encoder]
    target: Target
    given: Given
    batches: Iterator[list[Draft]]
    settings: dict[str, Any] | None
    made: str | None

    def run(self, memory: int, show: Show | None) -> None:
        """Encode and store; what an interruption leaves, see :meth:`Retriever.index`."""
        given = self.given
        passages = self.target.passages
        stream: Iterator[list[Draft]] | Iterator[list[Piece]] = self.batches
        if isinstance(passages, Passages):
            wholes = ([whole_of(draft) for draft in batch] for batch in self.batches)
            stream = pieces(wholes, Splitter(self.encoder, passages))
        Ingest(
            self.store,
            self.encoder,
            given.n_documents,
            memory,
            show,
            self.settings,
            self.made,
            given.ids,
            self.target.prepare,
        ).run(stream)


def begin(target: Target, given: Given, choice: ModelChoice) -> Begun:
    """Make ready: make or open the index, load the model, and look at the first documents.

    A bad first batch, a wrong model or options that don't fit leave nothing behind.
    """
    held = target.is_there()
    if held and target.if_exists == "append":
        store = Index.open(target.folder)
        return _appending(store, target, given, choice, lambda: given.batches(store))
    stream = given.batches()
    fresh = choice.load(DEFAULT_MODEL).with_options(**target.options)
    first = next(stream, [])
    stream = chain([first], stream)
    target = target.settled(first)
    settings = target.replacement(fresh)
    made = None if held else target.make(fresh)
    if made is None and settings is None:  # another process has made it meanwhile
        choice = choice if choice.model is None else ModelChoice(fresh)
        return _appending(Index.open(target.folder), target, given, choice, lambda: stream)
    store = Index.open(target.folder) if made is None else made
    content = None if made is None else made.content_id
    return Begun(store, fresh, partial(given_encoder, store, fresh), target, given, stream, settings, content)


def _appending(
    store: Index,
    target: Target,
    given: Given,
    choice: ModelChoice,
    draw: Callable[[], Iterator[list[Draft]]],
) -> Begun:
    """A run that adds to an index which is there."""
    try:
        stream = draw()
        target = target.like(store.settings)
        target.check(store.settings)
        encoder = choice.of_index(store)  # a wrong model shows here, before anything is changed
        store.configure(lexical=target.lexical, fields=target.fields)
    except BaseException:
        store.close()
        raise
    return Begun(store, encoder, partial(given_encoder, store, encoder), target, given, stream, None, None)
