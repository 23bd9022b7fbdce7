"""Handing an index over to databases and files, and making one of vectors from files."""

from .exporting import TARGETS, export_index
from .importing import import_index

__all__ = ["TARGETS", "export_index", "import_index"]
