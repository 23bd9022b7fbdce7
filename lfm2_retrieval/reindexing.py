"""All documents of an index encoded anew, with another model or another version of it, in one commit."""

from __future__ import annotations

from collections.abc import Iterator

from .datatypes import Document
from .encoder import Encoder
from .errors import InvalidInputError, remedy
from .indexes import CompressedIndex, Entry
from .indexes.settings import RESERVED
from .ingest import Ingest, batches
from .progress import Show
from .recorded import check_recorded, recorded_options

__all__ = ["check_texts", "encode_anew"]

_KEPT = ("tier", "lexical", "fields")
"""Of the index's own settings: how it is made. What was tuned and measured was of the old vectors."""


def check_texts(store: CompressedIndex) -> int:
    """How many documents there are; refuses those that can't be encoded.

    Raises
    ------
    InvalidInputError
        If a document has vectors and no text.
    """
    count = 0
    for entry in store.documents():
        _check(store, entry)
        count += 1
    return count


def encode_anew(
    store: CompressedIndex,
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
    ingest.run(batches(documents(), batch_size, set()))


def _check(store: CompressedIndex, entry: Entry) -> None:
    if entry.text is None and entry.n_tokens:
        way = remedy("delete(…)", "lfm2-retrieve delete")
        raise InvalidInputError(
            f"{store.path}: document {entry.id[:80]!r} has vectors and no text, so that it can't be encoded "
            f"anew: give it a text, or take it out with {way}, and then begin again"
        )
