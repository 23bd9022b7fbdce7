"""What a command opens: an index, or a collection in shards."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..distributed import ShardedRetriever
    from ..indexes import Index
    from ..retriever import Retriever

__all__ = ["open_index", "open_retriever", "open_to_delete"]


def open_retriever(path: Path, **options: Any) -> Retriever | ShardedRetriever:
    """Either, with options that both know; see `Retriever.open`."""
    from ..indexes import is_collection
    from ..retriever import Retriever

    if not is_collection(path):
        return Retriever.open(path, **options)
    from ..distributed import ShardedRetriever

    return ShardedRetriever.open(path, **options)


def open_index(path: Path) -> AbstractContextManager[Index]:
    """Either, to read documents, without what encodes."""
    from ..indexes import Index, is_collection

    if not is_collection(path):
        return Index.open(path)
    from ..distributed import ShardedRetriever

    return closing(ShardedRetriever.open(path).store)


def open_to_delete(path: Path) -> Index | ShardedRetriever:
    """Either, to delete documents."""
    from ..indexes import Index, is_collection

    if not is_collection(path):
        return Index.open(path)
    from ..distributed import ShardedRetriever

    return ShardedRetriever.open(path)
