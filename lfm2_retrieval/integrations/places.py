"""Where a hit lies, among the metadata of the frameworks' documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..datatypes import Document, Hit
from ..documents import FileDocument

__all__ = ["PLACE", "place_values", "with_place", "without_place"]

PLACE = "lfm2"
"""The one key of the metadata that is taken: below it are all names, so that none meets a user's."""


def place_values(found: Document | Hit) -> dict[str, Any]:
    """Where something lies, as JSON values without what is unknown; empty where there is nothing to say.

    Of a hit that is a passage, or of a search ``by="document"``: ``document_id``; ``passage``, its number;
    ``span``, its characters in the document's text; ``source``, the file; ``headings`` above it; ``place``,
    as people read it; of that ``page``, ``pages``, ``lines``, ``cells``, ``sheet`` and ``range``;
    ``n_matching``. Of a document that was read from a file, ``document_id`` and ``source``.
    """
    if isinstance(found, Document):
        if not isinstance(found, FileDocument) or not found.source:
            return {}
        return {"document_id": found.id, "source": found.source}
    if found.span is None and found.n_matching is None:
        return {}
    values: dict[str, Any] = {"document_id": found.document_id, "passage": found.number}
    values |= {"span": None if found.span is None else list(found.span), "source": found.source}
    values |= {"headings": list(found.headings), "n_matching": found.n_matching}
    if found.place is not None:
        values |= {"place": str(found.place), "page": found.page, **found.place.to_dict()}
    return {name: value for name, value in values.items() if value not in (None, [], "")}


def with_place(found: Document | Hit) -> dict[str, Any]:
    """The metadata of what was found, and where it lies."""
    values = place_values(found)
    return {**found.metadata, PLACE: values} if values else dict(found.metadata)


def without_place(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata as they are stored: a place belongs to a hit, and isn't kept of one that is added again."""
    if PLACE not in metadata:
        return metadata
    return {name: value for name, value in metadata.items() if name != PLACE}
