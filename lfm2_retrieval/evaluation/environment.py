"""On what something was measured: machine, versions, threads."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__

__all__ = ["describe_environment", "peak_memory"]

_PACKAGES = (
    "torch",
    "faiss-cpu",
    "numpy",
    "numba",
    "transformers",
    "ir-measures",
    "ir-datasets",
    "pyarrow",
    "bm25s",
    "scipy",
)


def describe_environment() -> dict[str, Any]:
    """JSON values: the machine, what it ran with, and how busy it was."""
    import torch

    versions = {"lfm2-retrieval": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def peak_memory() -> int:
    """The most bytes of memory that this process had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
