"""Verifying, backing up and repairing an index."""

from .backup import backup
from .repair import Repair, repair
from .verify import verify

__all__ = ["Repair", "backup", "repair", "verify"]
