"""On what something was measured: machine, versions, threads."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..platform.machine import cpu_name
from ..platform.processors import cpus
from ..platform.threads import thread_count

__all__ = ["PeakMemory", "describe_environment"]

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
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "usable_cpus": cpus(),
        "threads": thread_count(most=torch.get_num_threads()),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_at_start": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


class PeakMemory:
    """The most memory that is resident from now on; on a GPU, that is allocated there, too.

    Linux lets a process forget its peak, so that it is not that of what ran before; where that is forbidden,
    `used` says that the peak is the whole process's.
    """

    def __init__(self) -> None:
        import torch

        self._before = _status("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            self._forgot = True
        except OSError:
            self._forgot = False
        self._gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()

    def used(self) -> dict[str, Any]:
        """JSON values: bytes resident before and at most, and since when the peak counts."""
        import torch

        facts: dict[str, Any] = {
            "memory_before_bytes": self._before,
            "peak_memory_bytes": _status("VmHWM"),
            "peak_memory_since": "here" if self._forgot else "the process began",
        }
        if self._gpu:
            facts["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated()
        return facts


def _status(name: str) -> int:
    """Bytes, of a line of ``/proc/self/status`` in kB; 0 where there is none."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
