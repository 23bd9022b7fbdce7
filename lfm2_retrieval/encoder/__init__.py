"""Checkpoint to token vectors."""

from .checkpoint import BUNDLED, DEFAULT_MODEL
from .devices import Precision
from .encoder import Encoder
from .options import DocumentKeywords, DocumentOptions, LongDocuments, check_whole
from .streams import batched, numbered
from .texts import TruncationWarning

__all__ = [
    "BUNDLED",
    "DEFAULT_MODEL",
    "DocumentKeywords",
    "DocumentOptions",
    "Encoder",
    "LongDocuments",
    "Precision",
    "TruncationWarning",
    "batched",
    "check_whole",
    "numbered",
]
