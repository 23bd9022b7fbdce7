"""All documents of an index encoded anew, with another model or another version of it, in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..datatypes import Document
from ..encoder import DEFAULT_MODEL, Encoder, batched
from ..errors import InvalidInputError, remedy
from ..indexes import RESERVED, Entry, Index
from .batches import batches
from .ingest import Ingest
from .own_encoder import ModelChoice, recorded_of, says_no_model
from .pieces import pieces
from .progress import Show, shown
from .recorded import check_recorded, recorded_model, recorded_options
from .splitting import Splitter, Whole, recorded_passages, restored

__all__ = ["check_texts", "encode_anew", "reindex"]

_KEPT = ("tier", "lexical", "fields", "passages")
"""Of the index's own settings: how it is made. What was tuned and measured was of the old vectors."""


def reindex(
    store: Index, choice: ModelChoice, memory: int, batch_size: int, on_progress: Show | bool | None
) -> Encoder:
    """Encode all documents anew, with the model chosen, or today's of the name that the index records.

    Returns
    -------
    Encoder
        What encoded them.

    Raises
    ------
    InvalidInputError
        If a document has vectors and no text, or the index doesn't say which model made it.
    """
    count = check_texts(store)
    recorded = recorded_of(store)
    if choice.model is None and not recorded:
        raise InvalidInputError(says_no_model(store.path))
    if choice.model is None:
        name, _ = recorded_model(store.path, {**recorded, "revision": None}, trust=choice.trust)
        choice = replace(choice, model=name)
    encoder = choice.load(DEFAULT_MODEL)
    with shown(on_progress, count) as show:
        encode_anew(store, encoder, count, memory=memory, batch_size=batch_size, show=show)
    return encoder


def check_texts(store: Index) -> int:
    """How many documents there are; refuses those that can't be encoded.

    Raises
    ------
    InvalidInputError
        If a document has vectors and no text.
    """
    if recorded_passages(store.settings) is not None:  # whose documents all have texts
        return store.sources.count()
    count = 0
    for entry in store.documents():
        _check(store, entry)
        count += 1
    return count


def encode_anew(
    store: Index,
    encoder: Encoder,
    n_documents: int,
    *,
    memory: str | int = "2GB",
    batch_size: int = 256,
    show: Show | None = None,
) -> None:
    """Replace what an index holds by its documents' vectors of an encoder, compressed to its tier.

    They are read when the writer lock is held, so that nothing that was added before is lost; who wants to
    write meanwhile waits, or is told. Until the commit, and if there never is one, the old content stays.
    """
    recorded = check_recorded(store.path, store.settings.get("encoder"))
    encoder = encoder.reading(recorded_options(store.path, recorded))

    def documents() -> Iterator[Document]:
        store.refresh()
        for entry in store.documents():
            _check(store, entry)
            yield Document(entry.id, entry.text or "", entry.metadata)

    settings = {
        **{name: value for name, value in store.settings.items() if name in _KEPT or name not in RESERVED},
        **{"dim": encoder.dim, "encoder": dict(encoder.identity)},
    }
    ingest = Ingest(store, encoder, n_documents, memory, show, settings, locked=True)
    passages = recorded_passages(store.settings)
    if passages is None:
        ingest.run(batches(documents(), batch_size, set()))
    else:
        wholes = batched(_wholes(store), batch_size, lambda whole: len(whole.document.text))
        ingest.run(pieces(wholes, Splitter(encoder, passages)))


def _wholes(store: Index) -> Iterator[Whole]:
    """The documents of an index of passages as they are stored."""
    store.refresh()
    for stored in store.sources.documents():
        yield Whole(stored.id, restored(stored), stored.facts, stored.structure)


def _check(store: Index, entry: Entry) -> None:
    if entry.text is None and entry.n_tokens:
        way = remedy("delete(…)", "lfm2-retrieve delete")
        raise InvalidInputError(
            f"{store.path}: document {entry.id[:80]!r} has vectors and no text, so that it can't be encoded "
            f"anew: give it a text, or take it out with {way}, and then begin again"
        )
