"""When an index is compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .snapshot import Snapshot

__all__ = ["is_due", "worth_compressing"]

TRAIN_TOKENS = 1 << 18
"""An index of so many vectors is compressed for the first time."""
FOLD_TOKENS = 1 << 16
"""A compressed index takes in its fp16 segments once they have so many vectors, ..."""
FOLD_SHARE = 16
"""... and one in so many of all, ..."""
FEWEST_TOKENS, FEWEST_DOCUMENTS = 1 << 12, 64
"""Below either of these there is nothing to gain, and the index stays exact."""


def worth_compressing(snapshot: Snapshot) -> bool:
    """Whether the index is large enough for a codec, or has one."""
    large = snapshot.n_tokens >= FEWEST_TOKENS and snapshot.count >= FEWEST_DOCUMENTS
    return snapshot.n_loose > 0 and (bool(snapshot.codecs) or large)


def is_due(snapshot: Snapshot) -> bool:
    """Whether the fp16 segments have grown so large that they are to be compressed."""
    if not snapshot.codecs:
        return snapshot.n_loose >= TRAIN_TOKENS and worth_compressing(snapshot)
    share = min(snapshot.n_tokens // FOLD_SHARE, TRAIN_TOKENS)
    return snapshot.n_loose >= max(FOLD_TOKENS, share)
