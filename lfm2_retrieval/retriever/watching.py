"""Folders followed: told when there may be something to sync."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePath

from ..errors import MissingExtraError

__all__ = ["changes_in", "check_watching"]

_DEBOUNCE_MS, _STEP_MS, _WAKE_MS = 5000, 300, 1000
_EVERY_SECONDS = 600.0
"""All files are looked at so often in any case: the system drops events when there are too many."""
_POLL_SECONDS = 1.0


def check_watching() -> None:
    """Refuse to follow folders without the package that does.

    Raises
    ------
    MissingExtraError
        If it isn't installed.
    """
    if find_spec("watchfiles") is None:
        raise MissingExtraError("following folders", "watch")


def changes_in(
    folders: Sequence[str],
    index: Path,
    stop: threading.Event | None = None,
    every: float = _EVERY_SECONDS,
) -> Iterator[None]:
    """Yield when files in the folders have changed, once at the beginning, and now and then in any case.

    Parameters
    ----------
    folders
        Absolute paths. One that vanishes is waited for.
    index
        The index's folder, whose own changes count for nothing.
    stop
        Ends it once it is set.
    every
        How many seconds pass at most.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        try:
            yield from _follow(folders, index, stop, every)
        except (OSError, RuntimeError):  # as where a folder is gone; watchfiles has no error of its own
            yield
            stop.wait(_POLL_SECONDS)


def _follow(folders: Sequence[str], index: Path, stop: threading.Event, every: float) -> Iterator[None]:
    from watchfiles import Change, watch

    own = PurePath(index)

    def counts(change: Change, path: str) -> bool:
        return own not in (one := PurePath(path)).parents and one != own

    last = -every
    there = [Path(folder).stat().st_ino for folder in folders]
    for changes in watch(
        *folders,
        watch_filter=counts,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=_WAKE_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        if changes or time.monotonic() - last >= every:
            yield
            last = time.monotonic()
        if [Path(folder).stat().st_ino for folder in folders] != there:
            return  # another folder lies there: watch that one
