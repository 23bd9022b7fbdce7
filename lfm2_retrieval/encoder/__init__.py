"""Checkpoint to token vectors."""

from .checkpoint import BUNDLED, DEFAULT_MODEL
from .encoder import Encoder, Precision, TruncationWarning

__all__ = ["BUNDLED", "DEFAULT_MODEL", "Encoder", "Precision", "TruncationWarning"]
