"""Which shard a document belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

__all__ = ["ROUTING", "by_shard", "shard_of"]

ROUTING = "blake2b-64"
"""What the manifest says of how documents are routed."""

T = TypeVar("T")


def shard_of(id: str, n_shards: int) -> int:
    """The number of the shard that a document belongs to: BLAKE2b of its id in UTF-8, 64 bits, modulo.

    The same on every machine and in every process. In an index of passages it is the document's id that
    counts, so that its passages lie together.
    """
    digest = hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_shards


def by_shard(items: Sequence[T], ids: Iterable[str], n_shards: int) -> dict[int, list[T]]:
    """Items by the shard of their ids, in their order; shards without any are left out."""
    found: dict[int, list[T]] = {}
    for item, id in zip(items, ids, strict=True):
        found.setdefault(shard_of(id, n_shards), []).append(item)
    return dict(sorted(found.items()))
