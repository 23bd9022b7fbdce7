"""Checkpoint to token vectors."""

from .checkpoint import BUNDLED, DEFAULT_MODEL, PUBLISHED, is_hub_name
from .devices import Precision
from .encoder import Encoder
from .linear import fix_kernels
from .options import DocumentKeywords, DocumentOptions, LongDocuments, check_whole
from .streams import batched, numbered
from .texts import TruncationWarning

__all__ = [
    "BUNDLED",
    "DEFAULT_MODEL",
    "PUBLISHED",
    "DocumentKeywords",
    "DocumentOptions",
    "Encoder",
    "LongDocuments",
    "Precision",
    "TruncationWarning",
    "batched",
    "check_whole",
    "fix_kernels",
    "is_hub_name",
    "numbered",
]
