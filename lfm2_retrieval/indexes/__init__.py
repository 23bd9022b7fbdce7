"""Token vectors on disk, and search in them. The on-disk format is described in ``indexes/FORMAT.md``."""

from .exact import ExactIndex
from .rows import Entry
from .writer import Writer

__all__ = ["Entry", "ExactIndex", "Writer"]
