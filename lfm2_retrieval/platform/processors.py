"""How many processors this process may use: those of its affinity mask, and what its containers are granted.

A container's limit is no mask but a quota: so much processor time in each period, by all threads together.
More threads than that only wait for the next period. Each of the nested control groups may have one, in
version 1 (``cpu.cfs_quota_us``) or 2 (``cpu.max``) of Linux's interface, or both beside each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["cpus", "quota"]

_PROC = Path("/proc/self")


def cpus() -> int:
    """How many processors this process may use, at least one; a fraction of one counts as one."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _granted()
    return n if granted is None else max(1, min(n, math.ceil(granted)))


@cache
def _granted() -> float | None:
    """The quota when it was first asked for: a search doesn't read files for it."""
    return quota(_PROC)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_granted.cache_clear)  # it may be put into another group


class _Hierarchy(NamedTuple):
    """Where one hierarchy of control groups is mounted: ``root`` is what of it lies at ``mount``."""

    root: PurePosixPath
    mount: Path
    is_second_version: bool


def quota(process: Path) -> float | None:
    """The processors' worth of time that the control groups of a process grant, the least of all nested ones.

    Parameters
    ----------
    process
        Its folder in ``/proc``.

    Returns
    -------
    float or None
        None where none is set, or the system doesn't tell.
    """
    try:
        groups = (process / "cgroup").read_text("utf-8", "replace").splitlines()
        mounts = (process / "mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    hierarchies = [found for line in mounts if (found := _hierarchy(line)) is not None]
    limits = []
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        for one in hierarchies:
            if one.is_second_version == (not controllers):
                limits += [limit for folder in _nested(one, path) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _hierarchy(line: str) -> _Hierarchy | None:
    """What a line of ``mountinfo`` tells, if it is one of processor time."""
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or kind[0] not in ("cgroup", "cgroup2"):
        return None
    if kind[0] == "cgroup" and "cpu" not in kind[-1].split(","):
        return None
    root, mount = (field.replace("\\040", " ") for field in fields[3:5])
    return _Hierarchy(PurePosixPath(root), Path(mount), kind[0] == "cgroup2")


def _nested(hierarchy: _Hierarchy, path: str) -> Iterator[Path]:
    """The folders of a group and of those around it, as far as they are mounted here."""
    group = PurePosixPath(path)
    inside = group.relative_to(hierarchy.root) if group.is_relative_to(hierarchy.root) else PurePosixPath()
    if ".." in inside.parts:  # outside of what a container sees
        inside = PurePosixPath()
    for part in (inside, *inside.parents):
        yield hierarchy.mount / part


def _limit(folder: Path) -> float | None:
    """What one group is granted; None for all."""
    try:
        if (folder / "cpu.max").exists():
            granted, period = (folder / "cpu.max").read_text("ascii").split()[:2]
        else:
            granted = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        limit = int(granted) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return limit if limit > 0 else None
