"""Token vectors on disk, and search in them. The on-disk format is described in ``indexes/FORMAT.md``."""

from .codec import Tier
from .compressed import CompressedIndex
from .exact import ExactIndex
from .policy import DriftWarning, Estimate
from .recall import Recall
from .rows import Entry
from .tuning import Tuning
from .writer import Writer

__all__ = [
    "CompressedIndex",
    "DriftWarning",
    "Entry",
    "Estimate",
    "ExactIndex",
    "Recall",
    "Tier",
    "Tuning",
    "Writer",
]
