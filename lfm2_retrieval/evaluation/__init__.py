"""Collections with judged questions, and how good the answers are.

`run_suite` measures a model on the sets that `from_folder` or `load_suite` name, and leaves its results in
a folder; `write_reports` makes tables and pictures of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .collections import Collection, load_collection
from .metrics import MEASURES, evaluate, evaluate_queries

if TYPE_CHECKING:
    from .datasets import Dataset, DatasetRef
    from .report import write_reports
    from .runner import run_suite
    from .runs import make_run, read_run, write_run
    from .settings import Settings
    from .sources import from_folder
    from .statistics import compare, holm, interval
    from .suites import load_suite

_HOME = {
    "Dataset": ".datasets",
    "DatasetRef": ".datasets",
    "Settings": ".settings",
    "compare": ".statistics",
    "from_folder": ".sources",
    "holm": ".statistics",
    "interval": ".statistics",
    "load_suite": ".suites",
    "make_run": ".runs",
    "read_run": ".runs",
    "run_suite": ".runner",
    "write_reports": ".report",
    "write_run": ".runs",
}

__all__ = [
    "MEASURES",
    "Collection",
    "Dataset",
    "DatasetRef",
    "Settings",
    "compare",
    "evaluate",
    "evaluate_queries",
    "from_folder",
    "holm",
    "interval",
    "load_collection",
    "load_suite",
    "make_run",
    "read_run",
    "run_suite",
    "write_reports",
    "write_run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
