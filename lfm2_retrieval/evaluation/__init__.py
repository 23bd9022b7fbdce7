"""Collections with judged questions, and how good the answers are."""

from .collections import Collection, load_collection
from .metrics import evaluate

__all__ = ["Collection", "evaluate", "load_collection"]
