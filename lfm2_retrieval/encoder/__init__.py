"""Checkpoint to token vectors."""

from .checkpoint import BUNDLED, DEFAULT_MODEL
from .encoder import Encoder, Precision, TruncationWarning
from .options import DocumentOptions, LongDocuments

__all__ = [
    "BUNDLED",
    "DEFAULT_MODEL",
    "DocumentOptions",
    "Encoder",
    "LongDocuments",
    "Precision",
    "TruncationWarning",
]
